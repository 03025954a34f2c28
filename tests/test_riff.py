"""Damage between the frames of real AVI files; the frames say by their own pictures which they are."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.riff import stored
from pipeline.video import expected_frames, frame_times, probe, read_frames
from tests.conftest import number_of
from tests.encoding import encode

FRAMES = 60
HIT = 40
CODECS = [("mjpeg", "yuvj420p", {}), ("mpeg4", "yuv420p", {"bf": "2"}), ("libx264", "yuv420p", {"bf": "3", "g": "12"})]


@pytest.fixture(scope="module", params=CODECS, ids=lambda each: each[0])
def avi(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    codec, pixels, options = request.param
    return encode(tmp_path_factory.mktemp("avi") / "a.avi", FRAMES, codec, pixels, **options)


def certain(path: Path, *, found: int) -> int | None:
    walked = stored(path)
    return walked.certain(found=found) if walked else None


def chunks(content: bytes) -> list[int]:
    """Where each frame's chunk begins, by the index at the end of the file."""
    movi, index = content.index(b"movi"), content.rindex(b"idx1")
    entries = np.frombuffer(content, "<u4", int.from_bytes(content[index + 4 : index + 8], "little") // 4, index + 8)
    return [movi + int(offset) for offset in entries[2::4]]


def zero_sector(content: bytearray, place: int) -> None:
    content[place - 3 : place + 509] = bytes(512)


def flip_kind(content: bytearray, place: int) -> None:
    content[place + 2] ^= 4


def flip_stream(content: bytearray, place: int) -> None:
    content[place + 1] ^= 4


def lengthen(content: bytearray, place: int) -> None:
    content[place + 5] ^= 16


def lengthen_beyond_the_file(content: bytearray, place: int) -> None:
    content[place + 7] ^= 16


@pytest.mark.parametrize("damage", [zero_sector, flip_kind, flip_stream, lengthen, lengthen_beyond_the_file])
def test_no_frame_behind_damage_between_chunks_is_numbered_wrong(
    avi: Path, tmp_path: Path, damage: Callable[[bytearray, int], None]
) -> None:
    content = bytearray(avi.read_bytes())
    damage(content, chunks(content)[HIT])
    path = tmp_path / "a.avi"
    path.write_bytes(content)
    found = [(index, number_of(picture)) for index, picture in read_frames(path) if picture is not None]
    sure = [each for each in found if each[0] < HIT - 16]
    assert sure == [(index, index) for index in range(HIT - 16)]
    assert all(index == number for index, number in found[: HIT - 3])
    assert len(found) <= HIT or [index for index, _ in found] == list(range(FRAMES)) or found[-1][0] == found[-1][1]
    assert expected_frames(path, frame_times(path)) == FRAMES


def test_a_whole_file_is_certain_to_its_end(avi: Path) -> None:
    assert certain(avi, found=FRAMES) is None
    assert certain(Path(__file__), found=3) is None


@pytest.mark.parametrize("share", [0.6, 0.8, 0.95])
def test_a_cut_file_is_certain_to_its_end(avi: Path, tmp_path: Path, share: float) -> None:
    content = avi.read_bytes()
    path = tmp_path / "a.avi"
    path.write_bytes(content[: int(len(content) * share)])
    times = frame_times(path)
    assert certain(path, found=len(times)) is None
    assert probe(path).declared_frames == FRAMES


def test_chunks_of_odd_lengths_that_are_not_filled_up_are_no_damage(tmp_path: Path) -> None:
    header = b"RIFF\0\0\0\0AVI LIST\0\0\0\0hdrlstrh\0\0\0\0LIST\0\0\0\0movi"
    frames = [b"00dc" + length.to_bytes(4, "little") + bytes(length) for length in (3, 4, 7, 0, 5)]
    path = tmp_path / "a.avi"
    path.write_bytes(header + b"".join(frames))
    assert certain(path, found=4) is None
    path.write_bytes(header + b"".join([*frames, b"\0" * 40, *frames * 20]))
    assert certain(path, found=80) == 0


def test_other_streams_further_riffs_and_lists_are_walked_through(tmp_path: Path) -> None:
    def chunk(kind: bytes, length: int = 4) -> bytes:
        return kind + length.to_bytes(4, "little") + bytes(length)

    first = chunk(b"00dc") * 30 + chunk(b"01wb", 6) + chunk(b"00pc") + chunk(b"ix00", 8) + chunk(b"00db")
    second = b"RIFF\0\0\0\0AVIXLIST\0\0\0\0movi" + b"LIST\0\0\0\0rec " + chunk(b"00dc") * 10 + chunk(b"JUNK", 12)
    header = b"RIFF\0\0\0\0AVI LIST\0\0\0\0hdrl" + chunk(b"strh") * 2 + b"LIST\0\0\0\0movi"
    path = tmp_path / "a.avi"
    path.write_bytes(header + first + chunk(b"idx1", 16) + second)
    assert certain(path, found=50) is None
    path.write_bytes(header + first + chunk(b"idx1", 16) + second + chunk(b"02dc") + chunk(b"00dc"))
    assert certain(path, found=50) == 41 - 16
