"""Single pictures: which face of each is meant, found by the detector, given by the set's makers, or the whole crop."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.follow import Finder, Followed
from pipeline.geometry import Detection, Points, rounded
from pipeline.images import Image
from pipeline.tracks import FrameDetections, Track, area, overlap

_SAME = 0.3
"""Least overlap of a found face with the box that the set's makers give: boxes of different makers differ much."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Still:
    """What is known of one picture: its size in pixels and, in these pixels, the face that the set's makers give."""

    width: int
    height: int
    box: NDArray[np.float64] | None = None
    points: Points | None = None


class Chosen(NamedTuple):
    """The meant face of each picture as one track, all other faces as tracks of one picture, and the rule."""

    person: list[Track]
    everybody: list[Track]
    rule: str


def searched(frames: Iterable[tuple[int, Image]], finder: Finder) -> Iterator[Followed]:
    """Searches each picture by itself."""
    for frame_index, picture in frames:
        (boxes,) = finder.search([picture])
        faces = finder.refine(picture, boxes if len(boxes) else finder.search_closely(picture))
        yield Followed(frame_index=frame_index, picture=picture, faces=faces, cut=True, searched=True)


def known(stills: Mapping[int, Still], frame_indices: Iterable[int], faces: str) -> dict[int, list[Detection]]:
    """Faces that need no detector, by frame: with `given` landmarks where there are some, or the whole picture `as_is`.

    A face whose landmarks or probability nobody knows has NaN there.
    """
    found: dict[int, list[Detection]] = {}
    for frame_index in frame_indices:
        still = stills[frame_index]
        whole = np.array([0.0, 0.0, still.width - 1.0, still.height - 1.0])
        if faces == "as_is":
            unknown = np.full((5, 2), np.nan)
            found[frame_index] = [Detection(box=whole, points=unknown, probability=np.nan)]
        elif still.points is None:
            found[frame_index] = []
        else:
            box = whole if still.box is None else still.box
            face = Detection(box=rounded(box), points=rounded(still.points), probability=np.nan)
            found[frame_index] = [face]
    return found


def choose(found: FrameDetections, stills: Mapping[int, Still], faces: str) -> Chosen:
    """The face that is meant in each picture: the one in the given box, else the largest.

    Args:
        found: faces of each picture.
        stills: the pictures.
        faces: `align.faces`.
    """
    person = Track(number=0)
    others: list[Track] = []
    for frame_index, detections in sorted(found.items()):
        chosen = _meant(detections, stills[frame_index].box)
        for face in detections:
            if face is chosen:
                person.faces[frame_index] = face
            else:
                others.append(Track(number=len(others) + 1, faces={frame_index: face}))
    boxes = any(stills[frame_index].box is not None for frame_index in found)
    rule = ("box" if boxes else "main") if faces == "detect" else faces
    return Chosen([person] if person.faces else [], [person, *others], rule)


def _meant(detections: Sequence[Detection], box: NDArray[np.float64] | None) -> Detection | None:
    if box is None:
        return max(detections, key=lambda face: area(face.box), default=None)
    best = max(detections, key=lambda face: overlap(face.box, box), default=None)
    return best if best is not None and overlap(best.box, box) >= _SAME else None
