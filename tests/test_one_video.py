"""`cct faces` on real clips, against the pipeline's own parts and the truth."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline import geometry, tables, tar
from pipeline.contract import FACE_SIZE, POINT_COLUMNS, UserError
from pipeline.faces import FrameSize, crop_face
from pipeline.images import decode_jpeg, encode_jpeg
from pipeline.one_video import COLUMNS, FACES_TAR, LANDMARKS, faces_of_video
from pipeline.params import AlignParams, Params
from pipeline.sources import source
from pipeline.video import read_frames
from tests.conftest import MakeVideo, Truth


def result(out: Path) -> tuple[pd.DataFrame, dict[str, bytes]]:
    pictures = {name.removesuffix(".jpg"): content for name, content in tar.read_members(out / FACES_TAR)}
    return tables.read_table(out / LANDMARKS, COLUMNS), pictures


def points(row: pd.Series) -> np.ndarray:
    return row[list(POINT_COLUMNS)].to_numpy(dtype=np.float64).reshape(5, 2)


@pytest.fixture(scope="module")
def align(params: Params) -> AlignParams:
    return params.align


def test_every_face_of_a_clip_with_two_people(tmp_path: Path, demo: Path, truth: Truth, align: AlignParams) -> None:
    clip = demo / "raw/videos/batch1/demo-012.mp4"
    summary = faces_of_video(source(clip), tmp_path / "out", align)
    table, pictures = result(tmp_path / "out")
    assert summary.tracks == table["track"].nunique() == 2
    assert list(pictures) == table["key"].tolist() and len(table) == summary.faces
    assert table.groupby("subject")["track"].nunique().to_dict() == {"": 1, "main": 1}
    assert summary.frames_with_main == (table["subject"] == "main").sum() >= 0.99 * summary.frames
    for index, picture in read_frames(clip, {20}):
        for _, row in table[table["frame_index"] == index].iterrows() if picture is not None else ():
            side = "left" if row["x0"] < 200 else "right"
            right = truth["demo-012", index, side]
            assert np.linalg.norm(points(row) - right, axis=1).mean() < 0.2 * geometry.interocular(right)
            size = FrameSize(width=picture.shape[1], height=picture.shape[0])
            again = crop_face(picture, points(row), size, template_scale=align.template_scale, quality=align.quality)
            assert again.jpeg == pictures[str(row["key"])]
            assert decode_jpeg(again.jpeg).shape == (FACE_SIZE, FACE_SIZE, 3)


@pytest.mark.slow
def test_smoothed_faces_are_cut_where_they_are_said_to_be(tmp_path: Path, demo: Path, align: AlignParams) -> None:
    clip = demo / "raw/videos/batch1/demo-001.mp4"
    smoothed = align.model_copy(update={"smoothing": 2.0})
    faces_of_video(source(clip), tmp_path / "smooth", smoothed)
    faces_of_video(source(clip), tmp_path / "plain", align)
    (table, pictures), (plain, _) = result(tmp_path / "smooth"), result(tmp_path / "plain")
    nose = [np.abs(np.diff(each["nose_x"], n=2)).mean() for each in (table, plain)]
    assert nose[0] < nose[1] / 2
    row = table.iloc[30]
    for index, picture in read_frames(clip, {int(row["frame_index"])}):
        if picture is not None:
            size = FrameSize(width=picture.shape[1], height=picture.shape[0])
            again = crop_face(picture, points(row), size, template_scale=1.0, quality=align.quality)
            assert again.jpeg == pictures[row["key"]], index


def test_a_spliced_clip_has_a_track_a_shot_and_marks_what_was_bridged(
    tmp_path: Path, demo: Path, truth: Truth, make_video: MakeVideo, align: AlignParams
) -> None:
    """One person, hidden for 4 frames and later for 14 (more than max_bridge); then a cut to somebody else."""
    hidden = {*range(10, 14), *range(24, 38)}
    shots = []
    for video, count in (("demo-001", 50), ("demo-029", 12)):
        wanted = read_frames(demo / f"raw/videos/batch1/{video}.mp4", set(range(count)))
        shots.append([picture for _, picture in wanted if picture is not None])
    for index in hidden:
        x, y = truth["demo-001", index, ""][2].astype(int)
        shots[0][index][max(0, y - 70) : y + 70, max(0, x - 60) : x + 60] = shots[0][index].mean(axis=(0, 1))
    faces_of_video(source(make_video(tmp_path / "v.mp4", shots[0] + shots[1])), tmp_path / "out", align)
    table, pictures = result(tmp_path / "out")
    tracks = {number: set(its) for number, its in table.groupby("track")["frame_index"]}
    assert tracks == {0: set(range(50)) - set(range(24, 38)), 1: set(range(50, 62))}
    assert set(table.loc[table["interpolated"], "frame_index"]) == set(range(10, 14))
    assert list(pictures) == table["key"].tolist() and (table["subject"] == "main").all()


def test_a_picture_is_a_video_of_one_frame(tmp_path: Path, demo: Path, align: AlignParams) -> None:
    (frame,) = [
        picture for _, picture in read_frames(demo / "raw/videos/batch1/demo-012.mp4", {20}) if picture is not None
    ]
    (tmp_path / "two people.jpg").write_bytes(encode_jpeg(frame, 95))
    summary = faces_of_video(source(tmp_path / "two people.jpg"), tmp_path / "out", align)
    assert (summary.frames, summary.faces, summary.tracks, summary.frames_with_main) == (1, 2, 2, 1)


def test_a_video_without_faces_gives_empty_tables(tmp_path: Path, make_video: MakeVideo, align: AlignParams) -> None:
    summary = faces_of_video(source(make_video(tmp_path / "v.mp4", 12)), tmp_path / "out", align)
    table, pictures = result(tmp_path / "out")
    assert (summary.frames, summary.faces, len(table), pictures) == (12, 0, 0, {})


def test_a_folder_with_something_in_it_is_not_touched(tmp_path: Path, demo: Path, align: AlignParams) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(UserError, match="not an empty folder"):
        faces_of_video(source(demo / "raw/videos/batch1/demo-001.mp4"), tmp_path, align)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def cct(*arguments: object, cwd: Path) -> "subprocess.CompletedProcess[str]":
    command = [Path(sys.executable).parent / "cct", "faces", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.slow
def test_the_command_works_anywhere_and_tells_what_is_wrong_in_one_line(tmp_path: Path, demo: Path) -> None:
    done = cct(demo / "raw/videos/batch1/demo-001.mp4", "--out", "here", cwd=tmp_path)
    assert done.returncode == 0 and "1 tracks" in done.stdout and "89 of 89 frames" in done.stdout, done.stderr
    (tmp_path / "text.mp4").write_text("no video")
    wrong = cct("text.mp4", "--out", "there", cwd=tmp_path)
    assert wrong.returncode == 1 and len(wrong.stderr.splitlines()) == 1 and "text.mp4" in wrong.stderr
    assert not (tmp_path / "there").exists()
    content = (demo / "raw/videos/batch1/demo-003.avi").read_bytes()
    (tmp_path / "cut.avi").write_bytes(content[: len(content) // 2])
    cut = cct("cut.avi", "--out", "cut", cwd=tmp_path)
    assert cut.returncode == 0 and "of 79 frames cannot be decoded" in cut.stderr
