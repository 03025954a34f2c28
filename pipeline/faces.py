"""One video's frames to its faces: detection, then cropping from recorded landmarks. Knows neither labels nor DVC."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline import geometry, images, tracks
from pipeline.follow import Follower
from pipeline.geometry import Detection, Points
from pipeline.tracks import Track
from pipeline.video import Image

if TYPE_CHECKING:
    from pipeline.detector import Detector

_BATCH = 16


@dataclass(frozen=True, kw_only=True)
class FrameSize:
    """Width and height of the upright video frame, in pixels; stored frames may be smaller."""

    width: int
    height: int

    def factors(self, picture: Image) -> NDArray[np.float64]:
        """Video pixels per stored pixel, horizontally and vertically."""
        height, width = picture.shape[:2]
        return np.array([self.width / width, self.height / height])


@dataclass(frozen=True, kw_only=True)
class Face:
    """One aligned face as JPEG, with measures of the stored picture's quality."""

    jpeg: bytes
    brightness: float
    sharpness: float


@dataclass(frozen=True, kw_only=True)
class Sightings:
    """Faces by frame, in pixels of the video frame; frames that begin a shot; how often a whole frame was searched."""

    faces: dict[int, list[Detection]]
    cuts: list[int]
    searches: int


def detect_faces(
    frames: Iterable[tuple[int, Image]], detector: "Detector", size: FrameSize, *, min_confidence: float
) -> Sightings:
    """Searches every whole frame: the reference that following is measured against. Knows no shots."""
    found: dict[int, list[Detection]] = {}
    for batch in _batches(frames, _BATCH if detector.device.type != "cpu" else 1):
        pictures = [picture for _, picture in batch]
        for (frame_index, picture), faces in zip(batch, detector.detect(pictures), strict=True):
            found[frame_index] = _sure(faces, size.factors(picture), min_confidence)
    return Sightings(faces=found, cuts=[], searches=len(found))


def follow_faces(
    frames: Iterable[tuple[int, Image]], follower: Follower, size: FrameSize, *, min_confidence: float
) -> Sightings:
    """Follows faces from frame to frame."""
    found: dict[int, list[Detection]] = {}
    cuts: list[int] = []
    for frame in follower.follow(frames):
        found[frame.frame_index] = _sure(frame.faces, size.factors(frame.picture), min_confidence)
        cuts += [frame.frame_index] * frame.cut
    return Sightings(faces=found, cuts=cuts, searches=follower.searches)


def tracked(
    sightings: Sightings, *, min_overlap: float, max_gap: int, max_bridge: int, smoothing: float
) -> list[Track]:
    """Faces through time: linked, short gaps bridged, landmarks smoothed over time if `smoothing` (frames) is not 0."""
    linked = tracks.link(sightings.faces, min_overlap=min_overlap, max_gap=max_gap, cuts=frozenset(sightings.cuts))
    frame_indices = sorted(sightings.faces)
    for track in linked:
        tracks.bridge(track, frame_indices, max_bridge=max_bridge)
        if smoothing:
            tracks.smooth(track, deviation=smoothing)
    return linked


def crop_face(picture: Image, points: Points, size: FrameSize, *, template_scale: float, quality: int) -> Face:
    """Aligns one face from its landmarks in video pixels: a pure function, the same on every machine.

    Raises:
        ValueError: if all landmarks coincide.
    """
    in_picture = (points + 0.5) / size.factors(picture) - 0.5
    transform = geometry.similarity(in_picture, geometry.template(template_scale))
    face = images.warp_face(picture, transform)
    return Face(
        jpeg=images.encode_jpeg(face, quality),
        brightness=images.brightness(face),
        sharpness=images.sharpness(face),
    )


def _sure(faces: Iterable[Detection], factors: NDArray[np.float64], min_confidence: float) -> list[Detection]:
    return [geometry.scaled(face, factors) for face in faces if face.probability >= min_confidence]


def _batches(frames: Iterable[tuple[int, Image]], length: int) -> Iterator[list[tuple[int, Image]]]:
    batch: list[tuple[int, Image]] = []
    for frame in frames:
        batch.append(frame)
        if len(batch) == length:
            yield batch
            batch = []
    if batch:
        yield batch
