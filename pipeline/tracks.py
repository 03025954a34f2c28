"""Faces through time, and which of them is the annotated subject. Works on detections, never on pixels."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice, pairwise
from statistics import median

import numpy as np
from numpy.typing import NDArray

from pipeline.geometry import Detection, rounded

FrameDetections = Mapping[int, Sequence[Detection]]
"""Frame index to the faces found in that frame."""

_SIMILAR_SIZE = 2.0
"""Two stretches of one person differ in face area by at most this factor squared."""

_PACE = 5
"""Sightings that tell how a face moves."""


@dataclass(eq=False)
class Track:
    """One face followed through a video."""

    number: int
    faces: dict[int, Detection] = field(default_factory=dict)

    @property
    def last_frame(self) -> int:
        """Index of the frame in which it was last seen."""
        return next(reversed(self.faces))

    @property
    def last_box(self) -> NDArray[np.float64]:
        """Where it was last seen."""
        return self.faces[self.last_frame].box

    def expected_box(self, frame_index: int) -> NDArray[np.float64]:
        """Where its box would be if it went on as it last moved: someone who passes behind somebody comes out again."""
        latest = list(islice(reversed(self.faces), _PACE))
        first, last = self.faces[latest[-1]].box, self.faces[latest[0]].box
        frames = max(1, latest[0] - latest[-1])
        moved = (last - first).reshape(2, 2).mean(axis=0) / frames * (frame_index - latest[0])
        expected: NDArray[np.float64] = last + np.tile(moved, 2)
        return expected

    @property
    def weight(self) -> float:
        """Persistence times size: the sum of the face's side over its frames, in pixels."""
        return float(sum(area(face.box) ** 0.5 for face in self.faces.values()))

    @property
    def size(self) -> float:
        """Median area in square pixels."""
        return float(median(area(face.box) for face in self.faces.values()))

    @property
    def x(self) -> float:
        """Median horizontal centre in pixels."""
        return float(median(centre_x(face.box) for face in self.faces.values()))


def area(box: NDArray[np.float64]) -> float:
    """Area of a box (x0, y0, x1, y1)."""
    return float(max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1]))


def centre_x(box: NDArray[np.float64]) -> float:
    """Horizontal centre of a box."""
    return float(box[0] + box[2]) / 2


