"""What must not be passed on stays where only those read who may: restricted sets go to private remotes alone.

Why the mark is a list of addresses that git keeps, and what guards plain `dvc push`: docs/decisions/070.
"""

import json
from collections.abc import Iterable
from pathlib import Path

from dvc_data.hashfile.db import HashFileDB

from pipeline import files
from pipeline.contract import UserError
from pipeline.shards.manifest import MANIFEST
from pipeline.team.project import Remote
from pipeline.team.wanted import Part, Wanted, parts

PRIVATE_REMOTES = Path(".dvc/private-remotes")
_HEADING = """\
# Remotes, by address, that nobody can read but people who may have this project's restricted sets.
# `cct team push` sends such a set to no other. One address a line, as `dvc remote list` shows it.
"""


def private_addresses() -> list[str]:
    """The addresses that are marked private; none if there is no list."""
    try:
        lines = PRIVATE_REMOTES.read_text().splitlines()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{PRIVATE_REMOTES} cannot be read ({error}); restore it: git checkout {PRIVATE_REMOTES}"
        ) from None
    return [line.strip().rstrip("/") for line in lines if line.strip() and not line.startswith("#")]


def is_private(url: str) -> bool:
    """Whether an address is marked private, or lies below one that is."""
    url = url.rstrip("/")
    if ".." in url.split("/"):
        return url in private_addresses()
    return any(url == address or url.startswith(f"{address}/") for address in private_addresses())


def mark_private(remote: Remote) -> None:
    """Adds a remote's address to the list."""
    if not is_private(remote.url):
        before = PRIVATE_REMOTES.read_text() if PRIVATE_REMOTES.exists() else _HEADING
        with files.publishing(PRIVATE_REMOTES) as stream:
            stream.write(f"{before.rstrip()}\n{remote.url}\n".encode())


def refuse_restricted(cache: HashFileDB, remote: Remote, wanted: Iterable[Wanted]) -> None:
    """Refuses to send a restricted set, or anything made from it, to a remote that is not marked private.

    Raises:
        UserError: naming the set, the remote, and how to mark it.
    """
    if is_private(remote.url):
        return
    for each in wanted:
        if each.is_shard_set and is_restricted(cache, parts(cache, each)):
            raise UserError(
                f"{each.path} is restricted (its manifest says so) and remote {remote.name} ({remote.url}) is not "
                f"marked private; if nobody can read it who may not have the set: cct team private {remote.name}"
            )


def is_restricted(cache: HashFileDB, listed: Iterable[Part]) -> bool:
    """What the manifest of a set in the cache says; one that says nothing counts as restricted."""
    oid = next((part.oid for part in listed if part.path.count("/") == 3 and part.path.endswith(f"/{MANIFEST}")), None)
    if oid is None:
        return True
    try:
        manifest = json.loads(Path(cache.oid_to_path(oid)).read_bytes())
        return bool(manifest["params"]["index"]["restricted"])
    except (OSError, ValueError, RecursionError, LookupError, TypeError):
        return True
