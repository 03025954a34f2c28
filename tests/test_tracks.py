"""Faces through time: who is linked to whom, and which track is the annotated subject."""

from collections.abc import Mapping

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline import tracks
from pipeline.geometry import Detection
from pipeline.tracks import Track

WIDTH = 640


def box(*corners: float) -> NDArray[np.float64]:
    return np.array(corners, dtype=np.float64)


def face(x: float, y: float = 100, side: float = 80) -> Detection:
    """A square face around (x, y)."""
    half = side / 2
    return Detection(box=box(x - half, y - half, x + half, y + half), points=np.zeros((5, 2)), probability=1.0)


def link(frames: Mapping[int, list[Detection]], *, min_overlap: float = 0.3, max_gap: int = 5) -> list[Track]:
    return tracks.link(frames, min_overlap=min_overlap, max_gap=max_gap)


def chosen(found: list[Track], subject: str = "", others: tuple[str, ...] = ()) -> dict[int, float]:
    """Horizontal centre of the subject in each frame; the tracks of one person never coincide."""
    person = tracks.choose(found, subject, others, frame_width=WIDTH)
    centres = [(index, tracks.centre_x(seen.box)) for track in person for index, seen in track.faces.items()]
    assert len({index for index, _ in centres}) == len(centres)
    return dict(sorted(centres))


def spans(found: list[Track]) -> list[list[int]]:
    return [sorted(track.faces) for track in found]


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (box(0, 0, 10, 10), box(0, 0, 10, 10), 1.0),
        (box(0, 0, 10, 10), box(5, 0, 15, 10), 50 / 150),
        (box(0, 0, 10, 10), box(5, 5, 15, 15), 25 / 175),
        (box(0, 0, 10, 10), box(2, 2, 4, 4), 4 / 100),
        (box(0, 0, 10, 10), box(10, 0, 20, 10), 0.0),
        (box(0, 0, 10, 10), box(20, 20, 30, 30), 0.0),
        (box(5, 5, 5, 5), box(5, 5, 5, 5), 0.0),
        (box(-5, -5, 5, 5), box(-5, 0, 5, 5), 0.5),
    ],
)
def test_overlap_is_intersection_over_union(
    one: NDArray[np.float64], other: NDArray[np.float64], expected: float
) -> None:
    assert tracks.overlap(one, other) == pytest.approx(expected, abs=1e-15)
    assert tracks.overlap(other, one) == tracks.overlap(one, other)


def test_a_moving_face_is_one_track_whatever_the_order_of_frames() -> None:
    frames = {index: [face(100 + 10 * index)] for index in reversed(range(20))}
    assert spans(link(frames)) == [list(range(20))]


def test_two_people_keep_their_tracks_though_detections_swap_places() -> None:
    frames = {i: [face(200 + i), face(400 - i)][:: 1 if i % 2 else -1] for i in range(30)}
    found = link(frames)
    assert spans(found) == [list(range(30))] * 2
    assert sorted(round(track.x) for track in found) == [214, 386]


def test_people_who_pass_each_other_keep_their_tracks() -> None:
    """Two rows of the picture: the one above walks right, the one below left."""
    frames = {i: [face(100 + 20 * i, y=80), face(500 - 20 * i, y=150)] for i in range(21)}
    for track in link(frames):
        heights = {seen.box[1] for seen in track.faces.values()}
        assert len(heights) == 1
    assert len(link(frames)) == 2


@pytest.mark.parametrize("gap", [1, 4, 5])
def test_a_short_gap_is_bridged(gap: int) -> None:
    assert spans(link({0: [face(100)], gap: [face(105)]}, max_gap=5)) == [[0, gap]]


def test_a_longer_gap_begins_a_new_track() -> None:
    assert spans(link({0: [face(100)], 6: [face(100)]}, max_gap=5)) == [[0], [6]]


def test_empty_frames_and_no_frames_are_fine() -> None:
    assert link({}) == []
    assert link({0: [], 1: []}) == []
    assert spans(link({0: [face(100)], 1: [], 2: [face(100)]})) == [[0, 2]]


