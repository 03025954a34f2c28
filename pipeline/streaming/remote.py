"""A shard set on a DVC remote: which objects it is made of, and fetching them. The user of DVC.

The remote's own library opens the connection, with the team's configuration and the user's credentials: what `dvc pull`
can read can be streamed.
"""

import json
import re
import sys
import time
from collections.abc import Callable
from hashlib import md5
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pipeline.contract import UserError
from pipeline.files import digest_file
from pipeline.shards.naming import named_objects

if TYPE_CHECKING:
    from dvc.repo import ObjectDB

T = TypeVar("T")

_S3_SILENCE_S = 15
"""How long a server may say nothing before the client of S3 asks again, unless the remote's settings say otherwise."""

WAITS_S = (1, 2, 4, 8, 16, 30, 60, 60, 60, 60)
"""Before each further attempt, seconds: five minutes, so that a server may be restarted."""

_FINAL = ("credential", "auth", "permission", "missingdeps", "config")
"""In the name of an error that waiting does not mend."""

_PROGRAMMING = (TypeError, AttributeError, NameError, AssertionError, ImportError)
_CREDENTIALS = "see to the credentials in .dvc/config.local"
_MD5 = re.compile(r"[0-9a-f]{32}")
_LARGEST_LISTING = 1 << 26


class RemoteFolder:
    """The objects of one shard set, by name."""

    def __init__(self, folder: Path, remote: str | None, *, wait: Callable[[float], None] = time.sleep) -> None:
        """Looks up which objects the set is made of, in the file beside the folder; connects to nothing.

        Args:
            folder: of the set in the project.
            remote: its name, or None for the project's default.
            wait: how to wait between attempts.

        Raises:
            UserError: if there is no project, no such set, or no such remote.
        """
        from dvc.exceptions import DvcException
        from dvc.repo import Repo

        self.folder, self._wait = folder, wait
        self.id = named_objects(folder)
        try:
            self._repo = Repo()
            self._name = remote or self._repo.config["core"].get("remote")
            self._objects = self._connect()
        except DvcException as error:
            raise UserError(
                f"stream is remote: {_line(error)}; see docs/streaming.md, or set stream to local"
            ) from None

    def listing(self) -> dict[str, str]:
        """The MD5 of each file by its name, from the folder's own object; raises `UserError` if that is damaged."""
        content = self._patiently(f"the listing of {self.folder}", self._listing)
        if md5(content, usedforsecurity=False).hexdigest() != self.id.removesuffix(".dir"):
            raise self.damaged(f"the listing of {self.folder}", self.id, "its MD5 differs")
        return {str(line["relpath"]): str(line["md5"]) for line in json.loads(content)}

    def fetch(self, name: str, object_id: str, target: Path, *, size: int | None = None) -> None:
        """Copies one object to a file that is not there yet.

        Args:
            name: of the file in the folder, for what is said.
            object_id: MD5 of its content.
            target: the file.
            size: its bytes if known.

        Raises:
            UserError: naming remote, file and object, if it is not there, is damaged there, or cannot be had in time.
        """
        if not _MD5.fullmatch(object_id):
            raise self.damaged(name, object_id, "that is no MD5")
        what = f"{self.folder / name}"

        def attempt() -> None:
            place = self._objects.oid_to_path(object_id)
            found = self._objects.fs.size(place)
            if size is not None and found != size:
                raise self.damaged(what, object_id, f"it has {found} bytes instead of {size}")
            target.unlink(missing_ok=True)
            self._objects.fs.get_file(place, str(target))

        self._patiently(what, attempt)
        if digest_file(target, "md5") != object_id:
            raise self.damaged(what, object_id, "its MD5 differs")

    def damaged(self, what: str, object_id: str, how: str) -> UserError:
        """What to say of an object that is not what it should be."""
        return UserError(
            f"remote {self._name}: {what} (object {object_id}) is damaged there: {how}. It was not used. Whoever "
            "has the set runs `cct team push --verify`"
        )

    def _listing(self) -> bytes:
        place = self._objects.oid_to_path(self.id)
        if (self._objects.fs.size(place) or 0) > _LARGEST_LISTING:
            raise self.damaged(f"the listing of {self.folder}", self.id, "it is too large")
        with self._objects.fs.open(place, "rb") as stream:
            return bytes(stream.read())

    def _patiently(self, what: str, act: Callable[[], T]) -> T:
        """Tries again when the connection fails, a line on stderr each time, and a new connection."""
        for number, wait_s in enumerate((*WAITS_S, 0), start=1):
            try:
                return act()
            except (UserError, *_PROGRAMMING):
                raise
            except FileNotFoundError:
                raise UserError(
                    f"remote {self._name} does not have {what}; whoever built the shards runs `cct team push`"
                ) from None
            except Exception as error:  # libraries of a dozen kinds of remotes have no error in common
                if _is_final(error):
                    raise UserError(f"remote {self._name} refuses {what}: {_line(error)}; {_CREDENTIALS}") from None
                if not wait_s:
                    raise UserError(self._given_up(what, number, error)) from None
                print(
                    f"stream: {what}: {_line(error)} (attempt {number} of {len(WAITS_S) + 1}, next in {wait_s} s)",
                    file=sys.stderr,
                    flush=True,
                )
                self._wait(wait_s)
                self._objects = self._connect()
        raise AssertionError

    def _connect(self) -> "ObjectDB":
        settings = self._repo.config["remote"].get(self._name, {})
        if str(settings.get("url", "")).startswith("s3://"):  # its client waits for a minute, and tries five times
            for name in ("connect_timeout", "read_timeout"):
                settings.setdefault(name, _S3_SILENCE_S)
        objects: ObjectDB = self._repo.cloud.get_remote_odb(self._name, "stream", hash_name="md5")
        return objects

    def _given_up(self, what: str, attempts: int, error: Exception) -> str:
        return (
            f"remote {self._name} did not give {what} in {attempts} attempts ({_line(error)}); see to the server or "
            "the network and start again: training goes on where its last snapshot was taken"
        )


def _is_final(error: Exception) -> bool:
    name = type(error).__name__.lower()
    return isinstance(error, PermissionError) or any(part in name for part in _FINAL)


def _line(error: BaseException) -> str:
    """An error in one line, without its end."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else f"{text[:200]}..."
