"""Damage between the frames of real Matroska and WebM files; the frames say by their own pictures which they are."""

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.images import Image
from pipeline.matroska import hides_vp8, stored
from pipeline.places import Stored
from pipeline.video import expected_frames, frame_times, probe, read_frames
from tests.conftest import number_of, numbered_frame
from tests.encoding import encode, payload_of

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


def flip_kind(content: bytearray, payload: int) -> None:
    content[element_of(content, payload)] ^= 0x40


def flip_track(content: bytearray, payload: int) -> None:
    content[payload - HEADER] ^= 4


def lace(content: bytearray, payload: int) -> None:
    content[payload - 1] ^= 2


def lengthen(content: bytearray, payload: int) -> None:
    content[element_of(content, payload) + 1] ^= 0x20


def lengthen_beyond_the_file(content: bytearray, payload: int) -> None:
    begin = element_of(content, payload)
    content[begin + 1 : begin + 5] = b"\x1f\xff\xff\xf0"


DAMAGES = [zero_sector, flip_kind, flip_track, lace, lengthen, lengthen_beyond_the_file]


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


@pytest.mark.parametrize("codec", ["libx264", "ffv1"])
def test_a_stream_that_was_never_finished_is_walked_too(tmp_path: Path, codec: str) -> None:
    path = encode(tmp_path / "a.mkv", FRAMES, codec, live="1")
    assert b"\x18\x53\x80\x67\x01\xff\xff\xff\xff\xff\xff\xff" in path.read_bytes()
    assert stored(path) == Stored(frames=FRAMES, whole=True, to_end=True)
    assert numbers(path) == [(index, index) for index in range(FRAMES)]


def test_sound_that_outlasts_the_picture_is_no_loss(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container, av.open(str(encode(tmp_path / "b.mkv", FRAMES))) as pictures:
        video, sound = (
            container.add_stream_from_template(pictures.streams.video[0]),
            container.add_stream("aac", rate=8000),
        )
        for packet in pictures.demux(video=0):
            if packet.size:
                packet.stream = video
                container.mux(packet)
        for index in range(80):
            frame = av.AudioFrame(format="fltp", layout="mono", samples=1024)
            frame.sample_rate, frame.pts = 8000, 1024 * index
            for plane in frame.planes:
                plane.update(bytes(plane.buffer_size))
            container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
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


@pytest.mark.parametrize(("first", "hidden"), [(0x10, False), (0x11, False), (0x01, True), (0x00, False)])
def test_only_frames_that_refer_to_others_are_hidden(first: int, hidden: bool) -> None:
    assert hides_vp8(first) == hidden


@given(st.binary(max_size=300))
def test_any_bytes_are_walked(tmp_path_factory: pytest.TempPathFactory, junk: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "junk.mkv"
    path.write_bytes(b"\x1a\x45\xdf\xa3" + junk)
    found = stored(path)
    assert found is not None and found.frames >= 0
