"""Sealed folders: read-only files with a listing of their sizes and digests, by which later damage is noticed."""

import contextlib
import json
import os
from pathlib import Path
from typing import IO

from pipeline.files import digest_file

LISTING = "entry.json"
_FORMAT = 1
_SECOND_NS = 1_000_000_000


def seal(folder: Path, listing: IO[bytes], *, mode: int) -> None:
    """Gives the files of a flat folder the permissions `mode`, and writes `listing`, the open file LISTING in it."""
    lines = {}
    for path in sorted(folder.iterdir()):
        path.chmod(mode)
        if path.name != LISTING:
            changed_s = int(path.stat().st_mtime)
            os.utime(path, (changed_s, changed_s))  # whole seconds survive on every file system
            lines[path.name] = {"bytes": path.stat().st_size, "sha256": digest_file(path), "changed_s": changed_s}
    text = json.dumps({"format": _FORMAT, "files": lines}, indent=2, sort_keys=True)
    listing.write(text.encode() + b"\n")
    listing.flush()


def damage(folder: Path, *, thorough: bool) -> str | None:
    """What is wrong with a sealed folder, in a few words; None if nothing is.

    Names and sizes are always compared. Contents are digested where the time of a file's last change differs, which
    any program that writes to it moves, and everywhere if `thorough`: only that finds what a failing disk does.

    Raises:
        PermissionError: if the folder may not be read.
    """
    try:
        content = json.loads((folder / LISTING).read_bytes())
        lines = content["files"] if content["format"] == _FORMAT else {}
        present = {path.name for path in folder.iterdir()} - {LISTING}
        for name in sorted(present ^ lines.keys()):
            return f"{name} is not listed in {LISTING}" if name in present else f"{name} is missing"
        found = (_file_damage(folder / name, line, thorough=thorough) for name, line in sorted(lines.items()))
        return next((problem for problem in found if problem), None)
    except PermissionError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{LISTING} or a file that it lists cannot be read ({type(error).__name__}: {error})"


def _file_damage(path: Path, line: dict[str, object], *, thorough: bool) -> str | None:
    stat, changed_s = path.stat(), int(str(line["changed_s"]))
    if stat.st_size != line["bytes"]:
        return f"{path.name} has {stat.st_size} bytes instead of {line['bytes']}"
    touched = stat.st_mtime_ns != changed_s * _SECOND_NS
    if (thorough or touched) and digest_file(path) != line["sha256"]:
        return f"the content of {path.name} is not what was written"
    if touched:
        with contextlib.suppress(OSError):
            os.utime(path, (changed_s, changed_s))  # a copy of the store need not be digested every time
    return None
