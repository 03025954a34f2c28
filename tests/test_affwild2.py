"""Aff-Wild2's layout in every variant that is found in the wild, and the embedded demo set's counts."""

import contextlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

from pipeline.contract import CLASSES, Drop, UserError
from pipeline.datasets.affwild2 import ROOTS, SPLIT_FOLDERS, read, read_annotation
from pipeline.datasets.base import RawSet, Trial

HEADER = ",".join(CLASSES[:7])
HEADER_8 = ",".join(CLASSES)
ROWS = f"{HEADER}\n0\n-1\n3\n"


def raw_set(folder: Path, annotations: Mapping[str, str | bytes], *videos: str) -> RawSet:
    """Reads a set of these files: annotations below `EXPR_Set`, (empty) videos, `v.mp4` unless told otherwise."""
    for name, content in annotations.items():
        path = folder / "annotations/EXPR_Set" / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    for video in videos or ("v.mp4",):
        path = folder / "videos/batch1" / video
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return read(folder, folder / "annotations", 7)


def labels(folder: Path, content: str | bytes, classes: int = 7) -> tuple[dict[int, int], dict[Drop, int], int]:
    """Usable labels by frame, what was left out, and the number of rows."""
    (folder / "v.txt").write_bytes(content.encode() if isinstance(content, str) else content)
    annotation = read_annotation(folder / "v.txt", classes)
    assert annotation.rows == len(annotation.labels) + sum(annotation.dropped.values())
    return annotation.labels, dict(annotation.dropped), annotation.rows


def drops(found: RawSet) -> dict[tuple[str, str, str], int]:
    """Frames by (trial, split, reason)."""
    return {(entry.trial, entry.split, str(entry.reason)): entry.frames for entry in found.dropped}


def only(found: RawSet) -> Trial:
    (trial,) = found.trials
    return trial


@pytest.mark.parametrize("root", ROOTS)
@pytest.mark.parametrize("depth", ["", "deeper/still"])
def test_every_root_is_found_at_any_depth(small_raw: Path, root: str, depth: str) -> None:
    target = small_raw / "annotations" / depth / root
    target.parent.mkdir(parents=True, exist_ok=True)
    (small_raw / "annotations/EXPR_Set").rename(target)
    for start in (small_raw / "annotations", target):
        assert len(read(small_raw, start, 7).trials) == 5


@pytest.mark.parametrize(("name", "split"), SPLIT_FOLDERS.items())
def test_every_split_folder_is_known(tmp_path: Path, name: str, split: str) -> None:
    trial = only(raw_set(tmp_path, {f"{name}/v": ROWS}))
    assert (trial.split, trial.labels, trial.rows) == (split, {0: 0, 2: 3}, 3)


def test_other_tracks_beside_it_do_not_disturb(tmp_path: Path) -> None:
    (tmp_path / "annotations/VA_Set/Train_Set").mkdir(parents=True)
    (tmp_path / "annotations/VA_Set/Train_Set/v.txt").write_text("valence,arousal\n0.1,0.2\n")
    assert only(raw_set(tmp_path, {"Train_Set/v": ROWS})).rows == 3


def test_no_root_and_several_roots_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"index\.annotations: no folder .*EXPR_Set"):
        read(tmp_path, tmp_path / "annotations", 7)
    (tmp_path / "annotations/VA_Set").mkdir(parents=True)
    with pytest.raises(UserError, match=r"index\.annotations: .* holds none of EXPR_Set"):
        read(tmp_path, tmp_path / "annotations", 7)
    for root in ROOTS[:2]:
        (tmp_path / "annotations" / root).mkdir()
    with pytest.raises(UserError, match=r"several sets, choose one of .*EXPR_Recognition.*, .*EXPR_Set"):
        read(tmp_path, tmp_path / "annotations", 7)


def test_a_set_without_annotations_is_refused(tmp_path: Path) -> None:
    (tmp_path / "annotations/EXPR_Set/Train_Set").mkdir(parents=True)
    with pytest.raises(UserError, match="no annotation files; expected Train_Set"):
        read(tmp_path, tmp_path / "annotations", 7)


def test_the_eighth_class_is_kept_or_left_out(tmp_path: Path) -> None:
    content = f"{HEADER_8}\n7\n6\n8\n"
    assert labels(tmp_path, content, 8) == ({0: 7, 1: 6}, {Drop.LABEL_OUT_OF_RANGE: 1}, 3)
    assert labels(tmp_path, content, 7) == ({1: 6}, {Drop.CLASS_EXCLUDED: 1, Drop.LABEL_OUT_OF_RANGE: 1}, 3)
    assert labels(tmp_path, f"{HEADER}\n7\n6\n", 8) == ({1: 6}, {Drop.LABEL_OUT_OF_RANGE: 1}, 2)


