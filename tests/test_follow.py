"""Faces followed through real clips, measured against the whole-frame search of every frame and against the truth."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline import geometry, tracks
from pipeline.detector import Detector
from pipeline.faces import gathered
from pipeline.follow import Followed, Follower, search_each
from pipeline.geometry import Detection
from pipeline.images import Image
from pipeline.video import read_frames
from tests.conftest import Truth

SURE = 0.95
Frames = list[tuple[int, Image]]


def frames_of(demo: Path, video: str, *, begin: int = 0, end: int = 40) -> Frames:
    path = next((demo / "raw/videos").rglob(f"{video}.*"))
    wanted = set(range(begin, end))
    return [(index, picture) for index, picture in read_frames(path, wanted) if picture is not None]


@pytest.fixture(scope="module")
def finder() -> Detector:
    return Detector(min_face=40, device="cpu", working_side=640)


def follower(finder: Detector, *, search_every: int = 15, max_gap: int = 30) -> Follower:
    return Follower(finder=finder, search_every=search_every, max_gap=max_gap)


def distance(face: Detection, points: NDArray[np.float64]) -> float:
    return float(np.linalg.norm(face.points - points, axis=1).mean() / geometry.interocular(points))


@pytest.mark.parametrize("video", ["demo-001", pytest.param("demo-029", marks=pytest.mark.slow)])
def test_the_subject_is_found_wherever_every_frame_is_searched_and_as_exactly(
    video: str, demo: Path, truth: Truth, finder: Detector
) -> None:
    frames = frames_of(demo, video)
    reference = gathered(search_each(frames, finder), SURE).faces
    followed = gathered(follower(finder).follow(frames), 0.9)
    seen = [index for index, faces in reference.items() if len(faces) == 1]
    assert len(seen) > 30 and followed.searches < len(frames) / 5
    apart, errors, reference_errors = [], [], []
    for index in seen:
        (face,), (other,) = followed.faces[index], reference[index]
        apart.append(distance(face, other.points))
        errors.append(distance(face, truth[video, index, ""]))
        reference_errors.append(distance(other, truth[video, index, ""]))
    assert np.median(apart) < 0.045
    assert np.mean(errors) < np.mean(reference_errors) * 1.03


def test_two_people_are_both_followed(demo: Path, truth: Truth, finder: Detector) -> None:
    frames = frames_of(demo, "demo-012", end=30)
    followed = gathered(follower(finder).follow(frames), 0.9)
    assert [len(faces) for faces in followed.faces.values()] == [2] * 30
    linked = tracks.link(followed.faces, min_overlap=0.3, max_gap=30, cuts=set(followed.cuts))
    assert len(linked) == 2
    for track, side in zip(sorted(linked, key=lambda track: track.x), ("left", "right"), strict=True):
        assert distance(track.faces[29], truth["demo-012", 29, side]) < 0.15


def test_a_cut_is_noticed_at_its_frame_and_ends_every_track(demo: Path, finder: Detector) -> None:
    first, second = frames_of(demo, "demo-001", end=12), frames_of(demo, "demo-029", end=12)
    frames = list(enumerate(picture for _, picture in first + second))
    followed = gathered(follower(finder).follow(frames), 0.9)
    assert followed.cuts == [0, 12]
    linked = tracks.link(followed.faces, min_overlap=0.3, max_gap=30, cuts=set(followed.cuts))
    assert [(min(track.faces), max(track.faces)) for track in linked] == [(0, 11), (12, 23)]


def test_frames_far_apart_are_different_shots(demo: Path, finder: Detector) -> None:
    frames = frames_of(demo, "demo-001", end=4) + frames_of(demo, "demo-001", begin=36, end=38)
    assert [frame.frame_index for frame in follower(finder).follow(frames) if frame.cut] == [0, 36]


def test_a_face_that_enters_between_two_searches_is_followed_back_to_its_first_frame(
    demo: Path, finder: Detector
) -> None:
    """The face appears at frame 18; searches come at 0, 2, 6, 14 and 29."""
    pictures = [picture for _, picture in frames_of(demo, "demo-001", end=36)]
    empty = pictures[0].copy()
    empty[:] = np.median(empty[:40], axis=(0, 1)).astype(np.uint8)
    half_and_half = [np.hstack([empty, empty])] * 18 + [np.hstack([empty, picture]) for picture in pictures[18:]]
    steady = [np.hstack([pictures[index], frame[:, 320:]]) for index, frame in enumerate(half_and_half)]
    calm = Follower(finder=finder, search_every=15, max_gap=30)
    found = {frame.frame_index: frame for frame in calm.follow(list(enumerate(steady)))}
    entered = [index for index, frame in found.items() if len(frame.faces) == 2]
    assert entered == list(range(18, 36)) and sum(frame.searched for frame in found.values()) <= 8


def test_nobody_in_the_picture_is_nobody_and_costs_few_searches(finder: Detector) -> None:
    luck = np.random.default_rng(0)
    noise = [(index, luck.integers(0, 256, (120, 160, 3), dtype=np.uint8)) for index in range(40)]
    calm = follower(finder)
    assert all(frame.faces == [] for frame in calm.follow(noise))


@dataclass
class Scripted:
    """A finder whose faces stand where a script says, and that counts what is asked of it."""

    script: dict[int, list[float]]
    """Frame to the horizontal centres of its faces."""
    batch: int = 1
    searched: list[int] = field(default_factory=list)
    calls: int = 0

    def _faces(self, picture: Image) -> list[Detection]:
        return [self._face(x, 1.0) for x in self.script.get(int(picture[0, 0, 0]), [])]

    def _face(self, x: float, probability: float) -> Detection:
        box = np.array([x - 20, 20, x + 20, 60])
        return Detection(box=box, points=np.tile(box[:2], (5, 1)), probability=probability)

    def search(self, pictures: Sequence[Image]) -> list[list[NDArray[np.float64]]]:
        self.calls += 1
        self.searched += [int(picture[0, 0, 0]) for picture in pictures]
        return [[face.box for face in self._faces(picture)] for picture in pictures]

    def search_closely(self, picture: Image) -> list[NDArray[np.float64]]:
        return []

    def refine(self, picture: Image, boxes: Sequence[NDArray[np.float64]]) -> list[Detection]:
        """The scripted face nearest to each box, if it is near."""
        found = []
        for box in boxes:
            x = tracks.centre_x(box)
            near = [face for face in self._faces(picture) if abs(tracks.centre_x(face.box) - x) < 15]
            found.append(near[0] if near else self._face(x, 0.1))
        return found


def run(
    script: dict[int, list[float]], count: int, *, search_every: int = 15, batch: int = 1
) -> tuple[list[Followed], Scripted]:
    finder = Scripted(script, batch=batch)
    frames = [(index, np.full((80, 200, 3), index, np.uint8)) for index in range(count)]
    return list(Follower(finder=finder, search_every=search_every, max_gap=100).follow(frames)), finder


def centres(frames: Sequence[Followed]) -> list[list[float]]:
    return [sorted(tracks.centre_x(face.box) for face in frame.faces) for frame in frames]


@pytest.mark.parametrize("search_every", [1, 2, 5, 15])
@pytest.mark.parametrize("enters", range(1, 34, 3))
def test_whenever_a_face_enters_it_is_there_from_that_frame_on(enters: int, search_every: int) -> None:
    script = {index: [40.0] + [150.0] * (index >= enters) for index in range(50)}
    frames, _ = run(script, 50, search_every=search_every)
    assert [frame.frame_index for frame in frames] == list(range(50))
    assert centres(frames)[: 50 - search_every] == [script[index] for index in range(50 - search_every)]


def test_searches_grow_rare_and_a_lost_face_is_searched_for_at_once() -> None:
    script = {index: [40.0] * (index < 40) for index in range(80)}
    _, finder = run(script, 80)
    assert finder.searched == [0, 4, 19, 34, 40, 44, 59, 74]


def test_a_face_that_jumps_is_found_in_the_same_frame() -> None:
    script = {index: [40.0 if index < 20 else 150.0] for index in range(40)}
    frames, finder = run(script, 40)
    assert centres(frames) == [script[index] for index in range(40)]
    assert 20 in finder.searched


def test_two_known_faces_never_become_one() -> None:
    script = {index: [40.0, 40.0 + max(0, 30 - 2 * index)] if index < 12 else [40.0] for index in range(24)}
    frames, _ = run(script, 24)
    for frame in frames:
        boxes = [face.box for face in frame.faces]
        assert all(tracks.overlap(one, two) <= 0.4 for one in boxes for two in boxes if one is not two)


def test_a_flicker_does_not_cause_a_search_each_time() -> None:
    script = {index: [40.0] + [150.0] * (index % 3 == 0) for index in range(60)}
    _, finder = run(script, 60)
    assert len(finder.searched) < 15


@pytest.mark.parametrize("batch", [2, 4, 16])
@pytest.mark.parametrize("search_every", [1, 5, 15])
def test_searches_that_go_together_find_the_same(batch: int, search_every: int) -> None:
    """A face that enters, one that flickers, one that is lost: the schedule that was foreseen does not hold."""
    script = {i: [40.0] * (i < 31) + [100.0] * (i % 7 == 3) + [160.0] * (i >= 12) for i in range(60)}
    alone, one_by_one = run(script, 60, search_every=search_every)
    together, finder = run(script, 60, search_every=search_every, batch=batch)
    assert centres(together) == centres(alone)
    assert [frame.searched for frame in together] == [frame.searched for frame in alone]
    assert finder.calls < one_by_one.calls and set(one_by_one.searched) <= set(finder.searched)


def test_a_real_clip_gives_the_same_faces_however_many_searches_go_together(demo: Path, finder: Detector) -> None:
    first, second = frames_of(demo, "demo-012", end=20), frames_of(demo, "demo-034", end=10)
    frames = list(enumerate(picture for _, picture in first + second))
    batched = Detector(min_face=40, device="cpu", working_side=640, batch=4)
    alone, together = (gathered(follower(each, search_every=4).follow(frames), 0.9) for each in (finder, batched))
    assert together.cuts == alone.cuts == [0, 20]
    assert told(together.faces) == told(alone.faces) and sum(map(len, alone.faces.values())) == 60


def told(faces: dict[int, list[Detection]]) -> list[tuple[int, list[float], list[float], float]]:
    return [
        (index, face.box.tolist(), face.points.reshape(-1).tolist(), face.probability)
        for index, its in faces.items()
        for face in its
    ]


def crossing(demo: Path, count: int) -> list[Image]:
    """Two people of two clips who change sides; the one who comes from the left passes in front."""
    people = []
    for video in ("demo-001", "demo-029"):
        people.append([picture[:, 90:230] for _, picture in frames_of(demo, video, end=count)])
    pictures = []
    for index, (front, behind) in enumerate(zip(*people, strict=True)):
        canvas = np.full((240, 640, 3), 90, np.uint8)
        step = round(500 * index / (count - 1))
        canvas[:, 500 - step : 640 - step] = behind
        canvas[:, step : step + 140] = front
        pictures.append(canvas)
    return pictures


def test_people_who_pass_each_other_stay_who_they_are(demo: Path, finder: Detector) -> None:
    pictures = crossing(demo, 60)
    followed = gathered(follower(finder).follow(enumerate(pictures)), 0.9)
    linked = tracks.link(followed.faces, min_overlap=0.3, max_gap=30, cuts=set(followed.cuts))
    assert [(min(track.faces), max(track.faces)) for track in linked] == [(0, 59)] * 2
    behind, front = linked
    assert front.faces.keys() == set(range(60)) > behind.faces.keys()
    assert tracks.centre_x(behind.faces[0].box) > 500 and tracks.centre_x(behind.faces[59].box) < 140
    assert all(abs(tracks.centre_x(face.box) - 60 - 500 * index / 59) < 25 for index, face in front.faces.items())
