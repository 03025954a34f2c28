"""Which frame of its video a decoded frame is, where others could not be decoded."""

import itertools
from bisect import bisect_left
from collections.abc import Callable

from pipeline.times import FrameTimes


class Places:
    """Numbers decoded frames, in order, from 0.

    As long as everything decodes, frames are counted. After a failure the next frame is looked up by its time among
    the times that the container states, so that a lost frame leaves a gap and never moves the ones behind it. That
    holds only where the container's times have described the frames so far; where they do not, nothing behind a
    failure has a place. A decoder may also drop a frame without an error: then the time of the next one tells.

    Attributes:
        ended: whether no further frame can have a place.
    """

    def __init__(self, times: FrameTimes, *, hold: Callable[[], bool] = lambda: False) -> None:
        """Numbers frames from 0.

        Args:
            times: the container's.
            hold: whether all frames that can be decoded come in the order of `times`; asked where one seems dropped.
        """
        self._times, self._hold = times, hold
        self._reliable = all(before < after for before, after in itertools.pairwise(times))
        self._next, self._by_time = 0, times.refilled
        self.ended = False

    def fail(self) -> None:
        """Something could not be decoded here."""
        self._by_time = True

    def take(self, time: float) -> int | None:
        """The place of the next decoded frame; None if that cannot be known, or if frames behind it were taken."""
        index = self._next
        if self._reliable and (self._by_time or self._skips_to(time)):
            self._by_time = True
            index = bisect_left(self._times, time)
        self._reliable = self._reliable and index < len(self._times) and self._times[index] == time
        if self._reliable and index < self._next:
            return None
        certain = self._times.certain
        self.ended = (self._by_time and not self._reliable) or (certain is not None and index >= certain)
        if self.ended:
            return None
        self._next = index + 1
        return index

    def _skips_to(self, time: float) -> bool:
        """Whether frames were dropped here. Those before the first one that can be decoded are never counted."""
        if not 0 < self._next < len(self._times) or self._times[self._next] == time:
            return False
        place = bisect_left(self._times, time, lo=self._next)
        return place < len(self._times) and self._times[place] == time and self._hold()
