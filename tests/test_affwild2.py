"""Aff-Wild2's layout in every variant that is found in the wild, and the embedded demo set's counts."""

import contextlib
import os
import unicodedata
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

from pipeline.contract import DROP_COLUMNS, Drop, UserError
from pipeline.datasets.affwild2 import ROOTS, SPLIT_FOLDERS, read
from pipeline.datasets.base import RawSet, Trial, drop_rows
from pipeline.tables import write_table
from tests.test_annotation import HEADER, ROWS, by_frame


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
    assert (trial.split, by_frame(trial.labels), len(trial.labels)) == (split, {0: 0, 2: 3}, 3)


def test_annotations_are_found_in_any_case_and_at_any_depth(tmp_path: Path) -> None:
    raw_set(tmp_path, {"Train_Set/batch1/v": ROWS, "Train_Set/w": ROWS, "Train_Set/x": ROWS}, "v.mp4", "w.mp4")
    folder = tmp_path / "annotations/EXPR_Set/Train_Set"
    for name in ("w", "x"):
        (folder / f"{name}.txt").rename(folder / f"{name}.TXT")
    found = read(tmp_path, tmp_path / "annotations", 7)
    assert sorted(trial.name for trial in found.trials) == ["v", "w"]
    assert drops(found)["x", "train", "video_missing"] == 2


def test_other_tracks_beside_it_do_not_disturb(tmp_path: Path) -> None:
    (tmp_path / "annotations/VA_Set/Train_Set").mkdir(parents=True)
    (tmp_path / "annotations/VA_Set/Train_Set/v.txt").write_text("valence,arousal\n0.1,0.2\n")
    assert len(only(raw_set(tmp_path, {"Train_Set/v": ROWS})).labels) == 3


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


def test_a_missing_header_and_a_foreign_encoding_are_noted(tmp_path: Path) -> None:
    found = raw_set(tmp_path, {"Train_Set/v": b"0\n\xe9\n7\n6"})
    assert by_frame(only(found).labels) == {0: 0, 3: 6}
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
        (f"{HEADER}\n".encode("utf-16"), "v.txt: no rows"),
        (ROWS.encode("utf-16-le"), "v.txt: header names"),
        (bytes(100), "v.txt: header names"),
        (ROWS.encode("utf-32"), "v.txt: header names"),
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
        ("gone", "val", "label_ignored"): 1,
        ("gone", "val", "video_missing"): 2,
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
    assert by_frame(only(found).labels) == {0: 1, 1: 2, 2: 1}


def test_rows_without_a_video_are_no_list_of_videos_that_are_called_like_classes(tmp_path: Path) -> None:
    found = raw_set(tmp_path, {"Train_Set/5": "1\n2\n-1\n", "Train_Set/gone": ROWS, "Train_Set/1": ROWS}, "1.mp4")
    assert only(found).name == "1"
    assert drops(found)["5", "train", "video_missing"] == drops(found)["gone", "train", "video_missing"] == 2


def test_a_list_may_name_videos_that_are_called_like_numbers(tmp_path: Path) -> None:
    found = raw_set(tmp_path, {"Train_Set/v": ROWS, "Test_Set/list": "105\n2\n"}, "v.mp4", "105.mp4", "2.mp4")
    listed = [key for key in drops(found) if key[2] == "video_without_annotation"]
    assert listed == [("105", "test", "video_without_annotation"), ("2", "test", "video_without_annotation")]


def test_a_folder_of_videos_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/w.mp4").touch()
    (tmp_path / "raw/videos").mkdir(parents=True)
    (tmp_path / "raw/videos/batch3").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    found = raw_set(tmp_path / "raw", {"Train_Set/v": ROWS, "Train_Set/w": ROWS}, "v.mp4")
    assert {trial.name: trial.path.relative_to(tmp_path / "raw").as_posix() for trial in found.trials} == {
        "v": "videos/batch1/v.mp4",
        "w": "videos/batch3/w.mp4",
    }


def test_an_empty_file_does_not_hide_a_video_of_its_name(tmp_path: Path) -> None:
    (tmp_path / "videos/batch2").mkdir(parents=True)
    (tmp_path / "videos/batch2/v.mp4").write_bytes(b"video")
    trial = only(raw_set(tmp_path, {"Train_Set/v": ROWS}, "v.avi"))
    assert trial.path.name == "v.mp4" and "several videos named v; read v.mp4" in trial.note


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC"), ("NFD", "NFD")])
def test_an_accent_may_be_spelled_in_two_ways(tmp_path: Path, forms: tuple[str, str]) -> None:
    """Some systems decompose accents in file names, others compose them; the name in the tables is the same."""
    annotation, video = (unicodedata.normalize(form, "Zoë_left") for form in forms)
    trial = only(raw_set(tmp_path, {f"Train_Set/{annotation}": ROWS}, video.removesuffix("_left") + ".mp4"))
    assert (trial.name, trial.video, trial.subject) == ("Zoë_left", "Zoë", "left")
    assert trial.path.is_file()


