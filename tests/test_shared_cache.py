"""One DVC cache for two real users of this system, each with a HOME and a clone of their own."""

import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.shards.verification import verify
from tests.machines import CLIPS, TINY, Machine, is_root
from tests.projects import copy_project

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not is_root(), reason="only root may add users"),
    pytest.mark.skipif(not (shutil.which("useradd") and shutil.which("setpriv")), reason="needs useradd and setpriv"),
]


@dataclass(frozen=True)
class Account(Machine):
    """A machine whose commands another user runs.

    The environment's Python may lie where only root can read, so they get the right to read anywhere; what they may
    write, link or delete is what their user may.
    """

    user: str

    def run(self, *command: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """Runs a command as that user, with a umask that keeps others from writing."""
        right = ("--inh-caps=-all,+dac_read_search", "--ambient-caps=+dac_read_search")
        become = ("setpriv", f"--reuid={self.user}", f"--regid={self.user}", "--init-groups", *right)
        named = (f"USER={self.user}", f"LOGNAME={self.user}")
        masked = ("sh", "-c", 'umask 022; exec "$@"', "sh")
        return super().run(*become, "env", *named, *masked, *command, check=check)


@pytest.fixture
def pair() -> Iterator[tuple[Account, Account, Path]]:
    """Two users in one group, each with a HOME, and a folder for the cache, as docs/team.md makes it."""
    tag = secrets.token_hex(3)
    group, names = f"cct{tag}", (f"ccta{tag}", f"cctb{tag}")
    root = Path(tempfile.mkdtemp(prefix="cct-users-"))
    root.chmod(0o755)
    subprocess.run(["groupadd", group], check=True)
    try:
        accounts = []
        for name in names:
            home = root / name
            subprocess.run(["useradd", "--no-create-home", "--home-dir", str(home), "-G", group, name], check=True)
            home.mkdir()
            shutil.chown(home, name, name)
            accounts.append(Account(home / "project", home, name))
        cache = root / "cache"
        cache.mkdir()
        shutil.chown(cache, group=group)
        cache.chmod(0o2775)
        yield accounts[0], accounts[1], cache
    finally:
        for name in names:
            subprocess.run(["userdel", name], check=False, capture_output=True)
        subprocess.run(["groupdel", group], check=False, capture_output=True)
        shutil.rmtree(root)


def settle(account: Account, cache: Path) -> None:
    """What docs/team.md tells each user to set."""
    account.dvc("cache", "dir", "--local", str(cache))
    account.dvc("config", "--local", "cache.shared", "group")


def test_two_users_share_a_cache(pair: tuple[Account, Account, Path]) -> None:
    first, second, cache = pair
    first.folder.mkdir()
    copy_project(first.folder, clips=CLIPS).set_params(TINY)
    for path in [first.folder, *first.folder.rglob("*")]:
        shutil.chown(path, first.user, first.user)
    settle(first, cache)
    first.dvc("repro", "shard")
    first.commit("A tiny set")

    second.home.joinpath(".gitconfig").write_text("[safe]\n\tdirectory = *\n")
    home = Account(second.home, second.home, second.user)
    home.run("git", "clone", "--quiet", str(first.folder), str(second.folder))
    settle(second, cache)
    before = contents(cache)
    second.dvc("checkout", "data/shards/demo")
    shards = second.folder / "data/shards/demo"
    assert verify(shards) == []
    assert contents(cache) == before, "a second user's checkout must add nothing"
    for path in shards.iterdir():
        assert is_link(path, cache), f"{path.name} was copied"
        assert not path.stat().st_mode & 0o222
        assert second.run("sh", "-c", f"echo x >> {path}", check=False).returncode
    assert verify(shards) == []

    (second.folder / "more.bin").write_bytes(os.urandom(5000))
    shutil.chown(second.folder / "more.bin", second.user, second.user)
    second.dvc("add", "--quiet", "more.bin")
    assert len(contents(cache)) == len(before) + 1
    (first.folder / "more.bin.dvc").write_bytes((second.folder / "more.bin.dvc").read_bytes())
    shutil.chown(first.folder / "more.bin.dvc", first.user, first.user)
    first.dvc("checkout", "more.bin")
    assert (first.folder / "more.bin").read_bytes() == (second.folder / "more.bin").read_bytes()
    for folder in (path for path in (cache / "files").rglob("*") if path.is_dir()):
        assert folder.stat().st_mode & 0o2070 == 0o2070, f"{folder} cannot be written by the group"
    for account in (first, second):
        checked = account.team("check", check=False).stdout
        assert "ok   shared cache" in checked, checked

    first.dvc("remote", "add", "--default", "team", str(first.home / "remote"))
    first.team("push")
    shutil.copyfile(first.folder / ".dvc/config", second.folder / ".dvc/config")
    shutil.rmtree(cache / "runs")
    second.team("pull")
    assert {path.owner() for path in cache.glob("runs/*/*")} == {second.user}
    assert "ok   shared cache" in first.team("check", check=False).stdout

    spoilt = next(path for path in (cache / "files/md5").iterdir() if path.owner() == first.user)
    spoilt.chmod(0o755)
    checked = second.team("check", check=False)
    assert checked.returncode == 1
    assert "fail shared cache" in checked.stdout
    assert spoilt.name in checked.stdout


def contents(cache: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of writing of every object."""
    objects = [path for path in (cache / "files").rglob("*") if path.is_file()]
    return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns) for path in objects}


def is_link(path: Path, cache: Path) -> bool:
    """Whether a file is one of the cache's objects, by hard or symbolic link."""
    return any(path.samefile(each) for each in (cache / "files").rglob("*"))
