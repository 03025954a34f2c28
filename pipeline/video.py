"""Sequential, upright frames of one video, by their true numbers.

Never seeks: seeking by frame number is wrong on variable-frame-rate video.
"""

import itertools
from collections.abc import Iterator, Set
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from pipeline import asf, containers, matroska, riff
from pipeline.capture import Geometry, check_interlacing, opened
from pipeline.images import Image
from pipeline.places import Places
from pipeline.times import FrameTimes, Stored, completed, refilled

_VP8 = cv2.VideoWriter.fourcc(*"VP80")
_MPEG4 = cv2.VideoWriter.fourcc(*"FMP4")
_LARGEST_AS_BEFORE = 10
"""Bytes of a packet of MPEG-4 that says "as before": a start code, and some twenty bits (ISO/IEC 14496-2, 6.2.5)."""

_SAME_MOMENT_MS = 1.5
"""A frame that is never shown has the time of one that is, or the next moment of its container."""

_PATIENCE = 100
"""Failures in a row that are borne where the container does not tell how many frames are to come."""


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """What a container declares. Sizes are as displayed, after its rotation; `declared_frames` may be wrong or 0."""

    width: int
    height: int
    fps: float
    declared_frames: int


def probe(path: Path) -> VideoInfo:
    """Reads a container's header.

    Raises:
        UserError: if the file is no video that can be opened, claims too large frames (`capture.MAX_PIXELS`), or is
            interlaced.
    """
    check_interlacing(path)
    with opened(path) as capture:
        width, height = Geometry.of(capture).size
        return VideoInfo(
            width=width,
            height=height,
            fps=round(float(capture.get(cv2.CAP_PROP_FPS)), 3),
            declared_frames=max(0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT))),
        )


def frame_times(path: Path) -> FrameTimes:
    """When each frame is to be shown, by the container alone: nothing is decoded.

    As many as are in the file, damaged ones too. Empty where that is not known: if the edit list skips frames, or if
    not all can be found and neither a counted number nor a constant rate tells of the others.

    Raises:
        UserError: as `probe`.
    """
    if containers.display(path).skips_frames:
        return FrameTimes()
    times: list[float] = []
    hidden: list[float] = []
    failures, complete = 0, True
    with opened(path, cv2.CAP_PROP_FORMAT, -1) as capture:
        fps, count = capture.get(cv2.CAP_PROP_FPS), int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        hides = int(capture.get(cv2.CAP_PROP_FOURCC)) == _VP8
        while failures < _PATIENCE:
            if not capture.grab():
                failures += 1
                continue
            complete, failures = complete and not failures, 0
            (hidden if hides and _is_hidden(capture) else times).append(float(capture.get(cv2.CAP_PROP_POS_MSEC)))
    shown = np.array(times)
    times += [time for time in hidden if not np.any(np.abs(shown - time) < _SAME_MOMENT_MS)]
    return _with_lost(path, sorted(times), complete=complete, count=count, interval=1000 / fps if fps > 0 else 0)


def _is_hidden(capture: cv2.VideoCapture) -> bool:
    """Whether the packet of VP8 that was just taken begins as one that is never shown."""
    packet = capture.retrieve()[1]
    return packet is not None and packet.size > 0 and matroska.hides_vp8(int(packet.flat[0]))


def _with_lost(path: Path, times: list[float], *, complete: bool, count: int, interval: float) -> FrameTimes:
    """`frame_times`, if these are found, of the `count` that are declared; `complete` if the demuxer met no failure."""
    stored, is_matroska = _stored(path), containers.is_matroska(path)
    if is_matroska and complete and len(set(times)) < len(times):  # damage gave a frame the time of another one
        times = completed(sorted(set(times)), count=len(times), interval=interval) or times
    if stored and is_matroska and complete and not stored.whole:
        if all_times := refilled(times, stored, interval=interval):
            return FrameTimes(all_times, refilled=True)
    elif not complete and stored and is_matroska and stored.whole:
        times = completed(times, count=stored.frames, interval=interval)
    elif not complete:
        times = completed(times, count=count, interval=interval) if containers.counts_frames(path) else []
    if not stored or (0 < count <= len(times) and not is_matroska):
        return FrameTimes(times)
    return FrameTimes(times, certain=stored.certain(found=len(times)))


