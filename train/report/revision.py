"""Which version of the code made the page."""

import subprocess
from pathlib import Path
from typing import NamedTuple

_OF_DVC = ("dvc.lock",)
"""Tracked files that a run itself rewrites."""


class Revision(NamedTuple):
    """The commit that is checked out, and the tracked files that differ from it."""

    commit: str
    changed: tuple[str, ...]


def revision(folder: Path = Path()) -> Revision | None:
    """Of the git repository around a folder; None without git or a repository."""
    commit = _git(folder, "rev-parse", "HEAD")
    changed = _git(folder, "diff", "--name-only", "-z", "HEAD")
    if commit is None or changed is None:
        return None
    names = [name for name in changed.split("\0") if name and name not in _OF_DVC]
    return Revision(commit.strip(), tuple(sorted(names)))


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True, timeout=60
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout
