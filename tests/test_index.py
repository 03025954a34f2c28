"""The stages index and extract on a raw set as it is found: duplicates, labels that say nothing, names, bad files."""

import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.contract import CLASSES, DROP_COLUMNS, FRAME_COLUMNS, SPLITS, TRIAL_COLUMNS, Drop, Paths
from pipeline.datasets.base import NO_LABEL, Trial
from pipeline.datasets.leakage import keep_one_split, with_duplicates_noted
from pipeline.marks import INDEX_COLUMNS
from pipeline.overrides import CHANGES, OVERRIDES, Override, append_override, now
from pipeline.params import Params
from pipeline.stages.extract import extract_all
from pipeline.stages.index import build_index
from pipeline.tables import read_table
from pipeline.trials import frame_rows
from tests.conftest import MakeVideo
from tests.test_annotation import HEADER

PATHS = Paths(dataset="odd")
ROWS = f"{HEADER}\n0\n-1\n3\n5\n"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, params: Params, make_video: MakeVideo) -> Path:
    """A folder in which both stages ran on a set of small videos, four of them of one content."""
    folder = tmp_path_factory.mktemp("project")
    videos, annotations = folder / "raw/videos", folder / "raw/annotations/EXPR_Set"
    videos.mkdir(parents=True)
    for number, name in enumerate(('it\'s "so"', "two\nlines", "silent", "original", "kept")):
        make_video(videos / f"{name}.mp4", 3 + number)
    for name in ("copy", "copy in training", "another copy"):
        shutil.copyfile(videos / "original.mp4", videos / f"{name}.mp4")
    (videos / "broken.mp4").write_bytes(b"no video")
    for split, names in {
        "Train_Set": ('it\'s "so"', "two\nlines", "silent", "copy in training_left", "another copy", "broken", "bad"),
        "Validation_Set": ("original", "copy"),
        "Test_Set": ("kept",),
    }.items():
        (annotations / split).mkdir(parents=True)
        for name in names:
            content = f"{HEADER}\n-1\n-1\n" if name == "silent" else ROWS
            (annotations / split / f"{name}.txt").write_text(content)
    shutil.copyfile(videos / "kept.mp4", videos / "bad.mp4")
    (annotations / "Train_Set/bad.txt").write_bytes(bytes(100))
    index = params.index.model_copy(update={"raw": "raw"})
    engine = params.engine.model_copy(update={"workers": 1})
    changed = params.model_copy(update={"dataset": PATHS.dataset, "index": index, "engine": engine})
    before = Path.cwd()
    os.chdir(folder)
    try:
        build_index(changed)
        extract_all(changed)
    finally:
        os.chdir(before)
    return folder


def drops(built: Path) -> pd.DataFrame:
    return read_table(built / PATHS.index_drops, DROP_COLUMNS).set_index("trial")


def test_what_is_evaluated_on_keeps_a_duplicated_video_and_training_loses_it(built: Path) -> None:
    lost = drops(built)
    lost = lost[lost["reason"] == Drop.DUPLICATE_VIDEO]
    assert set(lost.index) == {"copy in training_left", "another copy"}
    assert set(lost["frames"]) == {3} and set(lost["split"]) == {"train"}
    assert set(lost["detail"]) == {"copy of split val is the same video, and that split keeps it"}
    trials = read_table(built / PATHS.trials, TRIAL_COLUMNS)
    assert trials.groupby("sha256")["split"].nunique().eq(1).all()


def test_a_duplicate_within_a_split_is_noted(built: Path) -> None:
    notes = read_table(built / PATHS.trials, TRIAL_COLUMNS).set_index("trial")["note"]
    assert notes["original"] == "same content as copy" and notes["copy"] == "same content as original"
    assert notes["kept"] == ""


def test_every_row_of_every_annotation_is_labelled_or_listed(built: Path) -> None:
    frames = read_table(built / PATHS.index, FRAME_COLUMNS)
    trials = read_table(built / PATHS.trials, TRIAL_COLUMNS).set_index("trial")
    assert set(trials.index) == {'it\'s "so"', "two\nlines", "silent", "original", "copy", "kept"}
    assert frames.groupby("trial").size().to_dict() == {name: 3 for name in trials.index if name != "silent"}
    assert frames.loc[frames["trial"] == "two\nlines", "label"].tolist() == [0, 3, 5]
    listed = drops(built)
    assert listed.loc["silent", "frames"] == 2
    assert listed.loc[["bad"], "reason"].tolist() == [Drop.ANNOTATION_UNREADABLE]
    assert set(listed.loc["broken", "reason"]) == {Drop.LABEL_IGNORED, Drop.VIDEO_UNREADABLE}


def test_a_trial_without_a_label_is_compared_with_its_video_too(built: Path) -> None:
    report = pd.read_csv(built / PATHS.mismatch).set_index("trial")
    assert len(report) == 6
    assert report.loc["silent", ["rows", "labelled", "decoded_frames", "decoded_difference"]].tolist() == [2, 0, 5, -3]
    assert report.loc['it\'s "so"', "decoded_frames"] == 3