def test_classes_are_mapped_by_name(tmp_path: Path) -> None:
    header = "Surprise, happiness ,OTHER,Neutral"
    found = ({0: 6, 1: 4, 3: 0}, {Drop.CLASS_EXCLUDED: 1}, 4)
    assert labels(tmp_path, f"{header}\n0\n1\n2\n3\n") == found


def test_every_row_without_a_label_has_its_reason_and_keeps_its_place(tmp_path: Path) -> None:
    rows = ["0", "-1", "x", "", "7", "-5", "1.0", "0,1", "2"]
    expected = {Drop.LABEL_IGNORED: 1, Drop.LABEL_OUT_OF_RANGE: 2, Drop.LABEL_UNREADABLE: 4}
    assert labels(tmp_path, "\n".join([HEADER, *rows])) == ({0: 0, 8: 2}, expected, 9)


@pytest.mark.parametrize(
    "content",
    [
        f"{HEADER}\n0\n-1\n3",
        f"{HEADER}\n0\n-1\n3\n\n \n\t\n",
        f"{HEADER}\r\n0\r\n-1\r\n3\r\n",
        f"{HEADER}\r0\r-1\r3\r",
        f"{HEADER}  \n0 \n -1\t\n3\n",
        f"\ufeff{HEADER}\n0\n-1\n3\n",
    ],
    ids=["no newline", "blank end", "CRLF", "CR", "blanks", "BOM"],
)
def test_line_ends_blanks_and_marks_change_nothing(tmp_path: Path, content: str) -> None:
    assert labels(tmp_path, content) == ({0: 0, 2: 3}, {Drop.LABEL_IGNORED: 1}, 3)


@pytest.mark.parametrize("junk", [b"\x85", b"\x0c", b"\x1c", "\u2028".encode(), b"\xe9"])
def test_a_damaged_row_never_moves_the_ones_below(tmp_path: Path, junk: bytes) -> None:
    content = HEADER.encode() + b"\n0\n1" + junk + b"1\n3\n"
    assert labels(tmp_path, content) == ({0: 0, 2: 3}, {Drop.LABEL_UNREADABLE: 1}, 3)


def test_a_missing_header_and_a_foreign_encoding_are_noted(tmp_path: Path) -> None:
    found = raw_set(tmp_path, {"Train_Set/v": b"0\n\xe9\n7\n6"})
    assert only(found).labels == {0: 0, 3: 6}
    assert only(found).note == "not UTF-8, read as Latin-1; no header line; Aff-Wild2's class order assumed"
    assert drops(found) == {("v", "train", "label_unreadable"): 1, ("v", "train", "class_excluded"): 1}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "v.txt: no rows"),
        (b"\n \n", "v.txt: no rows"),
        (HEADER.encode() + b"\n", "v.txt: no rows"),
        (b"Neutral,Boredom\n0\n", "v.txt: header names 'boredom', which is none of Neutral, Anger"),
        (b"valence,arousal\n0.5,0.5\n", "v.txt: header names 'valence'"),
        (b"Neutral,Fear,neutral\n0\n", "v.txt: header names a class twice"),
        (ROWS.encode("utf-16"), "v.txt: header names"),
    ],
)
def test_an_unreadable_file_is_listed_with_the_reason(tmp_path: Path, content: bytes, said: str) -> None:
    found = raw_set(tmp_path, {"Train_Set/v": content, "Train_Set/w": ROWS}, "v.mp4", "w.mp4")
    assert only(found).name == "w"
    (entry,) = [entry for entry in found.dropped if entry.trial == "v"]
    assert (entry.reason, entry.split) == (Drop.ANNOTATION_UNREADABLE, "train")
    assert entry.detail.startswith(said)


def test_two_people_of_one_video(tmp_path: Path) -> None:
    names = ("a_left", "a_right", "b", "b_left")
    found = raw_set(tmp_path, {f"Train_Set/{name}": ROWS for name in names}, "a.mp4", "b.mp4")
    told = {(trial.name, trial.video, trial.subject) for trial in found.trials}
    assert told == {("a_left", "a", "left"), ("a_right", "a", "right"), ("b", "b", ""), ("b_left", "b", "left")}


def test_a_video_may_itself_be_called_left(tmp_path: Path) -> None:
    names = ("turn_left", "turn_left_right", "turn")
    found = raw_set(tmp_path, {f"Train_Set/{name}": ROWS for name in names}, "turn_left.mp4", "turn.mp4")
    told = {(trial.name, trial.video, trial.subject) for trial in found.trials}
    assert told == {("turn_left", "turn_left", ""), ("turn_left_right", "turn_left", "right"), ("turn", "turn", "")}


