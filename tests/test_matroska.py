"""Damage between the frames of real Matroska and WebM files; the frames say by their own pictures which they are."""

import re
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.images import Image
from pipeline.matroska import hides_vp8, stored
from pipeline.times import Stored
from pipeline.video import expected_frames, frame_times, probe, read_frames
from tests.conftest import number_of, numbered_frame
from tests.encoding import encode, payload_of, with_sound

FRAMES, HIT, GROUP = 80, 40, 6
REORDERED = 16
HEADER = 4
"""Bytes between the length of a block and its picture: track, time (two), flags."""
CODECS = [
    ("libx264", "mkv", {"bf": "0"}),
    ("libx264", "mkv", {"bf": "3"}),
    ("mpeg4", "mkv", {"bf": "0"}),
    ("libvpx", "webm", {}),
    ("libvpx-vp9", "webm", {}),
]


@pytest.fixture(scope="module", params=CODECS, ids=lambda each: "-".join([each[0], *each[2].values()]))
def matroska(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    codec, suffix, options = request.param
    folder = tmp_path_factory.mktemp("matroska")
    return encode(folder / f"a.{suffix}", noisy(), codec, g=str(GROUP), cluster_time_limit="1000", **options)


def noisy() -> list[Image]:
    """Numbered frames of many bytes, so that a sector is a part of one."""
    generator = np.random.default_rng(0)
    noise = generator.integers(-60, 60, (FRAMES, 64, 128, 3))
    return [
        np.clip(numbered_frame(index, width=128, height=64) + each, 0, 255).astype(np.uint8)
        for index, each in enumerate(noise)
    ]


def numbers(path: Path) -> list[tuple[int, int]]:
    """Index and drawn number of every frame."""
    return [(index, number_of(picture)) for index, picture in read_frames(path) if picture is not None]


def element_of(content: bytearray, payload: int) -> int:
    """Where the block begins whose picture is here."""
    return next(payload - HEADER - 1 - size for size in range(1, 9) if content[payload - HEADER - 1 - size] == 0xA3)


def zero_sector(content: bytearray, payload: int) -> None:
    content[payload - 50 : payload + 462] = bytes(512)


def flip_kind(bit: int) -> Callable[[bytearray, int], None]:
    def flip(content: bytearray, payload: int) -> None:
        content[element_of(content, payload)] ^= 1 << bit

    flip.__name__ = f"flip_kind_{bit}"
    return flip


def flip_track(content: bytearray, payload: int) -> None:
    content[payload - HEADER] ^= 4


def lace(content: bytearray, payload: int) -> None:
    content[payload - 1] ^= 2


def lengthen(content: bytearray, payload: int) -> None:
    content[element_of(content, payload) + 1] ^= 0x20


def lengthen_beyond_the_file(content: bytearray, payload: int) -> None:
    begin = element_of(content, payload)
    content[begin + 1 : begin + 5] = b"\x1f\xff\xff\xf0"


DAMAGES = [zero_sector, flip_track, lace, lengthen, lengthen_beyond_the_file, *map(flip_kind, range(8))]


@pytest.mark.parametrize("damage", DAMAGES)
def test_no_frame_behind_damage_between_blocks_is_numbered_wrong(
    matroska: Path, tmp_path: Path, damage: Callable[[bytearray, int], None]
) -> None:
    content = bytearray(matroska.read_bytes())
    damage(content, payload_of(matroska, HIT)[0])
    path = tmp_path / matroska.name
    path.write_bytes(content)
    found = numbers(path)
    assert found[: HIT - REORDERED] == [(index, index) for index in range(HIT - REORDERED)]
    behind = [each for each in found if each[0] >= HIT + 3 * GROUP]
    assert all(index == number for index, number in behind)
    assert (expected_frames(path, frame_times(path)) or probe(path).declared_frames) >= FRAMES
    assert behind or len(found) < HIT + GROUP


def test_frames_behind_damage_are_kept_where_the_rate_is_constant(matroska: Path, tmp_path: Path) -> None:
    content = bytearray(matroska.read_bytes())
    zero_sector(content, payload_of(matroska, HIT)[0])
    path = tmp_path / matroska.name
    path.write_bytes(content)
    kept = range(HIT + 3 * GROUP, FRAMES)
    assert numbers(path)[-len(kept) :] == [(index, index) for index in kept]


def test_frames_behind_damage_are_not_guessed_where_the_rate_varies(tmp_path: Path) -> None:
    times = [100 * index + 100 * (index // 10) for index in range(FRAMES)]
    path = encode(tmp_path / "a.mkv", noisy(), times=times, g="6", bf="0", cluster_time_limit="1000")
    assert numbers(path) == [(index, index) for index in range(FRAMES)]
    content = bytearray(path.read_bytes())
    zero_sector(content, payload_of(path, HIT)[0])
    path.write_bytes(content)
    found = numbers(path)
    assert HIT - REORDERED - 6 <= len(found) <= HIT
    assert found == [(index, index) for index in range(len(found))]


def test_a_whole_file_is_walked_to_its_end(matroska: Path, tmp_path: Path) -> None:
    assert stored(matroska) == Stored(frames=FRAMES, whole=True, to_end=True)
    for share in (0.3, 0.6, 0.9, 0.999):
        cut = tmp_path / "cut.mkv"
        cut.write_bytes(matroska.read_bytes()[: int(matroska.stat().st_size * share)])
        walked = stored(cut)
        assert walked is not None and not walked.whole
        assert walked.certain(found=len(frame_times(cut))) is None
    assert stored(Path(__file__)) is None


def test_a_frame_that_has_the_time_of_another_one_is_put_where_one_is_missing(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mkv", noisy(), bf="0", g=str(GROUP))
    expected, content = frame_times(path), bytearray(path.read_bytes())
    here, before = (payload_of(path, frame)[0] - HEADER + 1 for frame in (HIT, HIT - 1))
    content[here : here + 2] = content[before : before + 2]
    path.write_bytes(content)
    assert np.allclose(frame_times(path), expected, atol=1e-6)
    assert [index for index, number in numbers(path) if index == number] == list(range(FRAMES))


@pytest.mark.parametrize("hit", [2, 9, 14])
def test_damage_near_the_beginning_is_seen_by_the_one_gap_that_it_leaves(
    matroska: Path, tmp_path: Path, hit: int
) -> None:
    content = bytearray(matroska.read_bytes())
    flip_kind(6)(content, payload_of(matroska, hit)[0])
    path = tmp_path / matroska.name
    path.write_bytes(content)
    kept = range(hit + 3 * GROUP, FRAMES)
    assert numbers(path)[-len(kept) :] == [(index, index) for index in kept]


@pytest.mark.parametrize("kind", [0x114D9B74, 0x1549A966], ids=["SeekHead", "Info"])
def test_damage_before_the_first_frame_costs_none(matroska: Path, tmp_path: Path, kind: int) -> None:
    content = bytearray(matroska.read_bytes())
    begin = next(match.start() for match in re.finditer(b"(?<!\x53\xab\x84)" + kind.to_bytes(4), content))
    content[begin : begin + 2] = bytes(2)
    path = tmp_path / matroska.name
    path.write_bytes(content)
    assert stored(path) is None
    assert numbers(path) == [(index, index) for index in range(FRAMES)]


@pytest.mark.parametrize("share", [0.15, 0.3, 0.5, 0.7, 0.9])
@pytest.mark.parametrize("live", ["0", "1"])
def test_the_last_frames_of_a_cut_file_have_their_numbers(tmp_path: Path, live: str, share: float) -> None:
    whole = encode(tmp_path / "a.mkv", noisy(), bf="3", g="12", live=live)
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * share)])
    found = numbers(cut)
    assert all(index == number for index, number in found)
    assert share - 0.1 < len(found) / FRAMES < share + 0.05


@pytest.mark.parametrize("codec", ["libx264", "ffv1"])
def test_a_stream_that_was_never_finished_is_walked_too(tmp_path: Path, codec: str) -> None:
    path = encode(tmp_path / "a.mkv", FRAMES, codec, live="1")
    assert b"\x18\x53\x80\x67\x01\xff\xff\xff\xff\xff\xff\xff" in path.read_bytes()
    assert stored(path) == Stored(frames=FRAMES, whole=True, to_end=True)
    assert numbers(path) == [(index, index) for index in range(FRAMES)]


def test_sound_that_outlasts_the_picture_is_no_loss(tmp_path: Path) -> None:
    path = with_sound(tmp_path / "a.mkv", encode(tmp_path / "b.mkv", FRAMES), seconds=11)
    assert probe(path).declared_frames > FRAMES + 20
    assert expected_frames(path, frame_times(path)) == len(numbers(path)) == FRAMES


def test_frames_of_vp8_that_are_never_shown_do_not_count(tmp_path: Path) -> None:
    """As encoders in two passes write them: before the frame at whose time they are stored."""
    path, hides = tmp_path / "a.webm", (7, 27, 47)
    drawn = [index - (index in hides) for index in range(FRAMES)]
    pictures = [numbered_frame(number, width=128, height=64) for number in drawn]
    with (
        av.open(str(encode(tmp_path / "b.webm", pictures, "libvpx", g="4"))) as shown,
        av.open(str(path), "w") as container,
    ):
        stream = container.add_stream_from_template(shown.streams.video[0])
        for index, packet in enumerate(packet for packet in shown.demux(video=0) if packet.size):
            content = bytearray(bytes(packet))
            if index in hides:
                content[0] &= ~0x10
                hidden = av.Packet(bytes(content))
                hidden.pts, hidden.dts, hidden.time_base = packet.pts, packet.dts, packet.time_base
                hidden.stream = stream
                container.mux(hidden)
            packet.stream = stream
            container.mux(packet)
    with av.open(str(path)) as container:
        assert sum(1 for packet in container.demux(video=0) if packet.size) == FRAMES + len(hides)
    assert numbers(path) == list(enumerate(drawn))
    assert len(frame_times(path)) == expected_frames(path, frame_times(path)) == FRAMES
    assert stored(path) == Stored(frames=FRAMES, whole=True, to_end=True)


@pytest.mark.parametrize("live", ["0", "1"])
def test_all_of_two_files_one_behind_the_other_is_read(tmp_path: Path, live: str) -> None:
    one = encode(tmp_path / "a.mkv", FRAMES, live=live).read_bytes()
    path = tmp_path / "b.mkv"
    path.write_bytes(one * 2)
    assert len(numbers(path)) == 2 * FRAMES


def test_a_frame_of_vp8_that_damage_hides_keeps_its_place(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.webm", noisy(), "libvpx", g=str(GROUP))
    content = bytearray(path.read_bytes())
    content[payload_of(path, HIT)[0]] ^= 0x10
    path.write_bytes(content)
    assert stored(path) == Stored(frames=FRAMES, whole=True, to_end=True)
    behind = [each for each in numbers(path) if each[0] >= HIT + GROUP]
    assert behind == [(index, index) for index in range(HIT + GROUP, FRAMES)]
    assert expected_frames(path, frame_times(path)) == FRAMES


def element(kind: int, *content: bytes, length: int | None = None) -> bytes:
    """With a length of eight bytes, its own or another one."""
    whole = b"".join(content)
    size = len(whole) if length is None else length
    return kind.to_bytes((kind.bit_length() + 7) // 8) + (1 << 56 | size).to_bytes(8) + whole


UNKNOWN_LENGTH = (1 << 56) - 1
BLOCK = element(0xA3, b"\x81\0\0\x80picture")
GROUP_OF_ONE = element(0xA0, element(0xA1, b"\x81\0\0\0picture"), element(0x9B, b"\x01"))


def file_of(*blocks: bytes, length: int | None = None) -> bytes:
    """A cluster of blocks, in a file whose first track is sound and whose second one is the video."""
    sound, video = (element(0xAE, element(0xD7, bytes([track])), element(0x83, bytes([track]))) for track in (2, 1))
    cluster = element(0x1F43B675, element(0xE7, b"\0"), *blocks, length=length)
    segment = element(0x18538067, element(0xEC, bytes(9)), element(0x1654AE6B, sound, video), cluster, length=length)
    return element(0x1A45DFA3) + segment


@pytest.mark.parametrize("length", [None, UNKNOWN_LENGTH])
@pytest.mark.parametrize(
    ("blocks", "frames", "whole"),
    [
        ([BLOCK, BLOCK, GROUP_OF_ONE], 3, True),
        ([BLOCK, element(0xA3, b"\x82\0\0\x80sound"), BLOCK], 2, True),
        ([BLOCK, element(0xBF, bytes(4)), element(0xEC, bytes(4)), BLOCK], 2, True),
        ([BLOCK, element(0x4FFE, b"what comes after 2026"), BLOCK], 2, True),
        ([BLOCK, element(0x4FFE, b"what comes after 2026"), b"none"], 1, False),
        ([BLOCK, element(0xC3, b"\x81\0\0\x80picture"), BLOCK], 1, False),
        ([BLOCK, element(0xA1, b"\x81\0\0\x80picture"), BLOCK], 1, False),
        ([BLOCK, element(0xAB, b"\x81\0\0\x80picture"), BLOCK], 1, False),
        ([BLOCK, element(0xA3, b"\x83\0\0\x80picture"), BLOCK], 1, False),
        ([BLOCK, element(0xA3, b"\x81\0\0\x82picture"), BLOCK], 1, False),
        ([BLOCK, bytes(20), BLOCK], 1, False),
        ([BLOCK, element(0x4FFE, b"far away", length=(1 << 56) - 2), BLOCK], 1, False),
    ],
)
def test_what_may_stand_in_a_cluster_is_passed_over_and_nothing_else(
    tmp_path: Path, blocks: list[bytes], frames: int, whole: bool, length: int | None
) -> None:
    path = tmp_path / "a.mkv"
    path.write_bytes(file_of(*blocks, length=length))
    found = stored(path)
    assert found is not None and (found.frames, found.whole) == (frames, whole)


def test_a_file_of_laced_video_is_not_judged(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    path.write_bytes(file_of(element(0xA3, b"\x81\0\0\x82\0picture"), BLOCK))
    assert stored(path) is None


@pytest.mark.parametrize(("first", "hidden"), [(0x10, False), (0x11, False), (0x01, True), (0x00, False)])
def test_only_frames_that_refer_to_others_are_hidden(first: int, hidden: bool) -> None:
    assert hides_vp8(first) == hidden


@given(st.binary(max_size=300))
def test_any_bytes_are_walked(tmp_path_factory: pytest.TempPathFactory, junk: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "junk.mkv"
    path.write_bytes(b"\x1a\x45\xdf\xa3" + junk)
    found = stored(path)
    assert found is None or found.frames >= 0
