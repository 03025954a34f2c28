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
from pipeline.team.wanted import Part, Wanted, listing, parts, recorded_sets

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
    sent: dict[str, Wanted | None] = {each.path: each for each in wanted}
    judged = {path: each for path, each in sent.items() if each is None or each.is_shard_set}
    if len(judged) < len(sent):
        judged = recorded_sets() | judged  # results and weights have the same paths whatever they were made from
    for path, each in judged.items():
        if counts_as_restricted(cache, each):
            made = "" if path in sent else ", and so is what dvc.lock records of it,"
            raise UserError(
                f"{path} is restricted (its manifest says so, or cannot be read){made} and remote {remote.name} "
                f"({remote.url}) is not marked private; if nobody can read it who may not have the set: "
                f"cct team private {remote.name}"
            )


def counts_as_restricted(cache: HashFileDB, shard_set: Wanted | None) -> bool:
    """Whether a set is restricted, as far as this machine can tell: one that it does not have is."""
    listed = None if shard_set is None else listing(shard_set)
    if shard_set is None or listed is None or not cache.exists(listed.oid):
        return True
    return is_restricted(cache, parts(cache, shard_set))


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
