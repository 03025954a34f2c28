"""Frames and faces of real clips in the work store; annotation rows against frames."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline import files, mismatch, tables, tar
from pipeline.alignment import Aligned, AlignTask, TrialFrames, align_video
from pipeline.contract import (
    FACE_COLUMNS,
    LANDMARK_COLUMNS,
    LANDMARK_STEP,
    MISMATCH_COLUMNS,
    POINT_COLUMNS,
    Drop,
    UserError,
    sample_key,
)
from pipeline.crops import FACES, FACES_TAR, LANDMARKS
from pipeline.datasets.base import Dropped
from pipeline.extraction import FRAMES_TAR, Extracted, ExtractTask, extract_video
from pipeline.faces import FrameSize
from pipeline.images import decode_jpeg
from pipeline.params import AlignParams, Params
from pipeline.store import WorkStore
from tests.conftest import MakeVideo, Truth, number_of
from tests.encoding import damaged, encode

WANTED = (0, 12, 24, 36, 48)


def landmarks_of(aligned: Aligned) -> pd.DataFrame:
    return tables.read_table(aligned.folder / LANDMARKS, LANDMARK_COLUMNS)


def faces_of(aligned: Aligned) -> pd.DataFrame:
    return tables.read_table(aligned.folder / FACES, FACE_COLUMNS)


def extract_task(path: Path, store: Path, **changes: Any) -> ExtractTask:
    settings = {"video": path.stem, "path": path, "sha256": files.digest_file(path), "wanted": WANTED, "max_side": 1280}
    return ExtractTask(**{**settings, "quality": 95, "store": WorkStore(store), **changes})


def clip(demo: Path, name: str) -> Path:
    return demo / "raw/videos/batch1" / f"{name}.mp4"


def stored(extracted: Extracted) -> dict[str, bytes]:
    return dict(tar.read_members(extracted.folder / FRAMES_TAR))


def align_task(extracted: Extracted, store: Path, params: AlignParams, *trials: TrialFrames) -> AlignTask:
    return AlignTask(
        video=extracted.video,
        frames_tar=extracted.folder / FRAMES_TAR,
        frames_key=extracted.key,
        size=FrameSize(width=extracted.width, height=extracted.height),
        trials=trials,
        params=params,
        store=WorkStore(store),
    )


def trial(name: str, subject: str = "", indices: tuple[int, ...] = WANTED) -> TrialFrames:
    return TrialFrames(name=name, subject=subject, split="train", frame_indices=indices)


def reasons(dropped: list[Dropped]) -> dict[tuple[str, Drop], int]:
    return {(entry.trial, entry.reason): entry.frames for entry in dropped}


@pytest.fixture(scope="module")
def two_people(demo: Path, tmp_path_factory: pytest.TempPathFactory, params: Params) -> AlignTask:
    """Five frames of demo-012 and its two annotations, in a store of their own."""
    store = tmp_path_factory.mktemp("store")
    extracted = extract_video(extract_task(clip(demo, "demo-012"), store))
    return align_task(extracted, store, params.align, trial("demo-012_left", "left"), trial("demo-012_right", "right"))


@pytest.fixture(scope="module")
def aligned(two_people: AlignTask) -> Aligned:
    return align_video(two_people)


def test_the_wanted_frames_are_stored_and_all_are_counted(tmp_path: Path, make_video: MakeVideo) -> None:
    video = make_video(tmp_path / "a.mp4", 40)
    extracted = extract_video(extract_task(video, tmp_path / "store", wanted=(0, 3, 39, 50)))
    frames = stored(extracted)
    assert list(frames) == ["000000.jpg", "000003.jpg", "000039.jpg"]
    assert [number_of(decode_jpeg(content)) for content in frames.values()] == [0, 3, 39]
    assert (extracted.decoded_frames, extracted.stored_frames) == (40, 3)
    assert (extracted.width, extracted.height) == (128, 64)


def test_frames_around_damage_are_stored_under_their_own_numbers(tmp_path: Path) -> None:
    path = damaged(damaged(encode(tmp_path / "a.avi", 20, "mjpeg", "yuvj420p"), 4), 19)
    extracted = extract_video(extract_task(path, tmp_path / "store", wanted=(3, 4, 5, 18, 19)))
    assert {name: number_of(decode_jpeg(content)) for name, content in stored(extracted).items()} == {
        "000003.jpg": 3,
        "000005.jpg": 5,
        "000018.jpg": 18,
    }
    assert extracted.found == mismatch.Decoded(frames=19, undecodable=(4,), expected=20)
    said = "1 of its frames cannot be decoded; decoding ends after 19 of the container's 20 frames"
    assert mismatch.missing_frames(extracted.found, declared=20) == said


def test_large_frames_are_shrunk_and_their_true_size_is_kept(tmp_path: Path, make_video: MakeVideo) -> None:
    video = make_video(tmp_path / "a.mp4", 3)
    extracted = extract_video(extract_task(video, tmp_path / "store", wanted=(1,), max_side=64))
    assert decode_jpeg(stored(extracted)["000001.jpg"]).shape == (32, 64, 3)
    assert (extracted.width, extracted.height) == (128, 64)


def test_finished_extraction_is_not_redone(tmp_path: Path, make_video: MakeVideo) -> None:
    task = extract_task(make_video(tmp_path / "a.mp4", 5), tmp_path / "store", wanted=(1, 2))
    first = extract_video(task)
    before = (first.folder / FRAMES_TAR).stat()
    task.path.unlink()
    assert extract_video(task) == first
    assert (first.folder / FRAMES_TAR).stat() == before


def test_the_key_depends_on_bytes_and_parameters_and_not_on_names(tmp_path: Path, make_video: MakeVideo) -> None:
    task = extract_task(make_video(tmp_path / "a.mp4", 5), tmp_path / "store")
    changes: list[dict[str, Any]] = [{"wanted": (0,)}, {"max_side": 640}, {"quality": 90}, {"sha256": "0" * 64}]
    keys = {task.key, *(dataclasses.replace(task, **change).key for change in changes)}
    assert len(keys) == 1 + len(changes)
    assert dataclasses.replace(task, video="b", path=tmp_path / "b.mp4", store=WorkStore(tmp_path)).key == task.key


def test_a_video_that_changed_since_the_index_is_not_stored_for_the_one_it_was(
    tmp_path: Path, make_video: MakeVideo
) -> None:
    video, store = make_video(tmp_path / "a.mp4", 5), tmp_path / "store"
    task = extract_task(video, store)
    make_video(video, 9)
    with pytest.raises(UserError, match=r"a\.mp4: changed since the stage index read it"):
        extract_video(task)
    assert not list(WorkStore(store).entries())


def test_a_video_that_is_none_leaves_no_entry(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("no video")
    with pytest.raises(UserError, match=r"a\.mp4"):
        extract_video(extract_task(tmp_path / "a.mp4", tmp_path / "store"))
    assert not [path for path in (tmp_path / "store").rglob("*") if path.is_file()]


def test_each_subject_is_the_person_on_its_side_in_every_frame(aligned: Aligned, truth: Truth) -> None:
    assert aligned.dropped == []
    assert sorted(zip(landmarks_of(aligned)["subject"], landmarks_of(aligned)["frame_index"], strict=True)) == [
        (side, index) for side in ("left", "right") for index in WANTED
    ]
    for row in landmarks_of(aligned).to_dict("records"):
        points = np.array([row[column] for column in POINT_COLUMNS]).reshape(5, 2)
        away = {side: np.abs(points - truth["demo-012", row["frame_index"], side]).mean() for side in ("left", "right")}
        assert min(away, key=lambda side: away[side]) == row["subject"]
        assert (points / LANDMARK_STEP == np.round(points / LANDMARK_STEP)).all()


def test_every_face_lies_where_its_row_says(aligned: Aligned) -> None:
    content = (aligned.folder / FACES_TAR).read_bytes()
    keys = {sample_key(f"demo-012_{side}", index) for side in ("left", "right") for index in WANTED}
    assert set(faces_of(aligned)["key"]) == keys
    assert {name.removesuffix(".jpg") for name, _ in tar.read_members(aligned.folder / FACES_TAR)} == keys
    for row in faces_of(aligned).to_dict("records"):
        face = decode_jpeg(content[row["offset"] : row["offset"] + row["size"]])
        assert face.shape == (224, 224, 3)
        assert row["tar"] == "demo-012.tar"
        assert row["brightness"] == pytest.approx(face.mean(), abs=40)


def test_finished_alignment_is_not_redone(two_people: AlignTask, aligned: Aligned) -> None:
    before, without = (aligned.folder / FACES_TAR).stat(), dataclasses.replace(two_people, frames_tar=Path("/absent"))
    again = align_video(without)
    assert (again.folder / FACES_TAR).stat() == before
    pd.testing.assert_frame_equal(landmarks_of(again), landmarks_of(aligned))
    pd.testing.assert_frame_equal(faces_of(again), faces_of(aligned))
    for change in ({"min_face": 50}, {"min_confidence": 0.8}, {"quality": 90}):
        with pytest.raises(UserError, match="absent"):
            align_video(dataclasses.replace(without, params=without.params.model_copy(update=change)))


def test_another_store_gets_the_same_bytes(demo: Path, tmp_path: Path, params: Params, aligned: Aligned) -> None:
    extracted = extract_video(extract_task(clip(demo, "demo-012"), tmp_path))
    trials = (trial("demo-012_left", "left"), trial("demo-012_right", "right"))
    again = align_video(align_task(extracted, tmp_path, params.align, *trials))
    assert (again.folder / FACES_TAR).read_bytes() == (aligned.folder / FACES_TAR).read_bytes()
    pd.testing.assert_frame_equal(landmarks_of(again), landmarks_of(aligned))


def test_crops_depend_on_their_parameters_and_on_nothing_else(two_people: AlignTask, aligned: Aligned) -> None:
    def folder(**changes: Any) -> Path:
        changed = two_people.params.model_copy(update=changes)
        return align_video(dataclasses.replace(two_people, params=changed)).folder

    assert len({folder(template_scale=0.8), folder(quality=90), aligned.folder}) == 3
    assert {folder(device="auto"), folder(max_gap=24), folder(link_iou=0.2), aligned.folder} == {aligned.folder}


def test_a_renamed_video_refers_to_its_own_tar(two_people: AlignTask, aligned: Aligned) -> None:
    renamed = align_video(dataclasses.replace(two_people, video="with space"))
    assert set(faces_of(renamed)["tar"]) == {"with%20space.tar"}
    assert set(landmarks_of(renamed)["video"]) == {"with space"}
    assert set(faces_of(aligned)["tar"]) == {"demo-012.tar"}


def test_frames_without_their_subject_are_counted_with_the_reason(
    demo: Path, tmp_path: Path, params: Params, truth: Truth
) -> None:
    """demo-007's face leaves the frame for a while, and there is nobody on its right."""
    away = [index for index in range(90) if ("demo-007", index, "") not in truth]
    middle = away[len(away) // 2]
    there = [index for index in range(90) if index not in away and abs(index - middle) > 20][:4:2]
    wanted = tuple(sorted((middle, *there)))
    extracted = extract_video(extract_task(clip(demo, "demo-007"), tmp_path, wanted=wanted))
    trials = (trial("demo-007", "", wanted), trial("nobody", "right", wanted))
    task = align_task(extracted, tmp_path, params.align, *trials)
    found = align_video(dataclasses.replace(task, trials=trials[:1]))
    assert landmarks_of(found)["frame_index"].tolist() == sorted(there)
    assert reasons(found.dropped) == {("demo-007", Drop.NO_FACE): 1}
    lost = reasons(align_video(dataclasses.replace(task, size=FrameSize(width=10**6, height=240))).dropped)
    assert lost[("nobody", Drop.SUBJECT_NOT_FOUND)] == 2


@pytest.mark.parametrize(
    ("rows", "decoded", "policy", "tolerance", "action"),
    [
        (10, 10, "error", 0, "equal"),
        (11, 10, "error", 1, "trimmed"),
        (9, 10, "skip", 1, "trimmed"),
        (12, 10, "trim", 1, "trimmed"),
        (12, 10, "skip", 1, "skipped"),
        (8, 10, "skip", 1, "skipped"),
        (12, 10, "error", 1, "error"),
        (11, 10, "error", 0, "error"),
    ],
)
def test_counts_are_judged_by_policy_and_tolerance(
    rows: int, decoded: int, policy: str, tolerance: int, action: str
) -> None:
    judged = mismatch.judge_counts(rows, decoded, policy=policy, tolerance=tolerance)
    assert judged.action == action
    assert (judged.reason is Drop.COUNTS_DISAGREE) == (action in ("skipped", "error"))


def one_trial(rows: int, labelled: list[int]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Frame and trial tables of one annotation with so many rows."""
    common = {"trial": "v_left", "video": "v", "split": "train"}
    frames = pd.DataFrame([{**common, "frame_index": index} for index in labelled])
    empty = {name: "" if kind == "string" else 0 for name, kind in MISMATCH_COLUMNS.items() if "decoded" not in name}
    return frames, pd.DataFrame([{**empty, **common, "rows": rows}]).drop(columns="action")


def test_a_disagreement_stops_or_skips_or_trims_as_told() -> None:
    labelled, trials = one_trial(10, [0, 3, 4, 6, 8, 9])
    failures = {"v": (Drop.WORKER_FAILED, "crashed")}

    def compare(policy: str, **decoded: int) -> tuple[list[dict[str, object]], dict[tuple[str, Drop], int]]:
        found = {video: mismatch.Decoded(frames=frames) for video, frames in decoded.items()}
        report, dropped = mismatch.compare(labelled, trials, found, failures, policy=policy, tolerance=1, stride=3)
        return report, reasons(dropped)

    with pytest.raises(UserError, match=r"index\.mismatch is error and v_left disagrees: 10 annotation rows, 7 "):
        compare("error", v=7)
    (row,), dropped = compare("skip", v=7)
    assert (row["action"], row["decoded_difference"], dropped) == ("skipped", 3, {("v_left", Drop.COUNTS_DISAGREE): 6})
    (row,), dropped = compare("trim", v=7)
    assert (row["action"], row["decoded_frames"]) == ("trimmed", 7)
    assert dropped == {("v_left", Drop.BEYOND_VIDEO): 2, ("v_left", Drop.NOT_SAMPLED): 1}
    assert compare("error", v=9)[1] == {("v_left", Drop.BEYOND_VIDEO): 1, ("v_left", Drop.NOT_SAMPLED): 2}
    assert compare("error") == ([], {("v_left", Drop.WORKER_FAILED): 6})


@given(
    st.sets(st.integers(0, 60), min_size=1),
    st.integers(1, 70),
    st.sets(st.integers(0, 70)),
    st.sampled_from([0, 40, 70]),
    st.integers(1, 7),
    st.sampled_from(["trim", "skip"]),
)
@example({4}, 4, set(), 0, 2, "trim")
def test_every_labelled_frame_is_used_or_listed(
    labelled: set[int], decoded: int, lost: set[int], expected: int, stride: int, policy: str
) -> None:
    lost = {index for index in lost if index < decoded - 1}
    found = mismatch.Decoded(frames=decoded, undecodable=tuple(sorted(lost)), expected=expected)
    frames, trials = one_trial(61, sorted(labelled))
    report, dropped = mismatch.compare(frames, trials, {"v": found}, {}, policy=policy, tolerance=1, stride=stride)
    used = mismatch.usable(frames, tables.table(report, MISMATCH_COLUMNS), stride=stride)["frame_index"].tolist()
    assert len(used) + sum(entry.frames for entry in dropped) == len(labelled)
    kept = policy == "trim" or abs(61 - decoded) <= 1
    decodable = set(range(0, decoded, stride)) - lost
    assert used == [index for index in sorted(labelled & decodable) if kept]
    if kept:
        undecodable = {index for index in labelled if index in lost or decoded <= index < expected}
        assert reasons(dropped).get(("v_left", Drop.FRAME_UNDECODABLE), 0) == len(undecodable)
    assert mismatch.sampled(range(61), stride) == list(range(0, 61, stride))