def expected_frames(path: Path, times: FrameTimes) -> int:
    """How many frames the container promises, found in the file or not; 0 where it does not say.

    Some containers count their frames. Of others only the duration is known: as many are expected as there are `times`
    if the file is whole (sound may outlast the picture), as it tells if it is damaged, or if the last one is further
    from the end than frames are from each other. In MPEG streams all gaps are losses.

    Raises:
        UserError: as `probe`.
    """
    info, stored, counts = probe(path), _stored(path), containers.counts_frames(path)
    if len(times) > 1 and info.fps > 0 and containers.has_constant_rate(path):
        return max(len(times), round((times[-1] - times[0]) * info.fps / 1000) + 1)
    if times and not counts and (stored.whole if stored else containers.is_whole_in_pieces(path)):
        return max(len(times), stored.frames if stored else 0)
    declared = info.declared_frames or round(info.fps * (stored.declared_s if stored else 0))
    if not times or declared <= len(times) or not info.fps > 0:
        return len(times)
    if counts or times.certain is not None or times.refilled:
        return declared
    frame_ms = 1000 / info.fps
    widest_ms = max((after - before for before, after in itertools.pairwise(times)), default=frame_ms)
    missing_ms = frame_ms * declared - times[-1]
    return declared if missing_ms > 1.5 * max(frame_ms, widest_ms) else len(times)


def read_frames(
    path: Path, wanted: Set[int] | None = None, *, times: FrameTimes | None = None, as_decoded: bool = False
) -> Iterator[tuple[int, Image | None]]:
    """Decodes a video from its first to its last frame.

    A frame that cannot be decoded is left out, and the frames behind it keep their numbers; where these cannot be known
    (see `Places`) the video ends there.

    Args:
        path: the video.
        wanted: frame indices whose pictures are needed; None means all.
        times: its `frame_times`, if they are known already.
        as_decoded: leaves pictures BGR in memory and gives reversed views, instead of converting all of every frame.

    Yields:
        (frame index from 0, RGB picture), the picture None where it was not wanted. Every frame is decoded.

    Raises:
        UserError: as `probe`.
    """
    check_interlacing(path)
    times = frame_times(path) if times is None else times
    mirrored = containers.display(path).mirrored
    with opened(path) as capture:
        places = Places(times, hold=lambda: _times_hold(path, times))
        geometry, taken, failures = Geometry.of(capture, mirrored=mirrored), 0, 0
        while failures <= max(_PATIENCE, len(times) - taken):
            taken += 1
            if not capture.grab():
                failures += 1
                continue
            if failures:
                places.fail()
            failures = 0
            frame_index = places.take(float(capture.get(cv2.CAP_PROP_POS_MSEC)))
            if places.ended:
                return
            if frame_index is None:
                continue
            picture = None
            if wanted is None or frame_index in wanted:
                decoded, bgr = capture.retrieve()
                if not decoded:
                    failures = 1
                    continue
                bgr = geometry.displayed(bgr)
                picture = (
                    bgr[..., ::-1] if as_decoded else cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)
                )
            yield frame_index, picture


def _stored(path: Path) -> Stored | None:
    """What lies in a file, in the containers that lose frames without an error."""
    status = path.stat()
    return _walked(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=1)
def _walked(path: Path, _size: int, _changed_ns: int) -> Stored | None:
    return matroska.stored(path) or riff.stored(path) or asf.stored(path)


def _times_hold(path: Path, times: FrameTimes) -> bool:
    """Whether all frames that can be decoded have times that their container states, in order.

    They do not where clips were joined carelessly. MPEG-4 has packets that say "as before" and are not shown: where
    there are small ones a missing frame need not be a lost one.
    """
    if not containers.states_times(path):
        return False
    with opened(path, cv2.CAP_PROP_FORMAT, -1) as capture:
        tries = range(len(times) + _PATIENCE)
        packets = (capture.retrieve()[1] for _ in tries if capture.grab())
        if int(capture.get(cv2.CAP_PROP_FOURCC)) == _MPEG4 and any(
            packet is not None and packet.size <= _LARGEST_AS_BEFORE for packet in packets
        ):
            return False
    with opened(path) as capture:
        shown = [float(capture.get(cv2.CAP_PROP_POS_MSEC)) for _ in tries if capture.grab()]
    return set(shown) <= set(times) and all(before < after for before, after in itertools.pairwise(shown))
