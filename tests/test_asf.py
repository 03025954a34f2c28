"""Damage between the frames of real wmv files; the frames say by their own pictures which they are."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.asf import stored
from pipeline.images import Image
from pipeline.times import Stored
from pipeline.video import expected_frames, frame_times, probe, read_frames
from tests.conftest import number_of, numbered_frame
from tests.encoding import encode

FRAMES, PACKET, HIT = 120, 3200, 20
REORDERED = 16


@pytest.fixture(scope="module", params=["wmv2", "msmpeg4"])
def wmv(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("wmv") / "a.wmv"
    return encode(path, noisy(), request.param, g="6", b="2M")


def noisy() -> list[Image]:
    """Numbered frames of many bytes, so that some fill several packets and some share one."""
    generator = np.random.default_rng(0)
    frames = []
    for index in range(FRAMES):
        strength = (0, 90)[index % 10 > 4]
        noise = generator.integers(-strength, strength + 1, (64, 128, 3))
        drawn = numbered_frame(index, width=128, height=64) + noise
        frames.append(np.clip(drawn, 0, 255).astype(np.uint8))
    return frames


def numbers(path: Path) -> list[tuple[int, int]]:
    """Index and drawn number of every frame."""
    return [(index, number_of(picture)) for index, picture in read_frames(path) if picture is not None]


def begin_of(content: bytes, packet: int) -> int:
    """Where a packet begins: behind the 50 bytes that are the head of all data."""
    return content.index(bytes.fromhex("3626b2758e66cf11a6d900aa0062ce6c")) + 50 + packet * PACKET


def zero_sector(content: bytearray, packet: int) -> None:
    content[packet : packet + 512] = bytes(512)


def zero_packets(content: bytearray, packet: int) -> None:
    content[packet : packet + 3 * PACKET] = bytes(3 * PACKET)


def flip_lengths(content: bytearray, packet: int) -> None:
    content[packet + 3] ^= 0x18


def flip_fields(content: bytearray, packet: int) -> None:
    content[packet + 4] ^= 0x02


DAMAGES = [zero_sector, zero_packets, flip_lengths, flip_fields]


@pytest.mark.parametrize("packet", [HIT, HIT + 1, HIT + 7])
@pytest.mark.parametrize("damage", DAMAGES)
def test_no_frame_behind_damage_between_packets_is_numbered_wrong(
    wmv: Path, tmp_path: Path, damage: Callable[[bytearray, int], None], packet: int
) -> None:
    content = bytearray(wmv.read_bytes())
    damage(content, begin_of(content, packet))
    path = tmp_path / "a.wmv"
    path.write_bytes(content)
    found, walked = numbers(path), stored(path)
    assert walked is not None and not walked.whole and 0 < walked.frames < FRAMES
    assert found == [(index, index) for index in range(walked.frames - REORDERED)]
    assert expected_frames(path, frame_times(path)) == FRAMES == probe(path).declared_frames


def test_a_whole_file_is_walked_to_its_end(wmv: Path) -> None:
    assert stored(wmv) == Stored(frames=FRAMES, whole=True, to_end=True, declared_s=FRAMES / 10)
    assert numbers(wmv) == [(index, index) for index in range(FRAMES)]
    assert stored(Path(__file__)) is None


def test_a_header_that_is_damaged_costs_no_frame(wmv: Path, tmp_path: Path) -> None:
    """How long it is, which FFmpeg need not know."""
    content = bytearray(wmv.read_bytes())
    content[16] ^= 0x10
    path = tmp_path / "a.wmv"
    path.write_bytes(content)
    assert stored(path) is None
    assert numbers(path) == [(index, index) for index in range(FRAMES)]


@pytest.mark.parametrize("share", [0.4, 0.7, 0.95])
def test_a_cut_file_is_certain_to_its_end(wmv: Path, tmp_path: Path, share: float) -> None:
    path = tmp_path / "a.wmv"
    path.write_bytes(wmv.read_bytes()[: int(wmv.stat().st_size * share)])
    found = numbers(path)
    assert found[:-1] == [(index, index) for index in range(len(found) - 1)]
    assert 0 < len(found) < FRAMES == (expected_frames(path, frame_times(path)) or probe(path).declared_frames)


@given(begin=st.integers(0, 2000), junk=st.binary(max_size=300))
def test_any_bytes_are_walked(tmp_path_factory: pytest.TempPathFactory, wmv: Path, begin: int, junk: bytes) -> None:
    content = bytearray(wmv.read_bytes()[:20000])
    content[16 + begin : 16 + begin + len(junk)] = junk
    path = tmp_path_factory.getbasetemp() / "junk.wmv"
    path.write_bytes(content)
    found = stored(path)
    assert found is None or found.frames >= 0
