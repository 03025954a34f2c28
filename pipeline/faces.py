"""One video's frames to its faces: detection, then cropping from recorded landmarks. Knows neither labels nor DVC."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline import geometry, images, tracks
from pipeline.follow import Followed
from pipeline.geometry import Detection, Points, Similarity
from pipeline.images import Image
from pipeline.tracks import Track


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


def gathered(
    frames: Iterable[Followed], min_confidence: float, *, size_of: Callable[[int], FrameSize] | None = None
) -> Sightings:
    """Keeps the sure faces of every frame.

    Args:
        frames: as `Follower.follow`, `search_each` or `stills.searched` give them out.
        min_confidence: least probability of a face.
        size_of: the size of a frame before it was stored; None if the pictures are as large.
    """
    found: dict[int, list[Detection]] = {}
    cuts: list[int] = []
    searches = 0
    for frame in frames:
        sure = [face for face in frame.faces if face.probability >= min_confidence]
        factors = size_of(frame.frame_index).factors(frame.picture) if size_of else np.ones(2)
        found[frame.frame_index] = [geometry.scaled(face, factors) for face in sure]
        cuts += [frame.frame_index] * frame.cut
        searches += frame.searched
    return Sightings(faces=found, cuts=cuts, searches=searches)


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
    return _face(picture, geometry.similarity(in_picture, geometry.template(template_scale)), quality)


def whole_face(picture: Image, *, quality: int) -> Face:
    """A picture that is a face's crop already, as a whole; what it lacks to a square repeats its edge."""
    height, width = picture.shape[:2]
    return _face(picture, geometry.fitted(width, height), quality)


def _face(picture: Image, transform: Similarity, quality: int) -> Face:
    face = images.warp_face(picture, transform)
    return Face(
        jpeg=images.encode_jpeg(face, quality),
        brightness=images.brightness(face),
        sharpness=images.sharpness(face),
    )