@pytest.mark.parametrize("name", ["48-30-720x1280", "with space", "Zoë", 'it\'s "so"', "a.b.c", "_left", "%41,;", "7"])
@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".MP4"])
def test_any_name_finds_its_video(tmp_path: Path, name: str, suffix: str) -> None:
    trial = only(raw_set(tmp_path, {f"Train_Set/{name}": ROWS, f"Train_Set/{name}_x": ROWS}, name + suffix))
    assert (trial.name, trial.video, trial.path.name) == (name, name, name + suffix)


def test_missing_and_superfluous_videos_are_listed(tmp_path: Path) -> None:
    annotations = {"Train_Set/v": ROWS, "Validation_Set/gone": ROWS}
    found = raw_set(tmp_path, annotations, "v.mp4", "extra.avi", "v.txt")
    assert drops(found) == {
        ("v", "train", "label_ignored"): 1,
        ("gone", "val", "video_missing"): 0,
        ("extra", "", "video_without_annotation"): 0,
    }


def test_two_videos_of_one_name_are_noted(tmp_path: Path) -> None:
    found = raw_set(tmp_path, {"Train_Set/v": ROWS}, "v.mp4", "v.avi")
    assert only(found).note == "several videos named v; read v.avi"


def test_a_video_in_two_splits_stays_with_the_evaluation(tmp_path: Path) -> None:
    annotations = dict.fromkeys(("Train_Set/v_left", "Validation_Set/v_right", "Train_Set/w"), ROWS)
    found = raw_set(tmp_path, annotations, "v.mp4", "w.mp4")
    assert {(trial.name, trial.split) for trial in found.trials} == {("v_right", "val"), ("w", "train")}
    assert drops(found)["v_left", "train", "split_conflict"] == 2


def test_a_trial_that_both_training_folders_hold_is_never_read_twice(tmp_path: Path) -> None:
    with contextlib.suppress(UserError):
        assert len(raw_set(tmp_path, {"Train_Set/v": ROWS, "Training_Set/v": ROWS}).trials) == 1


@pytest.mark.parametrize("listing", ["v\nw", "v\r\nw\r\n", "\ufeffv\nw\n\n"])
def test_a_name_list_tells_the_split_of_unannotated_videos(tmp_path: Path, listing: str) -> None:
    found = raw_set(tmp_path, {"Train_Set/u": ROWS, "Test_Set/test_set": listing}, "u.mp4", "v.mp4", "w.mp4")
    assert only(found).name == "u"
    listed = {key for key in drops(found) if key[0] != "u"}
    assert listed == {(name, "test", "video_without_annotation") for name in "vw"}


def test_a_name_list_may_name_people(tmp_path: Path) -> None:
    found = raw_set(tmp_path, {"Train_Set/u": ROWS, "Test_Set/list": "v_left\nv_right\n"}, "u.mp4", "v.mp4")
    assert ("v", "test", "video_without_annotation") in drops(found)


def test_a_name_list_may_name_a_video_that_is_missing(tmp_path: Path) -> None:
    found = raw_set(tmp_path, {"Train_Set/u": ROWS, "Test_Set/list": "v\ngone\n"}, "u.mp4", "v.mp4")
    told = drops(found)
    assert ("v", "test", "video_without_annotation") in told
    assert ("gone", "test", "video_missing") in told
    assert not [key for key in told if key[0] == "list"]


def test_rows_are_never_taken_for_a_list_of_videos(tmp_path: Path) -> None:
    """Videos named 1 and 2, and rows without a header."""
    found = raw_set(tmp_path, {"Train_Set/1": "1\n2\n1\n"}, "1.mp4", "2.mp4")
    assert only(found).labels == {0: 1, 1: 2, 2: 1}


def readme_counts(demo: Path) -> dict[str, list[int]]:
    """The table in the demo set's README: classes, −1, annotation lines."""
    rows = [line.strip("| \n").split(" | ") for line in (demo / "README.md").read_text().splitlines() if "|" in line]
    return {row[0]: [int(cell) for cell in row[1:]] for row in rows if row[0] in ("train", "validation")}


def test_the_demo_set_counts_as_its_readme_says(demo: Path) -> None:
    found = read(demo / "raw", demo / "raw/annotations", 7)
    for split, name in (("train", "train"), ("val", "validation")):
        trials = [trial for trial in found.trials if trial.split == split]
        counted = Counter(label for trial in trials for label in trial.labels.values())
        ignored = sum(frames for key, frames in drops(found).items() if key[1:] == (split, "label_ignored"))
        expected = [counted[index] for index in range(7)] + [ignored, sum(trial.rows for trial in trials)]
        assert readme_counts(demo)[name] == expected
    assert {entry.reason for entry in found.dropped} == {Drop.LABEL_IGNORED, Drop.VIDEO_WITHOUT_ANNOTATION}
    unannotated = {(e.trial, e.split) for e in found.dropped if e.reason is Drop.VIDEO_WITHOUT_ANNOTATION}
    assert unannotated == {(f"demo-{number:03d}", "test") for number in range(41, 47)}
