"""Files are whole or absent, whatever happens to the process that writes them: real processes, really killed."""

import json
import math
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline import files
from pipeline.contract import UserError
from pipeline.files import WorkStore
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
HOLDER = """
import sys, time
from pathlib import Path
from pipeline.files import exclusive_lock
with exclusive_lock(Path(sys.argv[1]), busy="busy"):
    print("ready", flush=True)
    time.sleep(60)
"""
BUILDER = """
import sys
from pathlib import Path
from pipeline.files import WorkStore
store = WorkStore(Path(sys.argv[1]))
with store.building("kind", "abcdef") as folder:
    for number in range(20):
        (folder / f"{number}.bin").write_bytes(bytes(1 << 16))
    print("ready", flush=True)
    sys.stdin.readline()
print("done", flush=True)
"""


@contextmanager
def running(program: str, argument: Path) -> Iterator[subprocess.Popen[str]]:
    """A Python process that has said "ready"; killed at the end."""
    command = [sys.executable, "-c", program, str(argument)]
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


def test_publishing_makes_the_folder_and_a_readable_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "name.bin"
    with files.publishing(path) as stream:
        stream.write(b"content")
        assert not path.exists()
    assert path.read_bytes() == b"content"
    assert path.stat().st_mode & 0o777 == 0o644
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


def test_a_killed_writer_never_leaves_a_partial_file(tmp_path: Path) -> None:
    moments, path = random.Random(0), tmp_path / "name.bin"
    whole = {byte * 64 * 4096 for byte in (b"a", b"b")}
    for _ in range(6):
        with running(WRITER, path) as process:
            time.sleep(moments.uniform(0, 0.1))
            process.send_signal(signal.SIGKILL)
        assert not path.exists() or path.read_bytes() in whole
    assert path.exists(), "no writer lived long enough to tell anything"


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
    assert (tmp_path / "set").stat().st_mode & 0o777 == 0o755


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


def test_an_entry_appears_only_when_complete_and_is_read_only(tmp_path: Path) -> None:
    store = WorkStore(tmp_path)
    with store.building("kind", "abcdef") as folder:
        (folder / "a.bin").write_bytes(b"content")
        assert store.find("kind", "abcdef") is None
    found = store.path("kind", "abcdef")
    assert store.find("kind", "abcdef") == found
    assert (found / "a.bin").read_bytes() == b"content"
    assert (found / "a.bin").stat().st_mode & 0o777 == 0o444
    assert store.find("other", "abcdef") is None
    assert names(found.parent) == {"abcdef"}


def test_failed_work_leaves_no_entry(tmp_path: Path) -> None:
    store = WorkStore(tmp_path)
    with pytest.raises(RuntimeError), store.building("kind", "abcdef") as folder:
        (folder / "a.bin").touch()
        raise RuntimeError
    assert store.find("kind", "abcdef") is None
    assert names(tmp_path / "kind" / "ab") == set()


def test_the_first_of_two_builders_wins_and_the_other_notices_nothing(tmp_path: Path) -> None:
    store = WorkStore(tmp_path)
    with running(BUILDER, tmp_path) as other:
        with store.building("kind", "abcdef") as folder:
            (folder / "mine").touch()
        answer, _ = other.communicate("go on\n")
        assert answer == "done\n"
        assert other.returncode == 0
    assert names(store.path("kind", "abcdef")) == {"mine"}
    assert names(tmp_path / "kind" / "ab") == {"abcdef"}


def test_a_killed_builder_leaves_no_entry_and_bars_nobody(tmp_path: Path) -> None:
    store = WorkStore(tmp_path)
    with running(BUILDER, tmp_path) as builder:
        builder.send_signal(signal.SIGKILL)
    assert store.find("kind", "abcdef") is None
    with store.building("kind", "abcdef") as folder:
        (folder / "mine").touch()
    assert names(store.path("kind", "abcdef")) == {"mine"}


def test_a_lock_bars_other_processes_until_its_holder_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "locks" / "stage.lock"
    with running(HOLDER, path) as holder:
        with pytest.raises(UserError, match="still busy"), files.exclusive_lock(path, busy="still busy"):
            pytest.fail("two holders")
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        with files.exclusive_lock(path, busy="busy"):
            pass
    with files.exclusive_lock(path, busy="busy"):
        pass
