"""Faces of successive frames: a known face costs the refinement nets only; the whole frame is searched now and then.

It is searched at the start, at a shot cut, when a face is lost, and at growing intervals. What a search finds is
followed backward too, into the frames since the search before: a face that enters between two searches is not missed.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.geometry import Boxes, Detection
from pipeline.images import Image, luma, resized
from pipeline.tracks import overlap

_KEPT = 0.7
"""O-Net's own threshold: a known face that falls below it is lost."""

_SAME = 0.4
"""Two boxes of one frame that overlap by more are one face."""

_ESTABLISHED = 5
"""A face that was followed for so many frames is searched for at once when it is lost; a flicker is not."""

_GROWTH = 4
"""From one interval between searches to the next, until `search_every` is reached."""

_MOST_TOGETHER = 4
"""Searches that are made together where that is faster, on a GPU. The frames between them are held."""

_GLANCE_SIDE = 32
_CUT_DIFFERENCE = 24.0
"""Mean difference of the glances (luma, 0 to 255) from which two successive frames belong to different shots."""


class Finder(Protocol):
    """What following needs of a detector."""

    batch: int
    """Pictures that go together."""

    def search(self, pictures: Sequence[Image]) -> Sequence[Boxes]:
        """Roughly where each picture has faces."""

    def search_closely(self, picture: Image) -> Boxes:
        """Where it has faces that are too small for `search`."""

    def refine(self, picture: Image, boxes: Boxes) -> list[Detection]:
        """Faces near these boxes, in their order; a low probability where there is none."""


class Searcher(Protocol):
    """What searching every frame needs of a detector."""

    batch: int
    """Pictures that go together."""

    def detect(self, pictures: Sequence[Image]) -> list[list[Detection]]:
        """Faces of each picture."""


@dataclass(kw_only=True)
class Followed:
    """One frame and its faces in pixels of its picture.

    `cut` if a new shot begins with it, `searched` if the whole of it was searched.
    """

    frame_index: int
    picture: Image
    faces: list[Detection]
    cut: bool
    searched: bool = False


