"""`cct store`: what it lists, checks and removes, and above all what it never removes."""

import json
import math
import os
import random
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from pipeline import files
from pipeline.contract import UserError
from pipeline.pruning import read_size, read_time, removable
from pipeline.sealed import damage
from pipeline.store import Entry, WorkStore
from tests.test_files import running
from tests.test_store import IN_USE, build, overwrite
from train.cli import app

DAY_S = 86_400
PRUNER = """
import os, sys
from pipeline.commands.store import prune
os.environ["CCT_STORE"] = sys.argv[1]
print("ready", flush=True)
prune(older_than="1d")
"""


@dataclass(frozen=True)
class Answer:
    """What the command wrote and how it ended."""

    code: int
    text: str
    error: str


def cct(*arguments: str) -> Answer:
    result = CliRunner().invoke(app, ["store", *arguments])
    if isinstance(result.exception, UserError):
        return Answer(1, result.stdout, f"{result.stderr}{result.exception}")
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return Answer(result.exit_code, result.stdout, result.stderr)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WorkStore:
    """The store of a project at hand, with an entry of 1,000 bytes and a listing a day, the youngest of now."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CCT_STORE", raising=False)
    store = WorkStore(Path("data/work"))
    for age in range(5):
        entry = build(store, f"{age:06x}", kind="faces", content={"a": bytes(1000)})
        os.utime(entry, (time.time() - age * DAY_S,) * 2)
    return store


def ages(store: WorkStore) -> list[int]:
    return [int(entry.key, 16) for entry in store.entries()]


def test_a_list_has_kinds_counts_sizes_and_last_use(store: WorkStore) -> None:
    build(store, kind="frames", content={"b": bytes(5000)})
    lines = {line.split()[0]: line.split()[1:] for line in cct("list").text.splitlines()[1:]}
    assert [(kind, line[0], line[3]) for kind, line in lines.items()] == [
        ("faces", "5", "0"),
        ("frames", "1", "0"),
        ("all", "6", "0"),
    ]
    listed = json.loads(cct("list", "--json").text)
    sizes = {entry.key: entry.size_bytes for entry in store.entries()}
    assert {line["key"]: line["bytes"] for line in listed} == sizes
    assert sizes["000000"] > 1000
    assert lines["frames"][1:3] == [f"{sizes['abcdef'] / 1000:.1f}", "kB"]


def test_a_project_without_a_store_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for command in (["list"], ["verify"], ["prune"], ["prune", "--unused"]):
        assert cct(*command).code == 0
    assert not (tmp_path / "data").exists()


def test_verify_names_what_no_run_would_notice_and_removes_it_on_demand(store: WorkStore) -> None:
    assert cct("verify").code == 0
    overwrite(store.path("faces", "000003") / "a", b"\1" + bytes(999), same_time=True)
    assert store.find("faces", "000003") is not None
    found = cct("verify")
    assert found.code == 1
    assert "000003: the content of a is not what was written" in found.error
    assert "cct store verify --remove" in found.error
    assert ages(store) == [0, 1, 2, 3, 4]
    assert cct("verify", "--remove").code == 0
    assert ages(store) == [0, 1, 2, 4]
    assert cct("verify").code == 0


def test_prune_without_conditions_takes_leftovers_only(store: WorkStore) -> None:
    (store.root / "unfinished" / "left").mkdir()
    answer = cct("prune")
    assert answer.code == 0
    assert ages(store) == [0, 1, 2, 3, 4]
    assert list((store.root / "unfinished").iterdir()) == []


@pytest.mark.parametrize(
    ("conditions", "stay"),
    [
        (["--older-than", "36h"], [0, 1]),
        (["--keep-size", "3700B"], [0, 1, 2]),
        (["--keep-size", "3700B", "--older-than", "84h"], [0, 1, 2, 3]),
        (["--keep-size", "0B"], []),
        (["--unused"], [0, 1, 2, 3, 4]),
    ],
)
def test_prune_takes_the_least_recently_used_that_meet_all_conditions(
    store: WorkStore, conditions: list[str], stay: list[int]
) -> None:
    dry = cct("prune", *conditions, "--dry-run")
    assert ages(store) == [0, 1, 2, 3, 4]
    wet = cct("prune", *conditions)
    assert ages(store) == stay
    assert dry.text.replace("would be ", "").replace("would ", "") == wet.text
    assert wet.text.startswith(f"{5 - len(stay)} entr")


@pytest.mark.slow
def test_a_killed_prune_leaves_whole_entries_and_a_later_one_the_rest(store: WorkStore, tmp_path: Path) -> None:
    kills = 16
    moments, struck = random.Random(kills), 0
    for turn in range(kills):
        for number in range(40):
            build(store, f"{number:06x}")
        linked = store.path("kind", "000007")
        (tmp_path / f"linked-{turn}").hardlink_to(linked / "a.bin")
        for entry in store.entries():
            os.utime(entry.folder, (0, 0))
        inode = (linked / "a.bin").stat().st_ino
        with running(PRUNER, store.root) as pruner:
            time.sleep(moments.uniform(0, 0.02))
            pruner.kill()
            pruner.communicate()
        left = [entry.folder for entry in store.entries()]
        struck += 1 < len(left) < 40
        assert linked in left
        assert all(damage(folder, thorough=True) is None for folder in left)
        assert cct("prune", "--older-than", "1d").code == 0
        assert [entry.folder for entry in store.entries()] == [linked]
        assert not list((store.root / "unfinished").iterdir())
        assert (linked / "a.bin").stat().st_ino == inode
    print(f"{struck} of {kills} struck between the first and the last removal")
    assert struck


def test_what_is_linked_stays_and_what_is_older_than_all_of_it_is_unused(store: WorkStore) -> None:
    files.link_or_copy(store.path("faces", "000002") / "a", Path("linked"))
    answer = cct("prune", "--unused")
    assert ages(store) == [0, 1, 2]
    assert answer.text.startswith("2 entries")
    full = cct("prune", "--keep-size", "0B")
    assert ages(store) == [2]
    assert full.code == 1
    assert "still larger than 0B" in full.error


def test_unused_is_refused_for_a_shared_store(store: WorkStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CCT_STORE", str(store.root))
    answer = cct("prune", "--unused")
    assert answer.code == 1
    assert "CCT_STORE" in answer.error


def test_what_a_run_uses_stays_while_it_works(store: WorkStore) -> None:
    with running("import sys\n" + IN_USE, store.root):
        for key in ("000001", "000004"):
            assert store.find("faces", key) is not None
        build(store, "00000a", kind="faces")
        cct("prune", "--keep-size", "0B")
        assert ages(store) == [1, 4, 10]
    cct("prune", "--keep-size", "0B")
    assert ages(store) == []


@pytest.mark.parametrize(
    ("command", "names"),
    [
        (["prune", "--older-than", "30"], ["'30'", "30d"]),
        (["prune", "--older-than", "x d"], ["'x d'", "30d"]),
        (["prune", "--keep-size", "5 GBB"], ["'5 GBB'", "50GB"]),
        (["prune", "--keep-size", "-5GB"], ["'-5GB'"]),
    ],
)
def test_a_typo_removes_nothing(store: WorkStore, command: list[str], names: list[str]) -> None:
    answer = cct(*command)
    assert answer.code == 1
    assert all(name in answer.error for name in names)
    assert ages(store) == [0, 1, 2, 3, 4]


def test_sizes_and_times_are_read_as_written() -> None:
    assert [read_size(text) for text in ("1B", "1.5 kB", "2KB", "50GB")] == [1, 1500, 2000, 50 * 10**9]
    assert [read_time(text) for text in ("90m", "1.5h", "2d", "1w")] == [5400, 5400, 2 * DAY_S, 7 * DAY_S]


def entry(number: int, kind: str, last_use_s: int, size_bytes: int, is_linked: bool) -> Entry:
    key = f"{number:06x}"
    return Entry(
        kind=kind, key=key, folder=Path(kind, key), size_bytes=size_bytes, last_use_s=last_use_s, is_linked=is_linked
    )


some_entries = st.lists(
    st.tuples(st.sampled_from("ab"), st.integers(0, 20), st.integers(0, 100), st.booleans()), max_size=12
).map(lambda values: [entry(number, *value) for number, value in enumerate(values)])


@given(
    entries=some_entries,
    runs_began_s=st.lists(st.integers(0, 20), max_size=2),
    used_before_s=st.one_of(st.just(math.inf), st.integers(0, 20)),
    keep_bytes=st.one_of(st.none(), st.integers(0, 600)),
    unused=st.booleans(),
)
def test_choosing_what_may_go(
    entries: list[Entry],
    runs_began_s: list[float],
    used_before_s: float,
    keep_bytes: int | None,
    unused: bool,
) -> None:
    def choose(keep_bytes: int | None) -> list[Entry]:
        return removable(
            entries, runs_began_s=runs_began_s, used_before_s=used_before_s, keep_bytes=keep_bytes, unused=unused
        )

    chosen, free = choose(keep_bytes), choose(None)
    assert all(not each.is_linked and each.last_use_s < used_before_s for each in chosen)
    assert all(each.last_use_s < began for each in chosen for began in runs_began_s)
    assert [each.last_use_s for each in chosen] == sorted(each.last_use_s for each in chosen)
    assert chosen == free[: len(chosen)]
    if unused:
        linked = [each for each in entries if each.is_linked]
        assert linked or not chosen
        assert all(each.last_use_s < other.last_use_s for each in chosen for other in linked if other.kind == each.kind)
    if keep_bytes is not None:
        rest = sum(each.size_bytes for each in entries) - sum(each.size_bytes for each in chosen)
        assert rest <= keep_bytes or chosen == free
        if chosen:
            assert rest + chosen[-1].size_bytes > keep_bytes
