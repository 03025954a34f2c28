"""`cct store`: what the work store holds, whether it is sound, and room made in it."""

import json
import math
import os
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

import typer

from pipeline import disk
from pipeline.contract import UserError
from pipeline.progress import Progress
from pipeline.pruning import read_size, read_time, removable
from pipeline.sealed import damage
from pipeline.store import Entry, WorkStore, work_store

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _store() -> None:
    """Lists, checks and prunes the work store: the finished frames, detections and faces that later runs build on.

    It is data/work, or the folder that the environment variable CCT_STORE names. Deleting any of it is safe: what is
    needed again is made again.

    Examples: cct store list; cct store prune --older-than 30d
    """


@app.command("list")
def list_entries(
    as_json: Annotated[bool, typer.Option("--json", help="Every entry, as JSON; sizes in bytes.")] = False,
) -> None:
    """Lists how many entries of each kind there are, their size, and when one was last used.

    Examples: cct store list; cct store list --json
    """
    entries = list(work_store().entries())
    if as_json:
        print(json.dumps([_record(entry) for entry in entries], indent=2))
        return
    print(f"{'kind':<14}{'entries':>8}{'size':>12}  {'linked':>6}  last use")
    for kind in sorted({entry.kind for entry in entries}):
        print(_line(kind, [entry for entry in entries if entry.kind == kind]))
    print(_line("all", entries))


@app.command()
def verify(
    remove: Annotated[bool, typer.Option(help="Remove damaged entries, so that they are made again.")] = False,
) -> None:
    """Reads every byte of every entry and compares it with the entry's digests; exit code 0 only if all are right.

    Runs compare sizes and times of change only, which tells all but the errors of a failing disk.

    Examples: cct store verify; cct store verify --remove
    """
    store = work_store()
    entries = list(store.entries())
    damaged = 0
    with Progress("verify", len(entries), unit="entries") as progress:
        for entry in entries:
            problem = _problem(entry)
            if problem and entry.folder.exists():
                damaged += 1
                print(f"{entry.folder}: {problem}", file=sys.stderr)
                if remove:
                    store.discard(entry.folder)
            progress.step()
    if damaged and remove:
        print(f"{damaged} damaged entries removed; `rm -r data/frames data/faces` and `dvc repro` make them again")
    elif damaged:
        raise UserError(f"{damaged} of {len(entries)} entries are damaged; remove them: cct store verify --remove")
    else:
        print(f"{store.root}: {len(entries)} entries, every byte as written")


@app.command()
def prune(
    older_than: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only what was not used for so long: 12h, 30d, 8w.")
    ] = None,
    keep_size: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Stop as soon as the rest is no larger: 800MB, 50GB.")
    ] = None,
    unused: Annotated[
        bool, typer.Option("--unused", help="Only what is older than all that data/frames and data/faces are made of.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be removed; remove nothing.")] = False,
) -> None:
    """Removes entries, least recently used first, that meet all the conditions given; without one, only leftovers.

    Never removed: what a folder in data/ shares by hard link, and what a stage that runs now has used. Leftovers are
    the half-made entries of killed runs.

    Examples: cct store prune --older-than 30d; cct store prune --keep-size 50GB --dry-run; cct store prune --unused
    """
    if unused and os.environ.get("CCT_STORE"):
        raise UserError("--unused cannot tell what others need of the store that CCT_STORE names; use --older-than")
    keep_bytes = None if keep_size is None else read_size(keep_size)
    used_before_s = math.inf if older_than is None else time.time() - read_time(older_than)
    store = work_store()
    if not dry_run:
        store.sweep()
    entries, chosen = list(store.entries()), []
    if older_than or keep_size or unused:
        chosen = removable(
            entries,
            runs_began_s=store.runs_began_s(),
            used_before_s=used_before_s,
            keep_bytes=keep_bytes,
            unused=unused,
        )
    gone = [entry for entry in chosen if dry_run or _removed(store, entry)]
    gone_folders = {entry.folder for entry in gone}
    rest = [entry for entry in entries if entry.folder not in gone_folders]
    print(f"{_sum(gone)} {'would be removed' if dry_run else 'removed'}; {_sum(rest)} {'would ' * dry_run}stay")
    if keep_bytes is not None and _bytes(rest) > keep_bytes:
        raise UserError(f"{store.root} is still larger than {keep_size}: the rest is in use or left out by a condition")


def _problem(entry: Entry) -> str | None:
    try:
        return damage(entry.folder, thorough=True)
    except PermissionError as error:
        return f"cannot be read ({error})"


def _removed(store: WorkStore, entry: Entry) -> bool:
    """Removes an entry, unless it was used since it was listed; says so where that is not permitted."""
    try:
        return entry.folder.stat().st_mtime == entry.last_use_s and store.discard(entry.folder)
    except FileNotFoundError:
        return False
    except OSError as error:
        print(f"{entry.folder}: cannot be removed ({error.strerror})", file=sys.stderr)
        return False


def _bytes(entries: Sequence[Entry]) -> int:
    return sum(entry.size_bytes for entry in entries)


def _sum(entries: Sequence[Entry]) -> str:
    noun = "entry" if len(entries) == 1 else "entries"
    return f"{len(entries)} {noun} ({disk.size(_bytes(entries))})"


def _line(name: str, entries: Sequence[Entry]) -> str:
    size = disk.size(_bytes(entries))
    linked = sum(entry.is_linked for entry in entries)
    used = max((entry.last_use_s for entry in entries), default=None)
    last_use = "never" if used is None else f"{datetime.fromtimestamp(used):%Y-%m-%d %H:%M}"
    return f"{name:<14}{len(entries):>8}{size:>12}{linked:>8}  {last_use}"


def _record(entry: Entry) -> dict[str, object]:
    return {
        "kind": entry.kind,
        "key": entry.key,
        "bytes": entry.size_bytes,
        "linked": entry.is_linked,
        "last_use": datetime.fromtimestamp(entry.last_use_s, UTC).isoformat(timespec="seconds"),
    }
