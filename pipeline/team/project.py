"""The project as DVC sees it, and the team's remote; what DVC and its clients say becomes one line."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc_data.hashfile.db import HashFileDB
from dvc_objects.errors import ObjectDBError
from dvc_objects.fs.errors import AuthError, ConfigError, RemoteMissingDepsError

from pipeline.contract import UserError


@dataclass(frozen=True, kw_only=True)
class Remote:
    """A remote of this project: its name, its address, and its store of objects."""

    name: str
    url: str
    objects: HashFileDB


@contextlib.contextmanager
def opened_project() -> Iterator[Repo]:
    """DVC's view of the project in this folder, locked against other commands of DVC as DVC's own push and pull do.

    Raises:
        UserError: if this is no project, if it cannot be read, or if another command of DVC works on it.
    """
    with _told_by_dvc(), Repo(str(Path.cwd())) as repo, repo.lock:
        yield repo


def find_remote(repo: Repo, name: str | None) -> Remote:
    """The named remote, or the default one.

    Raises:
        UserError: if there is none of that name, or if it cannot be used.
    """
    known = repo.config["remote"]
    name = name or repo.config["core"].get("remote")
    if name is None:
        raise UserError(
            "no remote is the default; add the team's: dvc remote add --default team ADDRESS (docs/team.md), "
            "or name one with --remote"
        )
    if name not in known:
        listed = f"known are {', '.join(known)}" if known else "there is none"
        raise UserError(f"no remote is called {name!r}, {listed}; add it: dvc remote add {name} ADDRESS (docs/team.md)")
    url = str(known[name]["url"])
    with _told_by_dvc(), speaking_with(name, url):
        return Remote(name=name, url=url, objects=repo.cloud.get_remote_odb(name))


@contextlib.contextmanager
def speaking_with(name: str, url: str) -> Iterator[None]:
    """Turns whatever a client of a remote raises into one line that names the remote.

    Every kind of remote has a client library with exceptions of its own, without a common ancestor but `Exception`.
    """
    try:
        yield
    except (UserError, DvcException):
        raise
    except RemoteMissingDepsError as error:
        scheme = url.partition("://")[0]
        raise UserError(
            f"remote {name} ({url}) needs a package that is not installed: {first_line(error)}; "
            f"uv pip install 'dvc[{scheme}]'"
        ) from None
    except Exception as error:
        raise UserError(
            f"remote {name} ({url}): {first_line(error)}; `cct team check --remote {name}` looks into it"
        ) from error


def sizes(remote: Remote, paths: Sequence[str]) -> list[int | None]:
    """Bytes of files on a remote, None where there is none; many are asked for at a time.

    Raises:
        UserError: if the remote does not answer.
    """
    with speaking_with(remote.name, remote.url):
        found = remote.objects.fs.info(list(paths), return_exceptions=True) if paths else []
        for answer in found:
            if isinstance(answer, Exception) and not isinstance(answer, FileNotFoundError):
                raise answer
        return [None if isinstance(answer, Exception) else _size(answer) for answer in found]


def _size(answer: Any) -> int:
    return int(answer["size"] or 0)


@contextlib.contextmanager
def _told_by_dvc() -> Iterator[None]:
    try:
        yield
    except (DvcException, ObjectDBError, AuthError, ConfigError) as error:
        raise UserError(f"DVC: {first_line(error)}") from None


def first_line(error: BaseException) -> str:
    """What an exception says, in one line; its kind if it says nothing."""
    if isinstance(error, FileNotFoundError) and error.filename == "":  # the remote's own folder, to WebDAV's client
        return "the server has no such folder, make it there first"
    said = " ".join(str(error).split())
    return said[:300] or type(error).__name__
