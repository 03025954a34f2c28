"""Which pictures of one table of prints are in another: exactly, or nearly. Pure; memory grows with the tables alone.

Equal keys are found by a merge with a sorted table. A print within `distance` bits of another agrees with it, but for
at most distance // 8 bits, in one of eight pieces of 16 bits; such pairs are looked up piece by piece and compared
whole (multi-index hashing, Norouzi, Punjani and Fleet, CVPR 2012).
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]
Words = NDArray[np.uint64]
Keys = NDArray[np.unsignedinteger]

NONE = -1
PIECES, PIECE_BITS = 8, 16
MOST_DISTANCE = 2 * PIECES - 1
"""So that pieces differ in one bit at most."""

_PAIRS = 1 << 21
"""Compared at once: some hundred megabytes."""


def exact_twins(left_n4: Words, right_m4: Words) -> Indices:
    """For each digest on the left its first equal on the right, or `NONE`, N."""
    found = np.full(len(left_n4), NONE, np.int64)
    for lefts, rights in _equal_pairs(left_n4[:, 0], right_m4[:, 0]):
        same = (left_n4[lefts] == right_m4[rights]).all(1)
        found[lefts[same][::-1]] = rights[same][::-1]
    return found


def near_twins(left_n2: Words, right_m2: Words, distance: int) -> tuple[Indices, Indices]:
    """For each print on the left the nearest on the right within `distance` bits (the first of equally near ones).

    Returns:
        Its place or `NONE`, and the number of bits in which they differ or `NONE`, N each.

    Raises:
        ValueError: if `distance` is above `MOST_DISTANCE`.
    """
    if not 0 <= distance <= MOST_DISTANCE:
        raise ValueError(f"distance must be in [0, {MOST_DISTANCE}], got {distance}")
    beyond = np.iinfo(np.int64).max
    best = np.full(len(left_n2), beyond)
    lefts_np, rights_mp = (np.ascontiguousarray(each).view(np.uint16) for each in (left_n2, right_m2))
    flips = [0] if distance < PIECES else [0, *(1 << bit for bit in range(PIECE_BITS))]
    for piece in range(PIECES):
        for flip in flips:
            for lefts, rights in _equal_pairs(lefts_np[:, piece] ^ np.uint16(flip), rights_mp[:, piece]):
                apart = np.bitwise_count(left_n2[lefts] ^ right_m2[rights]).sum(1, dtype=np.int64)
                near = apart <= distance
                np.minimum.at(best, lefts[near], apart[near] << 40 | rights[near])
    none = best == beyond
    return np.where(none, NONE, best & ((1 << 40) - 1)), np.where(none, NONE, best >> 40)


def _equal_pairs(
    left: NDArray[np.unsignedinteger], right: NDArray[np.unsignedinteger]
) -> Iterator[tuple[Indices, Indices]]:
    """All pairs of places with equal values, a bounded number at a time."""
    order = np.argsort(right, kind="stable")
    ordered = right[order]
    begins = np.searchsorted(ordered, left, side="left")
    counts = np.searchsorted(ordered, left, side="right") - begins
    rows = np.flatnonzero(counts)
    ends = np.cumsum(counts[rows])
    first = 0
    while first < len(rows):
        done = int(ends[first - 1]) if first else 0
        last = max(first + 1, int(np.searchsorted(ends, done + _PAIRS, side="right")))
        own, lengths = rows[first:last], counts[rows[first:last]]
        starts = np.repeat(begins[own] - np.cumsum(lengths) + lengths, lengths)
        yield np.repeat(own, lengths), order[starts + np.arange(lengths.sum())]
        first = last