def overlap(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Intersection over union of two boxes, in [0, 1]."""
    corner = np.array([*np.maximum(one[:2], other[:2]), *np.minimum(one[2:], other[2:])])
    shared = area(corner)
    union = area(one) + area(other) - shared
    return shared / union if union > 0 else 0.0


def link(
    detections: FrameDetections, *, min_overlap: float, max_gap: int, cuts: Collection[int] = frozenset()
) -> list[Track]:
    """Joins detections of successive frames into tracks by optimal assignment of overlapping boxes.

    Args:
        detections: faces by frame index.
        min_overlap: least intersection over union of a face with its predecessor, or with where that was heading.
        max_gap: a track that was not seen for more than this many frames is over.
        cuts: frames that begin a new shot; no track crosses them.
    """
    tracks: list[Track] = []
    shot_begin = 0
    for frame_index in sorted(detections):
        faces = detections[frame_index]
        shot_begin = frame_index if frame_index in cuts else shot_begin
        earliest = max(shot_begin, frame_index - max_gap)
        live = [track for track in tracks if track.last_frame >= earliest]
        taken = _assign(live, faces, frame_index, min_overlap)
        for column, face in enumerate(faces):
            track = taken.get(column)
            if track is None:
                track = Track(number=len(tracks))
                tracks.append(track)
            track.faces[frame_index] = face
    return tracks


def _assign(
    live: Sequence[Track], faces: Sequence[Detection], frame_index: int, min_overlap: float
) -> dict[int, Track]:
    """Which face, by its place in `faces`, is whose.

    Whoever was seen last has the first claim, at that place. The others come out where they disappeared or where they
    were heading.
    """
    latest = max((track.last_frame for track in live), default=-1)
    fresh = [track for track in live if track.last_frame == latest]
    taken = _matched(fresh, list(enumerate(faces)), lambda track: [track.last_box], min_overlap)
    lost = [track for track in live if track not in taken.values()]
    left = [(place, face) for place, face in enumerate(faces) if place not in taken]
    return taken | _matched(lost, left, lambda track: [track.last_box, track.expected_box(frame_index)], min_overlap)


def _matched(
    live: Sequence[Track],
    faces: Sequence[tuple[int, Detection]],
    boxes: Callable[[Track], list[NDArray[np.float64]]],
    min_overlap: float,
) -> dict[int, Track]:
    """The assignment with the largest overlaps of numbered faces with any of the boxes where a track may be."""
    if not live or not faces:
        return {}
    gains = np.array([[max(overlap(box, face.box) for box in boxes(track)) for _, face in faces] for track in live])
    if len(live) == len(faces) == 1:
        return {faces[0][0]: live[0]} if gains[0, 0] >= min_overlap else {}
    from scipy.optimize import linear_sum_assignment  # half a second, for videos with several faces only

    gains[gains < min_overlap] = 0  # else two overlaps that are too small could outbid one that is not
    rows, columns = (places.tolist() for places in linear_sum_assignment(gains, maximize=True))
    pairs = [(row, column) for row, column in zip(rows, columns, strict=True) if gains[row, column] >= min_overlap]
    return {faces[column][0]: live[row] for row, column in pairs}


def bridge(track: Track, frame_indices: Iterable[int], *, max_bridge: int) -> None:
    """Fills gaps of a track by linear interpolation and marks what was filled.

    Args:
        track: changed in place.
        frame_indices: the frames there are, sorted.
        max_bridge: two sightings at most so many frames apart are joined.
    """
    seen = list(track.faces)
    wanted = np.array(list(frame_indices))
    for before, after in pairwise(seen):
        if after - before <= max_bridge:
            first, last = np.searchsorted(wanted, (before, after), side="right")
            for frame_index in wanted[first : last - 1].tolist():
                share = (frame_index - before) / (after - before)
                track.faces[frame_index] = _between(track.faces[before], track.faces[after], share)
    track.faces = dict(sorted(track.faces.items()))


def _between(before: Detection, after: Detection, share: float) -> Detection:
    return Detection(
        box=rounded(before.box + share * (after.box - before.box)),
        points=rounded(before.points + share * (after.points - before.points)),
        probability=min(before.probability, after.probability),
        interpolated=True,
    )


def smooth(track: Track, *, deviation: float) -> None:
    """Averages boxes and landmarks over time, in place, with Gaussian weights of this standard deviation in frames."""
    indices = np.array(list(track.faces))
    values = np.array([np.concatenate([face.box, face.points.reshape(-1)]) for face in track.faces.values()])
    reach = 3 * deviation
    for frame_index, face in list(track.faces.items()):
        first = np.searchsorted(indices, frame_index - reach)
        last = np.searchsorted(indices, frame_index + reach, side="right")
        weights = np.exp(-0.5 * ((indices[first:last] - frame_index) / deviation) ** 2)
        mean = weights @ values[first:last] / weights.sum()
        track.faces[frame_index] = replace(face, box=rounded(mean[:4]), points=rounded(mean[4:].reshape(5, 2)))


def choose(tracks: Sequence[Track], subject: str, others: Iterable[str], *, frame_width: int) -> list[Track]:
    """The tracks of the annotated subject, by position or by persistence and size over the whole video.

    Args:
        tracks: all tracks of the video.
        subject: `left`, `right`, or empty for the only annotated person.
        others: the subjects of the video's other annotations. If one is `left` and none `right`, an empty subject means
            the one on the right, and the reverse.
        frame_width: in pixels; its middle divides left from right where two faces are never seen together.
    """
    if not tracks:
        return []
    rule = rule_for(subject, others)
    if rule != "main":
        divide = _divide(tracks, frame_width)
        tracks = [track for track in tracks if (track.x < divide) == (rule == "left")]
    return _main_person(tracks)


def rule_for(subject: str, others: Iterable[str]) -> str:
    """How the annotated person is told from others: `left`, `right`, or `main` (persistence and size)."""
    opposite = {"left": "right", "right": "left"}
    sides = opposite.keys() & set(others)
    return subject or (opposite[sides.pop()] if len(sides) == 1 else "main")


def _divide(tracks: Sequence[Track], frame_width: int) -> float:
    """The horizontal line between the two most prominent faces, over all frames that show both."""
    by_frame: dict[int, list[Detection]] = {}
    for track in tracks:
        for frame_index, face in track.faces.items():
            by_frame.setdefault(frame_index, []).append(face)
    middles = []
    for faces in by_frame.values():
        if len(faces) >= 2:
            first, second = sorted(faces, key=lambda face: area(face.box), reverse=True)[:2]
            middles.append((centre_x(first.box) + centre_x(second.box)) / 2)
    return float(median(middles)) if middles else frame_width / 2


def _main_person(tracks: Sequence[Track]) -> list[Track]:
    """The weightiest track, and those of a similar size that never coincide with it: the same person, back again."""
    person: list[Track] = []
    seen: set[int] = set()
    for track in sorted(tracks, key=lambda track: (-track.weight, track.number)):
        if not person:
            similar = True
        else:
            ratio = (track.size / person[0].size) ** 0.5 if person[0].size else 1.0
            similar = 1 / _SIMILAR_SIZE <= ratio <= _SIMILAR_SIZE
        if similar and not seen & track.faces.keys():
            person.append(track)
            seen |= track.faces.keys()
    return person