def test_of_two_spellings_of_one_name_one_is_read_and_the_other_listed(tmp_path: Path) -> None:
    annotations = {f"Train_Set/{unicodedata.normalize(form, 'Zoë')}": ROWS for form in ("NFC", "NFD")}
    found = raw_set(tmp_path, annotations, "Zoë.mp4")
    assert only(found).name == "Zoë"
    assert ("Zoë", "train", "annotation_unreadable") in drops(found)


@pytest.mark.parametrize("listed", [True, False])
def test_a_name_of_other_bytes_is_listed_and_can_be_written(tmp_path: Path, listed: bool) -> None:
    name = os.fsdecode(b"caf\xe9\nbar")
    annotations = {"Train_Set/v": ROWS} | ({f"Train_Set/{name}": ROWS} if listed else {})
    found = raw_set(tmp_path, annotations, "v.mp4", f"{name}.mp4")
    assert only(found).name == "v"
    told = {entry.reason: entry.frames for entry in found.dropped if entry.trial != "v"}
    unreadable = {Drop.VIDEO_UNREADABLE: 2, Drop.LABEL_IGNORED: 1}
    assert told == (unreadable if listed else {Drop.VIDEO_WITHOUT_ANNOTATION: 0})
    write_table(tmp_path / "drops.csv", drop_rows(found.dropped, "index"), DROP_COLUMNS)
    assert "caf\\xe9\nbar" in (tmp_path / "drops.csv").read_text()


def test_folders_links_and_loops_in_the_way_do_not_stop_the_others(tmp_path: Path) -> None:
    videos, annotations = tmp_path / "videos", tmp_path / "annotations/EXPR_Set/Train_Set"
    for folder in (videos, annotations / "w.txt", annotations / "list.txt", videos / "folder.mp4"):
        folder.mkdir(parents=True)
    (videos / "again").symlink_to(tmp_path, target_is_directory=True)
    (videos / "loop.mp4").symlink_to("loop.mp4")
    (videos / "gone.mp4").symlink_to("nowhere.mp4")
    (annotations / "gone.txt").write_text(ROWS)
    found = raw_set(tmp_path, {"Train_Set/v": ROWS}, "v.mp4", "w.mp4")
    assert {trial.name for trial in found.trials} == {"v", "gone"}
    told = {key for key in drops(found) if key[0] not in ("v", "gone")}
    assert told == {
        ("w", "train", "annotation_unreadable"),
        ("list", "train", "annotation_unreadable"),
        ("folder", "", "video_without_annotation"),
        ("loop", "", "video_without_annotation"),
    }


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_listed(tmp_path: Path) -> None:
    raw_set(tmp_path, {"Train_Set/v": ROWS, "Train_Set/w": ROWS}, "v.mp4", "w.mp4")
    (tmp_path / "annotations/EXPR_Set/Train_Set/w.txt").chmod(0)
    found = read(tmp_path, tmp_path / "annotations", 7)
    assert only(found).name == "v"
    assert ("w", "train", "annotation_unreadable") in drops(found)


def readme_counts(demo: Path) -> dict[str, list[int]]:
    """The table in the demo set's README: classes, −1, annotation lines."""
    rows = [line.strip("| \n").split(" | ") for line in (demo / "README.md").read_text().splitlines() if "|" in line]
    return {row[0]: [int(cell) for cell in row[1:]] for row in rows if row[0] in ("train", "validation")}


def test_the_demo_set_counts_as_its_readme_says(demo: Path) -> None:
    found = read(demo / "raw", demo / "raw/annotations", 7)
    for split, name in (("train", "train"), ("val", "validation")):
        trials = [trial for trial in found.trials if trial.split == split]
        counted = Counter(label for trial in trials for label in by_frame(trial.labels).values())
        ignored = sum(frames for key, frames in drops(found).items() if key[1:] == (split, "label_ignored"))
        expected = [counted[index] for index in range(7)] + [ignored, sum(len(trial.labels) for trial in trials)]
        assert readme_counts(demo)[name] == expected
    assert {entry.reason for entry in found.dropped} == {Drop.LABEL_IGNORED, Drop.VIDEO_WITHOUT_ANNOTATION}
    unannotated = {(e.trial, e.split) for e in found.dropped if e.reason is Drop.VIDEO_WITHOUT_ANNOTATION}
    assert unannotated == {(f"demo-{number:03d}", "test") for number in range(41, 47)}
