"""Which shards a sequence of batches reads, from which batch to which, and how many of them at once. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from pipeline.contract import UserError
from pipeline.disk import size as told_size

_GAP = 64
"""Batches without a shard after which it is let go until it is needed again. Samples of the few shards that are
shuffled together are evenly mixed, so that within a window hardly any gap is a tenth as long."""

ENTRY_BYTES = 4096
"""Beside a shard, for what the cache keeps with it."""


class Use(NamedTuple):
    """A shard and the first and the last batch that need it."""

    first: int
    last: int
    shard: str


def uses(batches: Sequence[Iterable[str]]) -> list[Use]:
    """Every use of every shard, in the order in which they begin.

    Args:
        batches: names of the shards that each batch reads; may repeat one.
    """
    found: list[Use] = []
    latest: dict[str, int] = {}
    for number, shards in enumerate(batches):
        for shard in dict.fromkeys(shards):
            place = latest.get(shard)
            if place is not None and number - found[place].last <= _GAP:
                found[place] = found[place]._replace(last=number)
            else:
                latest[shard] = len(found)
                found.append(Use(number, number, shard))
    return found


def most_bytes(plan: Sequence[Use], sizes: Mapping[str, int], *, in_flight: int) -> int:
    """What the cache must hold at the worst moment, when batch i is used and batch i + `in_flight` is asked for."""
    changes = [(use.first - in_flight, sizes[use.shard] + ENTRY_BYTES) for use in plan]
    changes += [(use.last + 1, -sizes[use.shard] - ENTRY_BYTES) for use in plan]
    held = most = 0
    for _, change in sorted(changes):
        held += change
        most = max(most, held)
    return most


def require_room(plan: Sequence[Use], sizes: Mapping[str, int], *, in_flight: int, limit: int, taken: int) -> None:
    """Refuses a plan whose batches read more at once than the cache may hold.

    Args:
        plan: of the batches.
        sizes: of the shards, in bytes.
        in_flight: batches that are asked for before the first of them is done with.
        limit: of the cache, in bytes.
        taken: bytes of it that hold something else all the time.
    """
    needed = most_bytes(plan, sizes, in_flight=in_flight) + taken
    if needed > limit:
        raise UserError(
            f"stream_cache_gb is {limit / 1e9:g}, but batches that are under way read shards of {told_size(needed)} at "
            f"once; set it to at least {_rounded_up(needed):g}, or build smaller shards (shard.samples_per_shard)"
        )


def _rounded_up(count: int) -> float:
    """Bytes in GB, of which two digits count."""
    unit = 10.0 ** (len(str(count)) - 2)
    return -(-count // unit) * unit / 1e9
