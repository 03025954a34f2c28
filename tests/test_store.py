"""The work store: entries are whole or absent, damage is noticed, groups can share it, and what is in use stays."""

import contextlib
import json
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline import files
from pipeline.contract import UserError
from pipeline.sealed import LISTING, damage
from pipeline.store import WorkStore
from tests.conftest import ROOT
from tests.test_files import KILLS, names, running

KEY = "abcdef"
CONTENT = {"a.bin": b"content" * 1000, "b.json": b"{}"}
BUILDER = """
import sys
from pathlib import Path
from pipeline.store import WorkStore
store = WorkStore(Path(sys.argv[1]))
with store.building("kind", "abcdef") as folder:
    for number in range(20):
        (folder / f"{number}.bin").write_bytes(bytes(1 << 16))
    print("ready", flush=True)
    sys.stdin.readline()
print("done", flush=True)
"""
TIRELESS = """
import sys
from pathlib import Path
from pipeline.store import WorkStore
store = WorkStore(Path(sys.argv[1]))
print("ready", flush=True)
for number in range(10_000):
    with store.building("kind", f"{number % 40:06x}") as folder:
        for name in ("a", "b"):
            (folder / name).write_bytes(bytes([number % 40]) * 4096)
    if number % 7 == 0:
        store.discard(store.path("kind", f"{number % 40:06x}"))
"""
USER = """
import os, sys
from pathlib import Path
from pipeline.files import link_or_copy
from pipeline.store import WorkStore
# become the user
store, key, target = WorkStore(Path(sys.argv[1])), sys.argv[2], Path(sys.argv[3])
with store.in_use():
    if store.find("kind", key) is None:
        with store.building("kind", key) as folder:
            (folder / "a.bin").write_bytes(b"content")
    link_or_copy(store.path("kind", key) / "a.bin", target)
if len(sys.argv) > 4:
    assert store.discard(store.path("kind", key))
    assert not store.path("kind", key).exists()
    assert not list((store.root / "unfinished").iterdir())
print("ready")
"""


def build(store: WorkStore, key: str = KEY, *, kind: str = "kind", content: dict[str, bytes] = CONTENT) -> Path:
    with store.building(kind, key) as folder:
        for name, data in content.items():
            (folder / name).write_bytes(data)
    return store.path(kind, key)


@pytest.fixture
def store(tmp_path: Path) -> WorkStore:
    return WorkStore(tmp_path / "store")


def test_an_entry_appears_only_when_complete_and_is_read_only(store: WorkStore) -> None:
    with store.building("kind", KEY) as folder:
        (folder / "a.bin").write_bytes(b"content")
        assert store.find("kind", KEY) is None
    found = store.path("kind", KEY)
    assert store.find("kind", KEY) == found
    assert (found / "a.bin").read_bytes() == b"content"
    assert {stat.S_IMODE(path.stat().st_mode) for path in found.iterdir()} == {0o444}
    assert store.find("other", KEY) is None
    assert names(found) == {"a.bin", LISTING}
    assert names(found.parent) == {KEY}
    assert names(store.root) == {"kind", "unfinished"}
    assert names(store.root / "unfinished") == set()


def test_failed_work_leaves_nothing(store: WorkStore) -> None:
    with pytest.raises(RuntimeError), store.building("kind", KEY) as folder:
        (folder / "a.bin").touch()
        raise RuntimeError
    assert store.find("kind", KEY) is None
    assert [path for path in store.root.rglob("*") if path.is_file()] == []


def test_the_first_of_two_builders_wins_and_the_other_notices_nothing(store: WorkStore) -> None:
    with running(BUILDER, store.root) as other:
        entry = build(store)
        answer, _ = other.communicate("go on\n")
        assert answer == "done\n"
        assert other.returncode == 0
    assert names(entry) == {*CONTENT, LISTING}
    assert names(store.root / "unfinished") == set()


@pytest.mark.parametrize("kills", KILLS)
def test_killed_builders_leave_whole_entries_only(store: WorkStore, kills: int) -> None:
    moments = random.Random(kills)
    for turn in range(kills):
        with running(TIRELESS, store.root) as process:
            while turn == 0 and not any(store.entries()):
                time.sleep(0.01)  # a busy machine may need longer than any moment below
            time.sleep(moments.uniform(0, 0.1))
            process.send_signal(signal.SIGKILL)
        for entry in store.entries():
            assert damage(entry.folder, thorough=True) is None
            assert names(entry.folder) == {"a", "b", LISTING}
    assert list(store.entries())
    store.sweep()
    assert names(store.root / "unfinished") == set()
    build(store)


