"""Submission files: every frame present, in both formats, and a check that says what is wrong."""

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from pipeline.contract import CLASSES
from train.cli import app
from train.submission import (
    early_file,
    early_problems,
    every_frame,
    later_file,
    later_problems,
    location,
)

SEVEN = CLASSES[:7]
FRAMES = {"1-30-1280x720": 3, "video2_left": 2}
PREDICTED = {"1-30-1280x720": np.array([0, 4, 6]), "video2_left": np.array([7, 7])}
LATER = "".join(later_file(PREDICTED, CLASSES))


def test_the_formats_are_those_of_the_challenge() -> None:
    assert early_file(np.array([3, 0]), SEVEN) == "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise\n3\n0\n"
    assert LATER.splitlines()[:3] == [
        "image_location,Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other",
        "1-30-1280x720/00001.jpg,0",
        "1-30-1280x720/00002.jpg,4",
    ]


def test_frames_without_a_face_repeat_the_one_before() -> None:
    assert every_frame([2, 3, 6], [5, 1, 4], 8).tolist() == [5, 5, 5, 1, 1, 1, 4, 4]
    assert every_frame([], [], 3).tolist() == [0, 0, 0]


@given(st.dictionaries(st.integers(0, 60), st.integers(0, 7)), st.integers(1, 60))
def test_every_frame_agrees_with_a_loop(seen: dict[int, int], frames: int) -> None:
    indices = sorted(seen)
    expected, latest = [], seen[indices[0]] if indices else 0
    for frame_index in range(frames):
        latest = seen.get(frame_index, latest)
        expected.append(latest)
    assert every_frame(indices, [seen[index] for index in indices], frames).tolist() == expected


def test_what_is_written_is_found_right() -> None:
    assert later_problems(LATER, FRAMES, CLASSES) == []
    assert early_problems(early_file(np.array([0, 1, 2]), SEVEN), 3, SEVEN) == []


def changed(text: str, line: int, to: str | None) -> str:
    lines = text.splitlines()
    lines[line : line + 1] = [] if to is None else [to]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (changed(LATER, 0, None), "it has no header line; the first line must be 'image_location,Neutral"),
        (changed(LATER, 0, "image,Neutral"), "it begins with 'image,Neutral'"),
        (changed(LATER, 2, None), "1 row missing: 1-30-1280x720/00002.jpg"),
        (LATER + "video2_left/00002.jpg,1\n", "1 row given more than once: video2_left/00002.jpg"),
        (LATER + "video2_left/00003.jpg,1\n", "1 row of no frame of the test set: video2_left/00003.jpg"),
        (changed(LATER, 1, "1-30-1280x720/1.jpg,0"), "1 row of no frame of the test set: 1-30-1280x720/1.jpg"),
        (
            changed(LATER, 3, "1-30-1280x720/00003.jpg,8"),
            "1 row whose class is no whole number from 0 to 7: line 4: '8'",
        ),
        (changed(LATER, 3, "1-30-1280x720/00003.jpg,-1"), "line 4: '-1'"),
        (changed(LATER, 3, "1-30-1280x720/00003.jpg,2.0"), "line 4: '2.0'"),
        (changed(LATER, 3, "1-30-1280x720/00003.jpg,06"), "line 4: '06'"),
        (changed(LATER, 3, "1-30-1280x720/00003.jpg;6"), "1 row not of the form NAME/00001.jpg,3: line 4: '1-30"),
        (changed(LATER, 3, "1-30-1280x720/00003.jpg,6,0.9"), "1 row not of the form"),
        (LATER + "\n", "1 row not of the form NAME/00001.jpg,3: line 7: ''"),
        (changed(LATER, 0, ",".join(["image_location", *SEVEN])), "its first line names 7 classes instead of 8"),
        (LATER.replace("\n", "\r\n"), "its lines end with a carriage return"),
        ("\ufeff" + LATER, "it begins with a byte-order mark"),
        (early_file(np.array([3, 0]), SEVEN), "it is in the early format"),
        ("\n".join([LATER.splitlines()[0], *reversed(LATER.splitlines()[1:])]), "line 2: the rows are out of order"),
        ("", "it is empty"),
    ],
)
def test_a_broken_later_file_is_explained(text: str, said: str) -> None:
    assert any(said in problem for problem in later_problems(text, FRAMES, CLASSES))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0\n1\n2\n", "it has no header line"),
        (",".join(CLASSES) + "\n0\n1\n2\n", "its first line names 8 classes instead of 7"),
        (";".join(SEVEN) + "\n0\n1\n2\n", "the first line must be 'Neutral,"),
        (",".join(SEVEN) + "\r\n0\r\n1\r\n2\r\n", "its lines end with a carriage return"),
        (LATER, "it is in the later format"),
        (",".join(SEVEN) + "\n0\n1\n", "it has 2 rows, the video has 3 frames: 1 too few"),
        (",".join(SEVEN) + "\n0\n1\n2\n3\n4\n", "2 too many"),
        (",".join(SEVEN) + "\n0\n7\n2\n", "1 row whose class is no whole number from 0 to 6: line 3: '7'"),
        (",".join(SEVEN) + "\n0\n\n2\n", "line 3: ''"),
        ("", "it is empty"),
    ],
)
def test_a_broken_early_file_is_explained(text: str, said: str) -> None:
    assert any(said in problem for problem in early_problems(text, 3, SEVEN))


