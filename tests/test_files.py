"""Files are whole or absent, whatever happens to the process that writes them: real processes, really killed."""

import json
import math
import os
import random
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline import files, locks
from pipeline.contract import UserError
from tests.conftest import ROOT

WRITER = """
import sys
from pathlib import Path
from pipeline.files import publishing
path = Path(sys.argv[1])
print("ready", flush=True)
while True:
    for byte in b"ab":
        with publishing(path) as stream:
            for _ in range(64):
                stream.write(bytes([byte]) * 4096)
"""
REPLACER = """
import sys
from pathlib import Path
from pipeline import files, locks
path = Path(sys.argv[1])
if sys.argv[2] == "swap by turns":
    files._exchange = lambda one, other: False
print("ready", flush=True)
while True:
    for byte in b"ab":
        with files.fresh_folder(path) as folder:
            for number in range(8):
                (folder / str(number)).write_bytes(bytes([byte]) * 4096)
"""
LOOKER = """
import os, select, sys
missing = 0
print("ready", flush=True)
while not select.select([sys.stdin], [], [], 0)[0]:
    missing += sum(not os.path.isdir(sys.argv[1]) for _ in range(1000))
print(missing, "times missing")
"""
KEEPER = """
import sys
from pathlib import Path
from pipeline.files import fresh_folder, publishing
with fresh_folder(Path(sys.argv[1]) / "set") as folder, publishing(Path(sys.argv[1]) / "name") as stream:
    stream.write(b"content")
    (folder / "file").touch()
    print("ready", flush=True)
    sys.stdin.readline()
print("done", flush=True)
"""
HOLDER = """
import sys, time
from pathlib import Path
from pipeline.locks import exclusive_lock
with exclusive_lock(Path(sys.argv[1]), busy="busy"):
    print("ready", flush=True)
    time.sleep(60)
"""
KILLS = [pytest.param(6, id="a few"), pytest.param(120, id="many", marks=pytest.mark.slow)]


