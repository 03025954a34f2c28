"""Frames of real files, encoded here: every one of them, in order, upright; and files that are no videos."""

import struct
import wave
from pathlib import Path

import numpy as np
import pytest

from pipeline.contract import UserError
from pipeline.images import Image
from pipeline.video import VideoInfo, probe, read_frames
from tests.conftest import MakeVideo, number_of

FORMATS = [("mp4v", "mp4"), ("mp4v", "avi"), ("MJPG", "avi"), ("FFV1", "mkv")]
NOT_OPENED = "not a video that can be opened"
MATRIX_AT = 44
"""Of the tkhd box (version 0), counted from its name: where the 3 x 3 display matrix begins."""


def corners(picture: Image) -> list[list[bool]]:
    """Whether each quarter of a picture is bright."""
    height, width = picture.shape[:2]
    return [
        [bool(picture[y::height, x::width].mean() > 127) for x in (width // 4, 3 * width // 4)]
        for y in (height // 4, 3 * height // 4)
    ]


def turned(path: Path, *, quarters: int) -> Path:
    """Has an mp4 file say that it is to be shown turned clockwise, as telephones do."""
    cosine, sine = ((1, 0), (0, 1), (-1, 0), (0, -1))[quarters]
    content = bytearray(path.read_bytes())
    begin = content.index(b"tkhd") + MATRIX_AT
    assert struct.unpack_from(">9i", content, begin)[0] == 1 << 16
    one = 1 << 16
    struct.pack_into(">9i", content, begin, one * cosine, one * sine, 0, -one * sine, one * cosine, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(("fourcc", "suffix"), FORMATS)
def test_every_frame_comes_once_in_order(tmp_path: Path, make_video: MakeVideo, fourcc: str, suffix: str) -> None:
    path = make_video(tmp_path / f"a.{suffix}", 60, fourcc=fourcc)
    frames = list(read_frames(path))
    assert [index for index, _ in frames] == list(range(60))
    assert [number_of(picture) for _, picture in frames if picture is not None] == list(range(60))


def test_only_wanted_frames_are_pictures_but_all_are_counted(tmp_path: Path, make_video: MakeVideo) -> None:
    path = make_video(tmp_path / "a.mp4", 40)
    wanted = {0, 7, 8, 39, 99}
    frames = dict(read_frames(path, wanted))
    assert list(frames) == list(range(40))
    assert {index: number_of(picture) for index, picture in frames.items() if picture is not None} == {
        index: index for index in wanted - {99}
    }
    assert [picture for _, picture in read_frames(path, frozenset())] == [None] * 40


def test_pictures_are_red_green_blue(tmp_path: Path, make_video: MakeVideo) -> None:
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[...] = (200, 100, 30)
    _, decoded = next(read_frames(make_video(tmp_path / "a.mp4", [picture])))
    assert decoded is not None and decoded.dtype == np.uint8
    assert np.abs(decoded.astype(int) - (200, 100, 30)).max() < 8


def test_pictures_left_as_decoded_are_the_same_pictures(demo: Path) -> None:
    path = demo / "raw/videos/batch1/demo-012.mp4"
    for (index, ours), (other, view) in zip(
        read_frames(path, {0, 30}), read_frames(path, {0, 30}, as_decoded=True), strict=True
    ):
        assert index == other and (ours is None) == (view is None)
        if ours is not None and view is not None:
            assert ours.flags.c_contiguous and np.array_equal(ours, view)


def test_a_header_tells_size_rate_and_length(tmp_path: Path, make_video: MakeVideo) -> None:
    path = make_video(tmp_path / "a.mp4", 25, fps=29.97)
    assert probe(path) == VideoInfo(width=128, height=64, fps=29.97, declared_frames=25)


@pytest.mark.parametrize(
    ("quarters", "bright"),
    [
        (0, [[True, False], [False, False]]),
        (1, [[False, True], [False, False]]),
        (2, [[False, False], [False, True]]),
        (3, [[False, False], [True, False]]),
    ],
)
def test_frames_are_upright_and_so_are_declared_sizes(
    tmp_path: Path, make_video: MakeVideo, quarters: int, bright: list[list[bool]]
) -> None:
    picture = np.zeros((64, 96, 3), np.uint8)
    picture[:32, :48] = 255
    path = turned(make_video(tmp_path / "a.mp4", [picture] * 3), quarters=quarters)
    pictures = [decoded for _, decoded in read_frames(path) if decoded is not None]
    assert [corners(decoded) for decoded in pictures] == [bright] * 3
    info = probe(path)
    assert pictures[0].shape == (info.height, info.width, 3)
    assert info.width == (64 if quarters % 2 else 96)


@pytest.mark.parametrize("name", ["with space.mp4", 'Zoë\'s "%05d".avi', "a:b=c,[d].mp4", "-i.avi"])
def test_any_name_can_be_opened(
    tmp_path: Path, make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    make_video(tmp_path / f"plain{Path(name).suffix}", 3).rename(tmp_path / name)
    assert len(list(read_frames(tmp_path / name))) == 3
    monkeypatch.chdir(tmp_path)
    assert len(list(read_frames(Path(name)))) == 3


@pytest.mark.parametrize("content", [b"", b"hello\n" * 500, b"\0" * 5000, bytes(range(256)) * 40])
@pytest.mark.parametrize("name", ["a.mp4", "a.avi", "a.mkv"])
def test_what_is_no_video_is_refused_by_name(tmp_path: Path, content: bytes, name: str) -> None:
    (tmp_path / name).write_bytes(content)
    for action in (probe, lambda path: list(read_frames(path))):
        with pytest.raises(UserError, match=f"^{name}: {NOT_OPENED}"):
            action(tmp_path / name)


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "a.wav"), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(16_000))
    path = (tmp_path / "a.wav").rename(tmp_path / "a.mp4")
    with pytest.raises(UserError, match=rf"a\.mp4: {NOT_OPENED}"):
        probe(path)


@pytest.mark.parametrize("name", ["absent.mp4", "."])
def test_a_missing_file_or_a_folder_is_no_video(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="not a file"):
        next(read_frames(tmp_path / name))


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_cut_clip_yields_its_first_frames_without_an_error(demo: Path, tmp_path: Path, share: float) -> None:
    whole = demo / "raw/videos/batch1/demo-003.avi"
    content = whole.read_bytes()
    (tmp_path / "cut.avi").write_bytes(content[: int(len(content) * share)])
    kept = [picture for _, picture in read_frames(tmp_path / "cut.avi") if picture is not None]
    everything = [picture for _, picture in read_frames(whole) if picture is not None]
    assert 0 < len(kept) < len(everything)
    assert all(np.array_equal(one, other) for one, other in zip(kept[:-1], everything, strict=False))
    assert probe(tmp_path / "cut.avi").declared_frames > len(kept)


def test_a_cut_clip_without_its_index_is_refused(demo: Path, tmp_path: Path) -> None:
    content = (demo / "raw/videos/batch1/demo-001.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(content[: len(content) * 6 // 10])
    with pytest.raises(UserError, match=rf"cut\.mp4: {NOT_OPENED}"):
        probe(tmp_path / "cut.mp4")


def test_the_demo_clips_have_the_frames_that_their_readme_counts(demo: Path) -> None:
    clips = sorted((demo / "raw/videos").rglob("demo-*"))
    assert len(clips) == 46
    assert sum(probe(clip).declared_frames for clip in clips) == 3587
    for clip in clips[::9]:
        assert sum(1 for _ in read_frames(clip, frozenset())) == probe(clip).declared_frames