def test_a_separator_that_is_wrong_throughout_is_told_once() -> None:
    assert len(later_problems(LATER.replace(",", ";"), FRAMES, CLASSES)) == 2  # header and rows
    assert len(later_problems(LATER.replace("\n", "\r\n"), FRAMES, CLASSES)) == 1


@given(st.text(max_size=200))
def test_any_text_is_judged_without_an_error(text: str) -> None:
    assert later_problems(text, FRAMES, CLASSES)
    early_problems(text, 3, SEVEN)


@pytest.fixture
def predictions(tmp_path: Path) -> Path:
    """What `cct predict` leaves of two videos, one with two people and one without anybody."""
    folder = tmp_path / "predicted"
    folder.mkdir()
    columns = ["frame_index", "person", "subject", "prediction"]
    pair = [(0, 0, "right", "Anger"), (0, 1, "left", "Fear"), (2, 0, "right", "Anger"), (2, 1, "left", "Sadness")]
    pd.DataFrame(pair, columns=columns).to_csv(folder / "pair.csv", index=False)
    pd.DataFrame([], columns=columns).to_csv(folder / "empty.csv", index=False)
    pd.DataFrame([("pair", 4), ("empty", 2)], columns=["video", "frames"]).to_csv(folder / "videos.csv", index=False)
    return folder


@pytest.mark.parametrize("form", ["early", "later"])
def test_made_files_pass_the_check_and_say_what_was_predicted(tmp_path: Path, predictions: Path, form: str) -> None:
    trials, out = tmp_path / "test_set.txt", tmp_path / "submission"
    trials.write_text("empty\npair_left\npair_right\n")
    listed = ["--trials", str(trials)]
    made = CliRunner().invoke(
        app, ["submission", "make", str(predictions), *listed, "--out", str(out), "--format", form]
    )
    assert made.exit_code == 0, made.output
    path = out if form == "early" else out / "predictions.txt"
    counts = ["--videos", str(predictions / "videos.csv")]
    checked = CliRunner().invoke(app, ["submission", "check", str(path), *listed, *counts])
    assert checked.exit_code == 0, checked.output
    if form == "early":
        assert (out / "empty.txt").read_text().splitlines()[0] == ",".join(SEVEN)
        assert (out / "pair_left.txt").read_text().split()[1:] == ["3", "3", "5", "5"]
        assert (out / "empty.txt").read_text().split()[1:] == ["0", "0"]
    else:
        assert f"{location('pair_right', 4)},1\n" in path.read_text()


def test_missing_and_unknown_files_are_named(tmp_path: Path, predictions: Path) -> None:
    trials, out = tmp_path / "test_set.txt", tmp_path / "submission"
    trials.write_text("empty\npair_left\n")
    out.mkdir()
    (out / "other.txt").write_text("")
    (out / "empty.txt").write_text(early_file(np.array([0, 0]), SEVEN))
    options = ["--trials", str(trials), "--videos", str(predictions / "videos.csv")]
    checked = CliRunner().invoke(app, ["submission", "check", str(out), *options])
    assert checked.exit_code == 1
    assert "pair_left.txt: missing" in checked.output and "other.txt: names no trial" in checked.output
    assert "empty.txt:" not in checked.output and "2 problems" in checked.output


def test_a_file_that_is_no_text_is_named_and_the_others_are_judged(tmp_path: Path, predictions: Path) -> None:
    trials, out = tmp_path / "test_set.txt", tmp_path / "submission"
    trials.write_text("empty\npair_left\npair_right\n")
    out.mkdir()
    (out / "empty.txt").write_bytes(gzip.compress(early_file(np.array([0, 0]), SEVEN).encode()))
    (out / "pair_left.txt").write_bytes(early_file(np.zeros(4, np.int64), SEVEN).encode("utf-16"))
    (out / "pair_right.txt").write_text(early_file(np.zeros(3, np.int64), SEVEN))
    options = ["--trials", str(trials), "--videos", str(predictions / "videos.csv")]
    checked = CliRunner().invoke(app, ["submission", "check", str(out), *options])
    assert checked.exit_code == 1 and "3 problems" in checked.output
    assert "empty.txt: it is compressed; unpack it" in checked.output
    assert "pair_left.txt: it is not a text file in UTF-8" in checked.output
    assert "pair_right.txt: it has 3 rows, the video has 4 frames" in checked.output


def test_the_folder_of_a_later_file_is_no_folder_of_early_ones(tmp_path: Path, predictions: Path) -> None:
    trials = tmp_path / "test_set.txt"
    trials.write_text("empty\n")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/predictions.txt").write_text(LATER)
    options = ["--trials", str(trials), "--videos", str(predictions / "videos.csv")]
    checked = CliRunner().invoke(app, ["submission", "check", str(tmp_path / "out"), *options])
    assert checked.exit_code == 1 and "check " + str(tmp_path / "out/predictions.txt") in checked.output


def test_frames_are_counted_in_the_videos_themselves(tmp_path: Path, demo: Path) -> None:
    trials = tmp_path / "test_set.txt"
    trials.write_text("demo-041\n")
    file = tmp_path / "predictions.txt"
    file.write_text("".join(later_file({"demo-041": np.zeros(5, np.int64)}, CLASSES)))
    options = ["--trials", str(trials), "--videos", str(demo / "raw/videos")]
    checked = CliRunner().invoke(app, ["submission", "check", str(file), *options])
    truth = pd.read_csv(demo / "truth.csv")
    frames = (truth.iloc[:, 0] == "demo-041").sum()
    assert checked.exit_code == 1 and f"{frames - 5} rows missing" in checked.output, checked.output
