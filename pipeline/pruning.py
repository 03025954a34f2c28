"""Which entries of the work store may go, least recently used first. Pure."""

import math
import re
from collections.abc import Sequence

from pipeline.contract import UserError
from pipeline.store import Entry

_SIZE_UNITS = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_TIME_UNITS_S = {"m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}


def removable(
    entries: Sequence[Entry],
    *,
    runs_began_s: Sequence[float],
    used_before_s: float = math.inf,
    keep_bytes: int | None = None,
    unused: bool = False,
) -> list[Entry]:
    """Entries that meet every condition, least recently used first.

    Args:
        entries: all entries of the store.
        runs_began_s: when each stage that works with the store now began; what was used since then stays.
        used_before_s: takes only entries that were last used before.
        keep_bytes: takes no more than needed for the rest of the store to be no larger.
        unused: takes only entries that were last used before all that are linked, of their kind where there are some.
    """
    free = [
        entry for entry in entries if not entry.is_linked and entry.last_use_s < min(runs_began_s, default=math.inf)
    ]
    free = [entry for entry in free if entry.last_use_s < used_before_s]
    if unused:
        linked_since_s = {kind: _linked_since_s(entries, kind) for kind in {entry.kind for entry in free}}
        free = [entry for entry in free if entry.last_use_s < linked_since_s[entry.kind]]
    free.sort(key=lambda entry: entry.last_use_s)
    if keep_bytes is None:
        return free
    excess_bytes = sum(entry.size_bytes for entry in entries) - keep_bytes
    taken = 0
    while excess_bytes > 0 and taken < len(free):
        excess_bytes -= free[taken].size_bytes
        taken += 1
    return free[:taken]


def _linked_since_s(entries: Sequence[Entry], kind: str) -> float:
    """The least recent use of a linked entry. Kinds that are read but never linked go by all the others."""
    linked = [entry for entry in entries if entry.is_linked]
    same_kind = [entry for entry in linked if entry.kind == kind]
    return min((entry.last_use_s for entry in same_kind or linked), default=-math.inf)


def read_size(text: str) -> int:
    """`50GB` in bytes; raises `UserError` if that is no size."""
    return round(_read(text, _SIZE_UNITS, "a size", "50GB"))


def read_time(text: str) -> float:
    """`30d` in seconds; raises `UserError` if that is no length of time."""
    return _read(text, _TIME_UNITS_S, "a length of time", "30d")


def _read(text: str, units: dict[str, int], what: str, example: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?([A-Za-z]+)", text.strip(), re.ASCII)
    by_name = {unit.lower(): factor for unit, factor in units.items()}
    if match is None or match[2].lower() not in by_name:
        raise UserError(f"{text!r} is not {what}; write a number and one of {', '.join(units)}, such as {example}")
    return float(match[1]) * by_name[match[2].lower()]
