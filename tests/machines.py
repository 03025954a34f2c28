"""Machines of a team: copies of the project with a HOME, a DVC cache and DVC's own folders each."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.projects import Project, copy_project, environment
from tests.servers import Server

CLIPS = ("demo-001", "demo-012", "demo-029")
TINY = {"extract.stride": 30, "shard.samples_per_shard": 3, "engine.workers": 2}
"""With `projects.SMALL`: a set of a dozen samples in four shards."""
EXPERIMENT = ("exp", "run", "-S", "beta=4", "--allow-missing", "evaluate")


@dataclass(frozen=True)
class Machine(Project):
    """A project on a machine of its own, as far as programs can tell."""

    home: Path

    def run(self, *command: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """Runs a command there."""
        return super().run("env", *(f"{name}={value}" for name, value in self._own.items()), *command, check=check)

    def start(self, *command: str) -> "subprocess.Popen[str]":
        """Starts a command there, to be killed."""
        quiet = subprocess.DEVNULL
        return subprocess.Popen(
            command, cwd=self.folder, env=environment() | self._own, stdout=quiet, stderr=quiet, text=True
        )

    def team(self, *arguments: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """Runs `cct team`."""
        return self.run("cct", "team", *arguments, check=check)

    def clone(self, home: Path) -> "Machine":
        """Another machine with a clone of what is committed here, without the raw set."""
        home.mkdir()
        self.run("git", "clone", "--quiet", str(self.folder), str(home / "project"))
        shutil.rmtree(home / "project/data/demo/raw")
        return Machine(home / "project", home)

    def add_remotes(self, servers: Mapping[str, Server]) -> None:
        """Adds remotes as a user does; secrets go where git does not see them."""
        for name, server in servers.items():
            self.dvc("remote", "add", name, server.url)
            for key, value in server.options.items():
                self.dvc("remote", "modify", name, key, value)
        self.add_secrets(servers)

    def add_secrets(self, servers: Mapping[str, Server]) -> None:
        """What each member of a team does for a remote that asks for a password or a key."""
        for name, server in servers.items():
            for key, value in server.secrets.items():
                self.dvc("remote", "modify", "--local", name, key, value)

    @property
    def cache(self) -> Path:
        """Where DVC keeps its objects here."""
        return self.folder / ".dvc/cache/files/md5"

    def forget(self) -> None:
        """Drops the cache and the shard set, as on a new disk."""
        shutil.rmtree(self.folder / ".dvc/cache", ignore_errors=True)
        shutil.rmtree(self.folder / "data/shards/demo", ignore_errors=True)

    @property
    def _own(self) -> dict[str, str]:
        site = str(self.home / "dvc-site-cache")
        return {"HOME": str(self.home), "DVC_SITE_CACHE_DIR": site, "OMP_NUM_THREADS": "1"}


def build_machine(home: Path) -> Machine:
    """A machine that has built a tiny shard set and committed dvc.lock."""
    (home / "project").mkdir(parents=True)
    machine = Machine(copy_project(home / "project", clips=CLIPS).folder, home)
    machine.set_params(TINY)
    machine.dvc("repro", "shard")
    machine.commit("A tiny set")
    return machine


def shard_files(machine: Machine) -> dict[str, bytes]:
    """Every file of the shard set, by name."""
    return {path.name: path.read_bytes() for path in (machine.folder / "data/shards/demo").iterdir()}


def is_root() -> bool:
    """Whether this process may become another user."""
    return os.geteuid() == 0