def test_someone_who_passes_behind_another_is_the_same_when_back() -> None:
    frames = {i: [face(100 + 12 * i, y=100)] + [face(500 - 12 * i)] * (not 12 <= i < 22) for i in range(34)}
    found = link(frames, max_gap=12)
    assert spans(found) == [list(range(34)), [*range(12), *range(22, 34)]]
    assert [round(tracks.centre_x(track.faces[33].box)) for track in found] == [496, 104]


def test_where_a_face_was_heading_counts_only_where_it_is_not_at_its_old_place() -> None:
    """It stops behind the other: found where it was last seen, although it was moving."""
    frames = {i: [face(100 + 10 * i)] for i in range(6)} | {12: [face(152)]}
    assert spans(link(frames, max_gap=8)) == [[*range(6), 12]]


def test_too_small_an_overlap_is_another_face() -> None:
    assert spans(link({0: [face(100)], 1: [face(160)]})) == [[0], [1]]


def test_a_good_link_is_not_outbid_by_two_that_are_too_small() -> None:
    """The sum of two overlaps below the threshold may exceed the one above it."""
    frames = {0: [face(100), face(25)], 1: [face(62.8), face(145.5)]}
    gains = [[tracks.overlap(old.box, new.box) for new in frames[1]] for old in frames[0]]
    assert gains[0][0] >= 0.36 > max(gains[0][1], gains[1][0]) and gains[0][1] + gains[1][0] > gains[0][0]
    linked = [track for track in link(frames, min_overlap=0.36) if len(track.faces) == 2]
    assert [tracks.centre_x(track.faces[1].box) for track in linked] == [62.8]


def test_nobody_is_chosen_from_nobody() -> None:
    for subject in ("", "left", "right"):
        assert tracks.choose([], subject, (), frame_width=WIDTH) == []


def test_left_and_right_are_told_apart_by_position() -> None:
    found = link({i: [face(450 + i), face(150 - i)] for i in range(20)})
    assert max(chosen(found, "left").values()) == 150
    assert min(chosen(found, "right").values()) == 450


def test_the_other_subject_tells_who_an_unnamed_one_is() -> None:
    """NAME.txt beside NAME_left.txt: the person on the right."""
    found = link({i: [face(150, side=120), face(450)] for i in range(20)})
    assert set(chosen(found, "", ("left",)).values()) == {450}
    assert set(chosen(found, "", ("right",)).values()) == {150}
    assert set(chosen(found, "").values()) == {150}


def test_two_people_in_one_half_are_still_left_and_right() -> None:
    found = link({i: [face(380), face(560)] for i in range(20)})
    assert set(chosen(found, "left").values()) == {380}
    assert set(chosen(found, "right").values()) == {560}


def test_someone_missing_is_not_replaced_by_the_other() -> None:
    """The right person is away for a while: nobody is right then, and the left one stays left."""
    frames = {i: [face(150), face(450)] if i < 10 or i >= 20 else [face(150)] for i in range(30)}
    found = link(frames)
    assert sorted(chosen(found, "left")) == list(range(30))
    assert sorted(chosen(found, "right")) == [*range(10), *range(20, 30)]
    assert set(chosen(found, "right").values()) == {450}


def test_two_people_who_are_never_seen_together_are_divided_by_the_middle() -> None:
    found = link({i: [face(150 if i < 10 else 450)] for i in range(20)})
    assert sorted(chosen(found, "left")) == list(range(10))
    assert sorted(chosen(found, "right")) == list(range(10, 20))


@pytest.mark.parametrize("x", [40, 250, 600])
def test_a_small_face_does_not_move_the_divide(x: float) -> None:
    found = link({i: [face(150), face(450), face(x, side=20)] for i in range(20)})
    assert set(chosen(found, "left").values()) == {150}
    assert set(chosen(found, "right").values()) == {450}


def test_a_bystander_who_comes_and_goes_is_ignored() -> None:
    frames = {i: [face(300)] + [face(500)] * (5 <= i < 9) for i in range(20)}
    assert set(chosen(link(frames)).values()) == {300}


def test_a_small_bystander_is_ignored_even_when_alone() -> None:
    frames = {i: [face(300)] if i < 10 else [face(500, side=30)] for i in range(20)}
    assert sorted(chosen(link(frames))) == list(range(10))