@contextmanager
def running(program: str, *arguments: Path | str) -> Iterator[subprocess.Popen[str]]:
    """A Python process that has said "ready"; killed at the end."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_publishing_makes_the_folder_and_the_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "name.bin"
    with files.publishing(path) as stream:
        stream.write(b"content")
        assert not path.exists()
    assert path.read_bytes() == b"content"
    assert names(path.parent) == {"name.bin"}


@pytest.mark.parametrize("former", [{}, {"name": b"former"}])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failed_writer_changes_nothing(tmp_path: Path, former: dict[str, bytes], error: type[BaseException]) -> None:
    for name, content in former.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(error), files.publishing(tmp_path / "name") as stream:
        stream.write(b"half")
        raise error
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == former


def test_a_very_long_name_can_be_published(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 255)
    with files.publishing(path) as stream:
        stream.write(b"content")
    assert path.read_bytes() == b"content"


@pytest.mark.parametrize("kills", KILLS)
def test_a_killed_writer_leaves_the_former_file_or_the_new_one(tmp_path: Path, kills: int) -> None:
    moments, path = random.Random(kills), tmp_path / "name.bin"
    whole = {byte * 64 * 4096 for byte in (b"a", b"b")}
    path.write_bytes(b"a" * 64 * 4096)
    for _ in range(kills):
        with running(WRITER, path) as process:
            time.sleep(moments.uniform(0, 0.05))
            process.send_signal(signal.SIGKILL)
        assert path.read_bytes() in whole
    files.sweep(tmp_path)
    assert names(tmp_path) == {"name.bin"}


@pytest.mark.parametrize("way", ["swap at once", "swap by turns"])
@pytest.mark.parametrize("kills", KILLS)
def test_a_killed_replacement_leaves_the_former_folder_or_the_new_one(tmp_path: Path, kills: int, way: str) -> None:
    moments, path = random.Random(kills), tmp_path / "set"
    whole = [{str(number): byte * 4096 for number in range(8)} for byte in (b"a", b"b")]
    path.mkdir()
    for name, content in whole[0].items():
        (path / name).write_bytes(content)
    for _ in range(kills):
        with running(REPLACER, path, way) as process:
            time.sleep(moments.uniform(0, 0.05))
            process.send_signal(signal.SIGKILL)
        if way == "swap by turns":
            files.sweep(tmp_path)
        assert {each.name: each.read_bytes() for each in path.iterdir()} in whole
    files.sweep(tmp_path)
    assert names(tmp_path) == {"set"}


def test_a_name_is_never_missing_while_its_folder_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    with running(LOOKER, tmp_path / "set") as looker:
        for _ in range(40):
            with files.fresh_folder(tmp_path / "set") as folder:
                (folder / "file").touch()
        answer, _ = looker.communicate("enough\n")
    assert answer == "0 times missing\n"


def test_a_folder_moved_aside_by_a_killed_run_gets_its_name_back(tmp_path: Path) -> None:
    (tmp_path / ".set.former").mkdir()
    (tmp_path / ".set.former" / "file").touch()
    files.sweep(tmp_path)
    assert names(tmp_path) == {"set"}
    assert names(tmp_path / "set") == {"file"}


def test_a_sweep_takes_what_the_dead_left_and_nothing_of_the_living(tmp_path: Path) -> None:
    (tmp_path / ".hidden").touch()
    with running(KEEPER, tmp_path) as killed:
        killed.send_signal(signal.SIGKILL)
    left = names(tmp_path)
    assert len(left) == 3
    with running(KEEPER, tmp_path) as living:
        files.sweep(tmp_path)
        assert len(names(tmp_path) - left) == 2
        answer, _ = living.communicate("go on\n")
        assert answer == "done\n"
    assert names(tmp_path) == {".hidden", "name", "set"}
    assert (tmp_path / "name").read_bytes() == b"content"


def test_what_was_made_but_not_yet_claimed_is_given_a_day(tmp_path: Path) -> None:
    """A folder whose lock cannot be seen, for example on a file system without locks."""
    for name, age_s in (("new", 0), ("old", 2 * 86_400)):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (time.time() - age_s,) * 2)
        locks.unless_claimed(tmp_path / name, locks.remove, claimed=tmp_path / name / "not there")
    assert names(tmp_path) == {"new"}


def test_a_maker_notices_that_its_file_was_taken_for_abandoned(tmp_path: Path) -> None:
    swept: list[bool] = []
    with (tmp_path / "a").open("xb") as stream:
        locks.unless_claimed(tmp_path / "a", lambda path: swept.append(locks.claim(stream.fileno(), path)))
        assert locks.claim(stream.fileno(), tmp_path / "a")
        locks.unless_claimed(tmp_path / "a", lambda path: swept.append(True))
        (tmp_path / "a").unlink()
        assert not locks.claim(stream.fileno(), tmp_path / "a")
    assert swept == [False]


@pytest.mark.parametrize("umask", [0o002, 0o022, 0o077])
def test_permissions_follow_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        with files.fresh_folder(tmp_path / "set"), files.publishing(tmp_path / "name"):
            pass
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "set").stat().st_mode) == 0o777 & ~umask
    assert stat.S_IMODE((tmp_path / "name").stat().st_mode) == 0o666 & ~umask


def test_json_is_sorted_readable_text(tmp_path: Path) -> None:
    files.write_json(tmp_path / "a.json", {"b": "é", "a": [1, None]})
    assert (tmp_path / "a.json").read_text() == '{\n  "a": [\n    1,\n    null\n  ],\n  "b": "é"\n}\n'
    assert files.read_json(tmp_path / "a.json") == {"a": [1, None], "b": "é"}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_json_refuses_what_it_cannot_hold(tmp_path: Path, value: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(tmp_path / "a.json", {"x": [value]})
    assert names(tmp_path) == set()


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe{}", None])
def test_a_damaged_or_missing_json_file_is_named(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.json .*`dvc repro`"):
        files.read_json(tmp_path / "a.json")


def test_a_digest_ignores_the_order_of_keys_and_nothing_else() -> None:
    one = {"a": 1, "b": {"c": [1, 2], "d": None}}
    other = json.loads('{"b": {"d": null, "c": [1, 2]}, "a": 1}')
    assert files.digest_of("x", one) == files.digest_of("x", other)
    variants = [("x", one), (one, "x"), ("x", one, 0), ("x", {**one, "a": 2}), ("x", {**one, "a": "1"}), ("x1", one)]
    assert len({files.digest_of(*variant) for variant in variants}) == len(variants)
    with pytest.raises(ValueError, match="JSON"):
        files.digest_of(math.nan)


def test_a_file_digest_is_that_of_sha256sum(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(os.urandom(3_000_001))
    expected = subprocess.run(["sha256sum", tmp_path / "a"], capture_output=True, text=True, check=True).stdout
    assert files.digest_file(tmp_path / "a") == expected.split()[0]


def test_a_fresh_folder_replaces_the_former_one_as_a_whole(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "stale").touch()
    with files.fresh_folder(tmp_path / "set") as folder:
        (folder / "new").write_text("new")
        assert names(tmp_path / "set") == {"stale"}
    assert names(tmp_path / "set") == {"new"}
    assert names(tmp_path) == {"set"}


def test_a_failed_fresh_folder_leaves_the_former_one(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "former").touch()
    with pytest.raises(RuntimeError), files.fresh_folder(tmp_path / "set") as folder:
        (folder / "new").touch()
        raise RuntimeError
    assert names(tmp_path / "set") == {"former"}
    assert names(tmp_path) == {"set"}


def test_a_link_shares_the_bytes_and_a_copy_stands_in_across_file_systems(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"content")
    files.link_or_copy(source, tmp_path / "link")
    assert (tmp_path / "link").samefile(source)
    if not Path("/dev/shm").is_dir() or Path("/dev/shm").stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("no second file system at hand")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as elsewhere:
        files.link_or_copy(source, Path(elsewhere) / "copy")
        assert (Path(elsewhere) / "copy").read_bytes() == b"content"


def test_a_link_over_an_existing_name_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    (tmp_path / "b").write_bytes(b"kept")
    with pytest.raises(FileExistsError):
        files.link_or_copy(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == b"kept"


def test_a_lock_bars_other_processes_until_its_holder_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "locks" / "stage.lock"
    with running(HOLDER, path) as holder:
        with pytest.raises(UserError, match="still busy"), locks.exclusive_lock(path, busy="still busy"):
            pytest.fail("two holders")
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        with locks.exclusive_lock(path, busy="busy"):
            pass
    with locks.exclusive_lock(path, busy="busy"):
        pass