@dataclass(kw_only=True)
class Follower:
    """Follows the faces of one video."""

    finder: Finder
    search_every: int
    """The longest interval between two searches, in frames given."""
    max_gap: int
    """Frames that lie further apart (by index) count as different shots."""

    _known: list[tuple[Detection, int]] = field(default_factory=list)
    """Faces of the frame before, and for how many frames each was followed."""
    _held: list[Followed] = field(default_factory=list)
    """Frames since the last search: they may still gain faces."""
    _ahead: deque[tuple[int, Image]] = field(default_factory=deque)
    """Frames that come next, as far as searches are made together."""
    _foreseen: dict[int, Boxes] = field(default_factory=dict)
    """What searches of coming frames found; used if they are still due when the frame is there."""
    _interval: int = 1
    _last_index: int | None = None
    _last_glance: NDArray[np.int16] | None = None

    def follow(self, frames: Iterable[tuple[int, Image]]) -> Iterator[Followed]:
        """Gives out every frame, in order, at most `search_every` frames late (times the searches that go together)."""
        for frame_index, picture in self._looking_ahead(frames):
            cut = self._is_cut(frame_index, picture)
            if cut:
                yield from self._release()
                self._known, self._interval = [], 1
            frame = Followed(frame_index=frame_index, picture=picture, faces=[], cut=cut)
            lost = self._refind(frame)
            if cut or lost:
                self._interval = 1
            if len(self._held) + 1 >= self._interval:
                self._search(frame)
                yield from self._release()
                yield frame
            else:
                self._held.append(frame)
        yield from self._release()

    def _release(self) -> Iterator[Followed]:
        yield from self._held
        self._held = []

    def _is_cut(self, frame_index: int, picture: Image) -> bool:
        glance, before = _glance(picture), self._last_glance
        last_index = self._last_index
        self._last_glance, self._last_index = glance, frame_index
        if before is None or last_index is None or frame_index - last_index > self.max_gap:
            return True
        return before.shape != glance.shape or float(np.abs(glance - before).mean()) >= _CUT_DIFFERENCE

    def _refind(self, frame: Followed) -> bool:
        """Looks for the faces of the frame before; tells whether an established one was lost."""
        found = self.finder.refine(frame.picture, [face.box for face, _ in self._known])
        ages = [age + 1 for _, age in self._known]
        self._known, lost = [], False
        for place in sorted(range(len(found)), key=lambda place: (-ages[place], place)):
            face = found[place]
            if face.probability >= _KEPT and not _among(face.box, frame.faces):
                frame.faces.append(face)
                self._known.append((face, ages[place]))
            elif ages[place] > _ESTABLISHED:
                lost = True
        return lost

    def _search(self, frame: Followed) -> None:
        frame.searched = True
        self._interval = min(_GROWTH * self._interval, self.search_every)
        found = self._found_in(frame)
        if not found and not frame.faces:
            found = self.finder.search_closely(frame.picture)
        new = [box for box in found if not _among(box, frame.faces)]
        for face in self.finder.refine(frame.picture, new):
            if face.probability >= _KEPT and not _among(face.box, frame.faces):
                frame.faces.append(face)
                self._known.append((face, 0))
                self._trace_back(face)

    def _found_in(self, frame: Followed) -> Boxes:
        """The search of one frame, made together with those that will be due if nothing happens until then."""
        if frame.frame_index not in self._foreseen:
            due = [(frame.frame_index, frame.picture), *islice(self._due(), self._together - 1)]
            found = self.finder.search([picture for _, picture in due])
            self._foreseen = dict(zip((frame_index for frame_index, _ in due), found, strict=True))
        return self._foreseen[frame.frame_index]

    def _due(self) -> Iterator[tuple[int, Image]]:
        place, interval = self._interval - 1, self._interval
        while place < len(self._ahead):
            yield self._ahead[place]
            interval = min(_GROWTH * interval, self.search_every)
            place += interval

    def _looking_ahead(self, frames: Iterable[tuple[int, Image]]) -> Iterator[tuple[int, Image]]:
        """Keeps those frames at hand that may be searched together with the present one."""
        waiting, reach = iter(frames), 1 + (self._together - 1) * self.search_every
        while True:
            self._ahead.extend(islice(waiting, reach - len(self._ahead)))
            if not self._ahead:
                return
            yield self._ahead.popleft()

    @property
    def _together(self) -> int:
        return min(self.finder.batch, _MOST_TOGETHER)

    def _trace_back(self, face: Detection) -> None:
        for frame in reversed(self._held):
            (face,) = self.finder.refine(frame.picture, [face.box])
            if face.probability < _KEPT or _among(face.box, frame.faces):
                return
            frame.faces.append(face)


def search_each(frames: Iterable[tuple[int, Image]], searcher: Searcher) -> Iterator[Followed]:
    """Searches every whole frame: the reference that following is measured against. Knows no shots."""
    for batch in _batches(frames, searcher.batch):
        pictures = [picture for _, picture in batch]
        for (frame_index, picture), faces in zip(batch, searcher.detect(pictures), strict=True):
            yield Followed(frame_index=frame_index, picture=picture, faces=faces, cut=False, searched=True)


def _batches(frames: Iterable[tuple[int, Image]], length: int) -> Iterator[list[tuple[int, Image]]]:
    waiting = iter(frames)
    while batch := list(islice(waiting, length)):
        yield batch


def _among(box: NDArray[np.float64], others: Iterable[Detection]) -> bool:
    return any(overlap(box, other.box) > _SAME for other in others)


def _glance(picture: Image) -> NDArray[np.int16]:
    """The picture in a few luma values, with the mean taken off: a flash or a fade is not a cut."""
    points = resized(picture, 4 * _GLANCE_SIDE, 4 * _GLANCE_SIDE, cv2.INTER_NEAREST)
    levels = luma(resized(points, _GLANCE_SIDE, _GLANCE_SIDE)).astype(np.int16)
    return (levels - round(float(levels.mean()))).astype(np.int16)