def test_a_sweep_spares_whoever_still_builds(store: WorkStore) -> None:
    with running(BUILDER, store.root) as killed:
        killed.send_signal(signal.SIGKILL)
    assert len(names(store.root / "unfinished")) == 1
    with running(BUILDER, store.root) as living:
        store.sweep()
        assert len(names(store.root / "unfinished")) == 1
        answer, _ = living.communicate("go on\n")
        assert answer == "done\n"
    assert store.find("kind", KEY) is not None
    assert names(store.root / "unfinished") == set()


def overwrite(path: Path, content: bytes, *, same_time: bool = False) -> None:
    """Writes into the file itself, so that its other names see it too."""
    before = path.stat()
    path.chmod(0o644)
    with path.open("r+b") as stream:
        stream.truncate()
        stream.write(content)
    path.chmod(0o444)
    if same_time:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


DAMAGES: dict[str, Callable[[Path], None]] = {
    "shorter": lambda folder: overwrite(folder / "a.bin", CONTENT["a.bin"][:-1], same_time=True),
    "longer": lambda folder: overwrite(folder / "a.bin", CONTENT["a.bin"] + b"x", same_time=True),
    "empty": lambda folder: overwrite(folder / "a.bin", b"", same_time=True),
    "edited in place": lambda folder: overwrite(folder / "a.bin", CONTENT["a.bin"].swapcase()),
    "missing": lambda folder: (folder / "b.json").unlink(),
    "one too many": lambda folder: (folder / "c").touch(),
    "a folder instead": lambda folder: ((folder / "a.bin").unlink(), (folder / "a.bin").mkdir())[0],
    "no listing": lambda folder: (folder / LISTING).unlink(),
    "cut listing": lambda folder: overwrite(folder / LISTING, (folder / LISTING).read_bytes()[:-40]),
    "another listing": lambda folder: overwrite(folder / LISTING, b'{"format": 1, "files": []}'),
    "listing of the future": lambda folder: overwrite(folder / LISTING, b'{"format": 2, "files": {}}'),
    "no listing but text": lambda folder: overwrite(folder / LISTING, b"\xff\xfe"),
}