def test_a_passing_large_face_does_not_displace_a_lasting_one() -> None:
    frames = {i: [face(300)] + [face(500, side=200)] * (i < 3) for i in range(40)}
    assert set(chosen(link(frames)).values()) == {300}


def test_whoever_leaves_and_returns_elsewhere_is_one_person() -> None:
    frames = {i: [face(300)] for i in range(10)} | {i: [face(500, side=100)] for i in range(40, 55)}
    found = link(frames)
    assert len(found) == 2
    assert sorted(chosen(found)) == [*range(10), *range(40, 55)]


def test_the_choice_does_not_depend_on_the_order_of_detections() -> None:
    luck = np.random.default_rng(0)
    people = [(120, 90), (330, 80), (520, 85)]
    frames = {i: [face(x + luck.normal(0, 2), side=side) for x, side in people] for i in range(20)}
    backwards = {i: faces[::-1] for i, faces in frames.items()}
    for subject in ("", "left", "right"):
        assert chosen(link(frames), subject) == chosen(link(backwards), subject)


@pytest.mark.parametrize(("max_bridge", "filled"), [(0, []), (4, []), (5, [3, 5]), (9, [3, 5])])
def test_short_gaps_are_bridged_on_the_straight_line_and_marked(max_bridge: int, filled: list[int]) -> None:
    (track,) = link({0: [face(100)], 1: [face(100)], 3: [], 5: [], 6: [face(110)], 20: []}, max_gap=10)
    tracks.bridge(track, [0, 1, 3, 5, 6, 20], max_bridge=max_bridge)
    assert list(track.faces) == sorted([0, 1, 6, *filled])
    assert [index for index, seen in track.faces.items() if seen.interpolated] == filled
    for index in filled:
        assert tracks.centre_x(track.faces[index].box) == pytest.approx(100 + 10 * (index - 1) / 5, abs=1 / 64)


@pytest.mark.parametrize(
    ("subject", "others", "rule"),
    [
        ("", [], "main"),
        ("", ["left"], "right"),
        ("", ["right"], "left"),
        ("", ["left", "right"], "main"),
        ("", ["right", "left"], "main"),
        ("left", ["right", ""], "left"),
    ],
)
def test_nobody_is_the_opposite_of_both_sides(subject: str, others: list[str], rule: str) -> None:
    assert tracks.rule_for(subject, others) == rule


def test_no_track_crosses_a_cut() -> None:
    frames = {index: [face(100)] for index in range(6)}
    assert spans(tracks.link(frames, min_overlap=0.3, max_gap=5, cuts={0, 3})) == [[0, 1, 2], [3, 4, 5]]
    assert spans(tracks.link({0: [face(1)], 3: [], 4: [face(1)]}, min_overlap=0.3, max_gap=5, cuts={3})) == [[0], [4]]


@pytest.mark.parametrize("deviation", [0.5, 1.0, 1.5, 3.0])
def test_smoothing_keeps_straight_movement_and_quiets_jitter(deviation: float) -> None:
    luck = np.random.default_rng(1)
    jitter = luck.normal(0, 2, 4000)
    straight = Track(0, {index: face(100 + 2 * index) for index in range(4000)})
    shaking = Track(0, {index: face(100 + float(jitter[index])) for index in range(4000)})
    for track in (straight, shaking):
        tracks.smooth(track, deviation=deviation)
    middle = range(20, 3980)
    assert all(abs(tracks.centre_x(straight.faces[i].box) - 100 - 2 * i) <= 1 / 64 for i in middle)
    left = np.std([tracks.centre_x(shaking.faces[i].box) for i in middle])
    # independent jitter averaged with weights w shrinks to sqrt(sum of w squared)
    offsets = np.arange(-12, 13)
    weights = np.exp(-0.5 * (offsets / deviation) ** 2) * (np.abs(offsets) <= 3 * deviation)
    expected = 2 * np.sqrt((weights**2).sum()) / weights.sum()
    assert left == pytest.approx(expected, rel=0.1)


def test_smoothing_reaches_across_frames_by_their_index_not_their_count() -> None:
    track = Track(0, {0: face(100), 100: face(200)})
    tracks.smooth(track, deviation=1.0)
    assert [tracks.centre_x(seen.box) for seen in track.faces.values()] == [100, 200]
