"""A verified shard set is not read again while nothing touches it; whatever touches it, it is."""

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.contract import UserError
from pipeline.shards import stamps, verification
from pipeline.shards.manifest import MANIFEST
from pipeline.shards.verification import require_verified, verify

FIRST = "train-000000.tar"


@pytest.fixture
def stamped(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A set that was verified; its files may be as young as they are here."""
    monkeypatch.setattr(stamps, "_SETTLED_NS", -1_000_000_000)
    require_verified(folder)
    return folder


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The sets that were read from now on."""
    read: list[Path] = []

    def problems(folder: Path, manifest: dict[str, object]) -> list[str]:
        read.append(folder)
        return original(folder, manifest)

    original = verification._problems
    monkeypatch.setattr(verification, "_problems", problems)
    return read


def stamp_of(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.verified")


def test_an_untouched_set_is_read_once(stamped: Path, readings: list[Path]) -> None:
    require_verified(stamped)
    require_verified(Path(os.path.relpath(stamped)))
    assert readings == []
    assert MANIFEST in {path.name for path in stamped.iterdir()} and verify(stamped) == []
    assert readings == [stamped]


def test_young_files_are_read_every_time(folder: Path, readings: list[Path]) -> None:
    for _ in range(2):
        require_verified(folder)
    assert len(readings) == 2 and not stamp_of(folder).exists()


def flip(path: Path) -> None:
    """A bit of the file differs; its length and time of writing do not."""
    times = path.stat()
    with path.open("r+b") as stream:
        stream.seek(700)
        byte = stream.read(1)[0]
        stream.seek(700)
        stream.write(bytes([byte ^ 1]))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def copied(path: Path) -> None:
    """A copy with the times of the original, as `cp -p`, rsync or tar make it, takes its place."""
    other = path.with_name("copy")
    shutil.copy2(path, other)
    other.replace(path)


def swap(path: Path) -> None:
    other = path.with_name("train-000001.tar")
    path.rename(path.with_name("third"))
    other.rename(path)
    path.with_name("third").rename(other)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "a bit": flip,
    "cut": lambda path: os.truncate(path, path.stat().st_size - 1),
    "longer": lambda path: os.truncate(path, path.stat().st_size + 1),
    "gone": lambda path: path.unlink(),
    "swapped": swap,
    "one more": lambda path: path.with_name("train-000009.tar").touch(),
    "a damaged manifest": lambda path: flip(path.with_name(MANIFEST)),
    "a damaged table": lambda path: flip(path.with_name("samples.parquet")),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "a link to nowhere": lambda path: (path.unlink(), path.symlink_to("nowhere")),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_no_damage_hides_behind_a_stamp(stamped: Path, damage: Callable[[Path], object]) -> None:
    damage(stamped / FIRST)
    for _ in range(2):
        with pytest.raises(UserError):
            require_verified(stamped)


@pytest.mark.parametrize("touch", [os.utime, copied, lambda path: path.chmod(0o400)])
def test_a_touched_set_is_read_again_and_stamped_again(
    stamped: Path, readings: list[Path], touch: Callable[[Path], object]
) -> None:
    touch(stamped / FIRST)
    for _ in range(2):
        require_verified(stamped)
    assert len(readings) == 1


def test_links_of_a_cache_are_followed(stamped: Path, readings: list[Path], tmp_path: Path) -> None:
    """With `cache.type: symlink` the files of a set are elsewhere, and it is there that they are damaged."""
    cached = tmp_path / "cached"
    (stamped / FIRST).rename(cached)
    (stamped / FIRST).symlink_to(cached)
    for _ in range(2):
        require_verified(stamped)
    assert len(readings) == 1
    flip(cached)
    with pytest.raises(UserError, match="sha256 differs"):
        require_verified(stamped)


def test_a_change_while_the_set_is_read_leaves_no_stamp(
    stamped: Path, readings: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = verification._problems

    def disturbed(folder: Path, manifest: dict[str, object]) -> list[str]:
        problems = inner(folder, manifest)
        flip(folder / FIRST)
        return problems

    monkeypatch.setattr(verification, "_problems", disturbed)
    assert verify(stamped) == []
    assert not stamp_of(stamped).exists()


def test_damage_that_left_no_trace_is_found_by_verify_and_then_refused(stamped: Path) -> None:
    """A failing disk changes bytes and no times."""
    flip(stamped / FIRST)
    stamps.put(stamped, stamps.observed(stamped))
    require_verified(stamped)
    assert len(verify(stamped)) == 1
    with pytest.raises(UserError, match="sha256 differs"):
        require_verified(stamped)


def test_a_damaged_stamp_counts_for_nothing(stamped: Path, readings: list[Path]) -> None:
    stamp, places = stamp_of(stamped), random.Random(0)
    content = stamp.read_bytes()
    for number in range(40):
        damaged = bytearray(content)
        damaged[places.randrange(len(content) - 1)] ^= 1 << places.randrange(7)
        stamp.write_bytes((bytes(damaged), content[: places.randrange(len(content) - 2)], b"null")[number % 3])
        assert not stamps.is_stamped(stamped) or damaged.split() == content.split()
    require_verified(stamped)
    assert len(readings) == 1 and stamp.read_bytes() == content


def test_stricter_rules_count_old_stamps_for_nothing(
    stamped: Path, readings: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stamps, "_RULES", stamps._RULES + 1)
    require_verified(stamped)
    assert readings == [stamped]


def test_a_stamp_that_cannot_be_written_is_done_without(
    stamped: Path, readings: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    stamp_of(stamped).unlink()
    stamp_of(stamped).mkdir()
    for _ in range(2):
        require_verified(stamped)
    assert len(readings) == 2