@pytest.mark.parametrize("harm", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_entry_is_noticed_and_made_anew(
    store: WorkStore, harm: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    harm(build(store))
    assert store.find("kind", KEY) is None
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert KEY in said
    assert "made anew" in said
    assert [path for path in store.root.rglob("*") if path.is_file()] == []
    build(store)
    assert store.find("kind", KEY) is not None
    assert capsys.readouterr().err == ""


def test_editing_an_assembled_file_is_noticed_in_the_store(store: WorkStore, tmp_path: Path) -> None:
    files.link_or_copy(build(store) / "a.bin", tmp_path / "assembled")
    overwrite(tmp_path / "assembled", CONTENT["a.bin"].swapcase())
    assert store.find("kind", KEY) is None


def test_a_touched_or_copied_entry_is_read_once_and_accepted(store: WorkStore, tmp_path: Path) -> None:
    entry = build(store)
    (entry / "a.bin").touch()
    assert store.find("kind", KEY) == entry
    shutil.copytree(store.root, tmp_path / "copy", copy_function=shutil.copyfile)
    copy = WorkStore(tmp_path / "copy")
    for each in (store, copy):
        assert each.find("kind", KEY) is not None
        before = (each.path("kind", KEY) / "a.bin").stat().st_mtime_ns
        assert before % 10**9 == 0
        overwrite(each.path("kind", KEY) / "a.bin", CONTENT["a.bin"].swapcase(), same_time=True)
        assert each.find("kind", KEY) is not None, "it was digested a second time"


def test_only_a_thorough_check_finds_what_a_failing_disk_does(store: WorkStore) -> None:
    entry = build(store)
    flipped = bytearray(CONTENT["a.bin"])
    flipped[3000] ^= 1
    assert damage(entry, thorough=True) is None
    overwrite(entry / "a.bin", bytes(flipped), same_time=True)
    assert damage(entry, thorough=False) is None
    assert damage(entry, thorough=True) == "the content of a.bin is not what was written"


def test_a_listing_with_a_wrong_bit_is_never_trusted(store: WorkStore) -> None:
    """But for the times of change: where they differ, the content is digested."""
    entry = build(store)
    whole = (entry / LISTING).read_bytes()
    meant = without_times(whole)
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 1
        overwrite(entry / LISTING, bytes(changed))
        with contextlib.suppress(ValueError, KeyError):
            if without_times(bytes(changed)) == meant:
                continue
        assert damage(entry, thorough=True) is not None, bytes(changed)


def without_times(listing: bytes) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(listing)
    for line in content["files"].values():
        del line["changed_s"]
    return content


def test_finding_an_entry_counts_as_using_it(store: WorkStore) -> None:
    entry = build(store)
    os.utime(entry, (1, 1))
    assert store.find("kind", KEY) == entry
    (listed,) = store.entries()
    assert time.time() - listed.last_use_s < 60


def test_a_run_is_seen_while_it_lasts_and_a_killed_one_is_swept(store: WorkStore) -> None:
    with running("import sys\n" + IN_USE, store.root) as run:
        assert len(store.runs_began_s()) == 1
        store.sweep()
        assert len(store.runs_began_s()) == 1
        run.send_signal(signal.SIGKILL)
    store.sweep()
    assert store.runs_began_s() == []
    with store.in_use():
        entry = build(store)
        assert entry.stat().st_mtime >= min(store.runs_began_s())
    assert store.runs_began_s() == []


IN_USE = """
from pathlib import Path
from pipeline.store import WorkStore
with WorkStore(Path(sys.argv[1])).in_use():
    print("ready", flush=True)
    sys.stdin.readline()
"""


def test_an_entry_that_vanishes_before_it_is_linked_is_named(store: WorkStore, tmp_path: Path) -> None:
    entry = build(store)
    store.discard(entry)
    assert store.find("kind", KEY) is None
    with pytest.raises(UserError, match=r"a\.bin was removed while it was in use; run `dvc repro` again"):
        files.link_or_copy(entry / "a.bin", tmp_path / "target")


def test_removing_an_entry_spares_who_has_it_open_or_linked(store: WorkStore, tmp_path: Path) -> None:
    entry = build(store)
    files.link_or_copy(entry / "a.bin", tmp_path / "linked")
    with (entry / "b.json").open("rb") as stream:
        assert store.discard(entry)
        assert stream.read() == b"{}"
    assert (tmp_path / "linked").read_bytes() == CONTENT["a.bin"]
    assert not store.discard(entry)


@pytest.mark.parametrize("umask", [0o002, 0o022, 0o077])
@pytest.mark.parametrize("mode", [0o2770, 0o2775, 0o755, 0o700])
def test_permissions_are_those_of_the_root_whatever_the_umask(tmp_path: Path, umask: int, mode: int) -> None:
    store = WorkStore(tmp_path / "store")
    store.root.mkdir()
    store.root.chmod(mode)
    before = os.umask(umask)
    try:
        build(store)
    finally:
        os.umask(before)
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in store.root.rglob("*")}
    assert {mode for path, mode in modes.items() if path.is_dir()} == {mode}
    assert {mode for path, mode in modes.items() if path.is_file()} == {mode & 0o444}


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can reach, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def as_user(number: int, umask: int, *arguments: Path | str) -> None:
    """Runs USER as a user of the team; the interpreter starts as root, because others may not reach it."""
    drop = f"os.umask({umask}); os.setgroups([{TEAM}]); os.setgid({number}); os.setuid({number})"
    done = subprocess.run(
        [sys.executable, "-c", USER.replace("# become the user", drop), *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "ready\n", done.stderr


TEAM, ONE, OTHER = 61_000, 61_001, 61_002
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as two users")


@needs_root
@pytest.mark.parametrize(("umask", "other_umask"), [(0o077, 0o077), (0o022, 0o002), (0o002, 0o022)])
def test_two_users_of_a_group_share_a_store(open_folder: Path, umask: int, other_umask: int) -> None:
    shared = open_folder / "shared"
    shared.mkdir()
    os.chown(shared, ONE, TEAM)
    shared.chmod(0o2770)
    for number in (ONE, OTHER):
        (open_folder / str(number)).mkdir()
        os.chown(open_folder / str(number), number, number)
    as_user(ONE, umask, shared, "abcdef", open_folder / str(ONE) / "one")
    entry = shared / "kind" / "ab" / "abcdef"
    os.utime(entry, (1, 1))
    as_user(OTHER, other_umask, shared, "abcdef", open_folder / str(OTHER) / "one")
    assert entry.stat().st_mtime > 1, "the other user's use was not noted"
    as_user(OTHER, other_umask, shared, "abffff", open_folder / str(OTHER) / "two")
    as_user(ONE, umask, shared, "abffff", open_folder / str(ONE) / "two", "remove")
    as_user(OTHER, other_umask, shared, "abcdef", open_folder / str(OTHER) / "three", "remove")


@needs_root
def test_a_store_that_may_only_be_read_can_be_used(open_folder: Path) -> None:
    shared, own = WorkStore(open_folder / "shared"), open_folder / "own"
    build(shared)
    own.mkdir()
    os.chown(own, OTHER, OTHER)
    as_user(OTHER, 0o022, shared.root, KEY, own / "copy")
    assert (own / "copy").read_bytes() == CONTENT["a.bin"]
    assert names(shared.root / "unfinished") == set()
