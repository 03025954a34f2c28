"""When the frames of a video are shown, where some of them are lost. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_MOST_REORDERED = 16
"""Frames of H.264 that may be shown before one that was stored earlier."""

_MOST_TO_ONE = 4
"""Frames that are believed for each one that is found; a damaged header may declare billions."""

_ROUNDING_MS = 0.6
"""Matroska's times are whole milliseconds."""


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


class FrameTimes(list[float]):
    """When each frame is shown, in ms, sorted; empty where that is not known.

    Attributes:
        certain: how many, from the first, belong to the frames of these numbers; None if all.
        refilled: whether times of frames that the demuxer lost were put in: a frame's own time alone tells its number.
    """

    def __init__(self, times: Iterable[float] = (), *, certain: int | None = None, refilled: bool = False) -> None:
        """Takes sorted times."""
        super().__init__(times)
        self.certain, self.refilled = certain, refilled


def completed(times: Sequence[float], *, count: int, interval: float) -> list[float]:
    """Puts in the times that are missing from a constant rate.

    Empty if the ones that are there do not lie on it, or if there are too few to believe the number.

    Args:
        times: of some of the frames, sorted, the first frame's being 0.
        count: how many frames there are.
        interval: from one frame to the next, in ms; 0 if that is not known.
    """
    found = _on_grid(times, interval)
    if not found or count > _MOST_TO_ONE * len(times) or max(found) >= count:
        return []
    return [found.get(place, place * interval) for place in range(count)]


def refilled(times: Sequence[float], stored: Stored, *, interval: float) -> list[float]:
    """Puts in the times of the frames that a file lost where it is damaged or cut, if its rate is constant.

    It is taken for constant if none is missing before the damage; if that is at the very beginning, if they are missing
    in one place, which is near. Empty if it is not.

    Args:
        times: of the frames that the demuxer found, sorted, the first frame's being 0.
        stored: what lies in the file before the damage.
        interval: from one frame to the next, in ms; 0 if that is not known.
    """
    found, before = _on_grid(times, interval), stored.frames - _MOST_REORDERED
    if not found or not stored.frames or max(found) >= _MOST_TO_ONE * len(times):
        return []
    lost = sorted(set(range(max(found))) - found.keys())
    if lost and lost[0] < before:
        return []
    in_one_place = not lost or (lost[-1] - lost[0] < len(lost) and lost[0] <= stored.frames + _MOST_REORDERED)
    if before <= 0 and not in_one_place:
        return []
    return completed(times, count=max(found) + 1, interval=interval)


def _on_grid(times: Sequence[float], interval: float) -> dict[int, float]:
    """Times by their number, if all lie on a constant rate."""
    if not times or interval <= 0:
        return {}
    found = {round(time / interval): time for time in times}
    most = max(interval / 10, min(_ROUNDING_MS, 0.45 * interval))
    on_grid = all(abs(time - place * interval) < most for place, time in found.items())
    return found if on_grid and len(found) == len(times) and min(found) >= 0 else {}