@st.composite
def trials(draw: st.DrawFn) -> list[Trial]:
    """Trials of a few videos; the first letter of a video's name stands for its content."""
    names = draw(st.lists(st.tuples(st.sampled_from(["a1", "a2", "b1", "c1", "c2"]), st.sampled_from(SPLITS))))
    labels = st.lists(st.integers(NO_LABEL, 6), max_size=9)
    return [
        Trial(
            name=f"{video}_{number}",
            video=video,
            subject="",
            split=split,
            path=Path(video),
            labels=np.array(draw(labels), dtype=np.int8),
        )
        for number, (video, split) in enumerate(names)
    ]


def content(trial: Trial) -> str:
    return trial.video[0]


@given(trials())
def test_afterwards_a_content_is_in_one_split_and_nothing_is_forgotten(found: list[Trial]) -> None:
    kept, dropped = keep_one_split(found, same=content, reason=Drop.DUPLICATE_VIDEO)
    assert sorted([trial.name for trial in kept] + [entry.trial for entry in dropped]) == sorted(t.name for t in found)
    assert sum(t.labelled for t in kept) + sum(entry.frames for entry in dropped) == sum(t.labelled for t in found)
    for letter in "abc":
        before = {trial.split for trial in found if content(trial) == letter}
        after = {trial.split for trial in kept if content(trial) == letter}
        assert after == set([split for split in ("test", "val", "train") if split in before][:1])


@given(trials())
def test_notes_name_every_other_video_of_the_same_content(found: list[Trial]) -> None:
    noted = with_duplicates_noted(found, same=content)
    assert [trial.name for trial in noted] == [trial.name for trial in found]
    for trial in noted:
        others = {other.video for other in found if content(other) == content(trial)} - {trial.video}
        assert trial.note == (f"same content as {', '.join(sorted(others))}" if others else "")


@given(st.lists(st.integers(NO_LABEL, 6)))
def test_a_trial_has_a_frame_row_for_each_usable_label(labels: list[int]) -> None:
    trial = Trial(
        name="v_left", video="v", subject="left", split="val", path=Path("v"), labels=np.array(labels, np.int8)
    )
    rows = frame_rows(trial)
    assert dict(zip(rows["frame_index"], rows["label"], strict=True)) == {i: v for i, v in enumerate(labels) if v >= 0}
    assert trial.labelled == len(rows)
    assert set(rows["trial"]) <= {"v_left"} and set(rows["subject"]) <= {"left"} and list(rows) == list(INDEX_COLUMNS)


def test_annotations_that_are_not_used_are_told(
    tmp_path: Path,
    params: Params,
    make_video: MakeVideo,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "raw/annotations/EXPR_Set/Train_Set"
    folder.mkdir(parents=True)
    for name in ("v", "gone", "gone2"):
        (folder / f"{name}.txt").write_text(ROWS)
    make_video(tmp_path / "raw/v.mp4", 4)
    (tmp_path / "raw/more").mkdir()
    (tmp_path / "raw/more/w.avi").write_bytes(b"no video")
    make_video(tmp_path / "raw/more/w.mp4", 4)
    (folder / "w.txt").write_text(ROWS)
    index = params.index.model_copy(update={"raw": "raw"})
    monkeypatch.chdir(tmp_path)
    build_index(params.model_copy(update={"dataset": "odd", "index": index}))
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("index: annotations")]
    assert said == [
        "index: annotations that are not used: 2 x video_missing (no video named gone (or without _left, _right) "
        "under index.raw)"
    ]
    unread = read_table(PATHS.index_drops, DROP_COLUMNS).set_index("trial").loc["w"]
    assert "several videos named w; read w.avi" in " ".join(unread["detail"])


def test_corrected_labels_are_used_and_told(
    small_raw: Path, params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    paths = Paths(dataset=params.dataset)
    index = params.index.model_copy(update={"raw": str(small_raw)})
    engine = params.engine.model_copy(update={"workers": 1})
    own = params.model_copy(update={"index": index, "engine": engine})
    build_index(own)
    before = read_table(paths.index, FRAME_COLUMNS)
    trial = str(before["trial"].iloc[0])
    label = before["label"].iloc[0]
    first, *rest = before.loc[(before["trial"] == trial) & (before["label"] == label), "frame_index"].tolist()[:5]
    judged = {"dataset": params.dataset, "trial": trial, "given": CLASSES[label], "who": "me", "when": now()}
    append_override(OVERRIDES, Override(first_frame=first, last_frame=rest[1], decision="Fear", **judged))
    append_override(OVERRIDES, Override(first_frame=rest[2], last_frame=rest[3], decision="exclude", **judged))
    capsys.readouterr()
    build_index(own)
    after = read_table(paths.index, FRAME_COLUMNS)
    changed = after[(after["trial"] == trial) & after["frame_index"].isin([first, *rest])]
    assert changed["label"].tolist() == [CLASSES.index("Fear")] * 3
    assert len(after) == len(before) - 2
    drops = read_table(paths.index_drops, DROP_COLUMNS)
    assert drops.loc[drops["reason"] == Drop.EXCLUDED_BY_REVIEW, "frames"].tolist() == [2]
    assert pd.read_csv(CHANGES)["frames"].tolist() == [3, 2]
    assert "2 decisions, 3 labels changed, 2 excluded" in capsys.readouterr().out
