"""Copies of this project as real git and DVC repositories, on a small raw set, for end-to-end tests."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).parent.parent
CLIPS = ("demo-001", "demo-005", "demo-012", "demo-020", "demo-029", "demo-034")
"""Train and validation clips: plain, a row too many, two people, rows too few."""

SMALL = {
    "epochs": 1,
    "networks": 2,
    "batch_size": 8,
    "image_size": 32,
    "extract.stride": 12,
    "shard.samples_per_shard": 12,
    "evaluate.bootstrap": 100,
    "report.faces_per_class": 2,
}
"""Changes of params.yaml that make a run last seconds."""


@dataclass(frozen=True)
class Project:
    """A folder with the project in it."""

    folder: Path

    def run(self, *command: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """Runs a command there, with the environment's programs first on the path."""
        done = subprocess.run(
            command, cwd=self.folder, env=environment(), capture_output=True, text=True, timeout=1400, check=False
        )
        if check and done.returncode:
            raise AssertionError(f"{' '.join(command)} failed:\n{done.stdout}\n{done.stderr}")
        return done

    def dvc(self, *arguments: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """Runs dvc."""
        return self.run("dvc", *arguments, check=check)

    def commit(self, message: str) -> None:
        """Commits everything that git does not ignore."""
        self.run("git", "add", "--all")
        self.run("git", "commit", "--quiet", "--allow-empty", "--message", message)

    def set_params(self, changes: dict[str, Any]) -> None:
        """Changes values of params.yaml; keys may be dotted."""
        yaml, path = YAML(), self.folder / "params.yaml"
        content = yaml.load(path)
        for key, value in changes.items():
            group = content
            *groups, name = key.split(".")
            for part in groups:
                group = group[part]
            group[name] = value
        yaml.dump(content, path)


def environment() -> dict[str, str]:
    """The environment of a user's shell with the virtual environment active and a git identity."""
    return os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "GIT_AUTHOR_NAME": "test",
        "GIT_AUTHOR_EMAIL": "test@example.org",
        "GIT_COMMITTER_NAME": "test",
        "GIT_COMMITTER_EMAIL": "test@example.org",
        "PYTHONPATH": "",
    }


def copy_project(folder: Path, *, clips: tuple[str, ...] | None = CLIPS) -> Project:
    """The project as it stands in the working tree, committed to a new repository; with few clips, or all for None."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listed.stdout.splitlines():
        skipped = clips is not None and "/raw/" in name and not Path(name).stem.startswith(clips)
        if not skipped and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    project = Project(folder)
    project.run("git", "init", "--quiet", "--initial-branch", "main")
    if clips is not None:
        project.set_params(SMALL)
    project.commit("The project")
    return project
