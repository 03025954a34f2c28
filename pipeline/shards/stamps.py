"""The stamp of a shard set that was verified: while nothing has touched its files, they are not read again.

Written beside the set's folder, never into it. What it can miss, and why that is right: docs/decisions/015.
"""

import contextlib
import time
from pathlib import Path
from typing import Any

from pipeline import files
from pipeline.contract import UserError
from pipeline.shards.manifest import MANIFEST, can_be_manifest

_RULES = 4
"""What verification demands. Raise it when it demands more: sets that were stamped under other rules are read again."""
_SETTLED_NS = 2_000_000_000
"""The clocks of file systems tick every few milliseconds, some every two seconds. A change within the same tick as the
one before it would go unnoticed, so files that changed so lately are not stamped."""

State = dict[str, Any]


def observed(folder: Path) -> State | None:
    """What shows that a file of the set was touched: the manifest's digest, and each file's length and times (ns).

    `changed` moves with every write, rename, new link or change of the time of writing, and no program can set it back.
    None if the folder cannot be looked at, or holds what cannot be a manifest.
    """
    try:
        if not can_be_manifest(folder / MANIFEST):
            return None
        times = {path.name: path.stat() for path in sorted(folder.iterdir())}
        return {
            "rules": _RULES,
            "manifest": files.digest_file(folder / MANIFEST),
            "files": {
                name: {"bytes": stat.st_size, "written": stat.st_mtime_ns, "changed": stat.st_ctime_ns}
                for name, stat in times.items()
            },
        }
    except OSError:
        return None


def is_stamped(folder: Path) -> bool:
    """Whether the set was verified since any of its files was last touched."""
    try:
        stamped = files.read_json(_stamp(folder))
    except (UserError, OSError, RecursionError):
        return False
    return stamped is not None and stamped == observed(folder)


def put(folder: Path, before: State | None) -> None:
    """Stamps a set that was found right, if nothing touched it since `before` was observed, nor shortly before that.

    Where the stamp cannot be written, the set is verified again next time.
    """
    if before is not None and before == observed(folder) and _is_settled(before, time.time_ns()):
        with contextlib.suppress(OSError):
            files.write_json(_stamp(folder), before)


def take_off(folder: Path) -> None:
    """Removes the stamp, where there is one that this process may remove."""
    with contextlib.suppress(OSError):
        _stamp(folder).unlink()


def _is_settled(state: State, now_ns: int) -> bool:
    latest_ns = max(max(times["written"], times["changed"]) for times in state["files"].values())
    return bool(latest_ns < now_ns - _SETTLED_NS)


def _stamp(folder: Path) -> Path:
    whole = folder.resolve()
    return whole.with_name(f".{whole.name}.verified")
