"""Which frame of its video a decoded frame is, where others could not be decoded."""

import itertools
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_MOST_TO_ONE = 4
"""Frames that are believed for each one that is found; a damaged header may declare billions."""


_MOST_REORDERED = 16
"""Frames of H.264 that may be shown before one that was stored earlier."""


@dataclass(frozen=True, kw_only=True)
class Stored:
    """How many frames that are shown lie in a file, by its structure alone, up to its first damage or to its end."""

    frames: int
    whole: bool
    to_end: bool
    """Whether no damage was met, though the file may be cut short."""

    declared_s: float = 0
    """How long the video lasts by a header that FFmpeg does not believe; 0 where FFmpeg does."""

    def certain(self, *, found: int) -> int | None:
        """How many frames, from the first, have their true number; None if all.

        `found` are those that the demuxer finds, 0 if that is not known.
        """
        safe = self.whole or (found <= self.frames if found else self.to_end)
        return None if safe else max(0, self.frames - _MOST_REORDERED)


class Places:
    """Numbers decoded frames, in order, from 0.

    As long as everything decodes, frames are counted. After a failure the next frame is looked up by its time among
    the times that the container states, so that a lost frame leaves a gap and never moves the ones behind it. That
    holds only where the container's times have described the frames so far; where they do not, nothing behind a
    failure has a place. A decoder may also drop a frame without an error: then the time of the next one tells.
    """

    def __init__(
        self, times: Sequence[float], *, most: int | None = None, hold: Callable[[], bool] = lambda: False
    ) -> None:
        """Numbers frames from 0.

        Args:
            times: the container's time of each frame, sorted; empty if there are none.
            most: how many places are certain; None if that is for the times to tell.
            hold: whether all frames that can be decoded come in the order of `times`; asked where one seems dropped.
        """
        self._times, self._most, self._hold = times, most, hold
        self._reliable = all(before < after for before, after in itertools.pairwise(times))
        self._next, self._failed = 0, False

    def fail(self) -> None:
        """Something could not be decoded here."""
        self._failed = True

    def take(self, time: float) -> int | None:
        """The place of the next decoded frame, or None if that cannot be known."""
        index = self._next
        if self._reliable and (self._failed or self._skips_to(time)):
            self._failed = True
            index = bisect_left(self._times, time, lo=min(index, len(self._times)))
        self._reliable = self._reliable and index < len(self._times) and self._times[index] == time
        if (self._failed and not self._reliable) or (self._most is not None and index >= self._most):
            return None
        self._next = index + 1
        return index

    def _skips_to(self, time: float) -> bool:
        """Whether frames were dropped here. Those before the first one that can be decoded are never counted."""
        if not 0 < self._next < len(self._times) or self._times[self._next] == time:
            return False
        place = bisect_left(self._times, time, lo=self._next)
        return place < len(self._times) and self._times[place] == time and self._hold()


def completed(times: Sequence[float], *, count: int, interval: float) -> list[float]:
    """Puts in the times that are missing from a constant rate.

    Empty if the ones that are there do not lie on it, or if there are too few to believe the number.

    Args:
        times: of some of the frames, sorted, the first frame's being 0.
        count: how many frames there are.
        interval: from one frame to the next.
    """
    if not times or count > _MOST_TO_ONE * len(times):
        return []
    found = {round(time / interval): time for time in times}
    on_grid = all(abs(time - place * interval) < interval / 10 for place, time in found.items())
    if not on_grid or len(found) < len(times) or min(found) < 0 or max(found) >= count:
        return []
    return [found.get(place, place * interval) for place in range(count)]
