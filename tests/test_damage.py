"""Every kind of bad input and of damage: it is told, it is counted, it stops nobody else. See docs/damage.md."""

import os
import unicodedata
from pathlib import Path

import pytest

from pipeline.contract import Drop, UserError
from pipeline.overrides import CHANGES
from pipeline.params import Params
from pipeline.shards.verification import require_verified
from tests.damaged_raw import FINE, HEALTHY, RAW_CASES, RUN_CASES, Outcome, RawCase, RunCase, build, make_raw, seen
from tests.damaged_shards import SHARD_CASES, ShardCase

ROOT = Path(__file__).parent.parent


class Messy:
    """The raw set of every case, what became of it, and what became of its healthy part alone."""

    def __init__(self, folder: Path, params: Params) -> None:
        self.raw = folder / "messy/raw"
        self.names = make_raw(self.raw, RAW_CASES)
        make_raw(folder / "clean/raw", [])
        self.clean = build(folder / "clean", params)
        self.outcome = build(folder / "messy", params)


@pytest.fixture(scope="module")
def messy(tmp_path_factory: pytest.TempPathFactory, params: Params) -> Messy:
    return Messy(tmp_path_factory.mktemp("damage"), params)


def of_healthy(outcome: Outcome) -> dict[str, str]:
    return {key: digest for key, digest in outcome.pictures.items() if key.startswith(tuple(HEALTHY))}


@pytest.mark.slow
def test_the_others_are_as_if_the_bad_ones_were_not_there(messy: Messy) -> None:
    assert of_healthy(messy.outcome) == of_healthy(messy.clean) != {}


@pytest.mark.slow
@pytest.mark.parametrize("case", RAW_CASES, ids=lambda case: case.kind)
def test_each_kind_of_bad_input_is_told(messy: Messy, case: RawCase) -> None:
    told = seen(messy.outcome, messy.names[case.kind])
    if case.reason != FINE:
        assert any(line.startswith(f"`{case.reason}`") for line in told), told
    elif not case.said:
        assert all(not line.startswith("`") for line in told), told
    assert any(case.said in line for line in told), told


@pytest.mark.slow
def test_every_row_of_every_annotation_is_a_sample_or_has_a_reason(messy: Messy) -> None:
    """Counted here from the files, not by the reader: rows = samples + drops, a file."""
    outcome = messy.outcome
    checked = 0
    unreadable = outcome.drops[(outcome.drops["reason"] == Drop.ANNOTATION_UNREADABLE) & (outcome.drops["frames"] == 0)]
    for path in sorted((messy.raw / "annotations").rglob("*.txt")):
        split = {"Train_Set": "train", "Validation_Set": "val"}[path.parent.name]
        if not path.is_file() or path.stem in set(unreadable["trial"]):
            continue
        content = path.read_bytes()
        text = content.decode("utf-16") if content.startswith(b"\xff\xfe") else content.decode("latin-1")
        rows = len(text.rstrip().splitlines()) - any(letter.isalpha() for letter in text.splitlines()[0].strip("ï»¿"))
        trial = named(path.stem)
        drops, samples = outcome.drops, outcome.samples
        lost = drops[(drops["trial"].map(named) == trial) & (drops["split"] == split)]["frames"].sum()
        kept = ((samples["trial"].map(named) == trial) & (samples["split"] == split)).sum()
        if "Zo" in trial:
            rows *= 2  # two spellings of one name
        assert rows == kept + lost, trial
        checked += 1
    assert checked > 40
    assert len(outcome.samples) == len(outcome.pictures)


def named(text: str) -> str:
    """A name that compares equal in every spelling of it."""
    return unicodedata.normalize("NFC", os.fsencode(text).decode(errors="backslashreplace"))


@pytest.mark.slow
@pytest.mark.parametrize("case", RUN_CASES, ids=lambda case: case.kind)
def test_what_stops_a_run_is_told_in_one_line(tmp_path: Path, params: Params, case: RunCase) -> None:
    with pytest.raises(UserError) as caught:
        case.run(tmp_path, params)
    assert case.said in str(caught.value) and "\n" not in str(caught.value)
    assert {path.name for path in tmp_path.glob("results/*")} <= {CHANGES.name}  # of the index, which went well


@pytest.mark.parametrize("case", SHARD_CASES, ids=lambda case: case.kind)
def test_each_kind_of_damage_is_told_and_training_refuses(folder: Path, case: ShardCase) -> None:
    """The file is named with what to run; nothing else is said of the shards that are whole."""
    case.make(folder)
    with pytest.raises(UserError) as refused:
        require_verified(folder)
    line = str(refused.value)
    assert line.startswith(str(folder / case.named)) and case.said in line and "`dvc " in line
    assert "\n" not in line
    assert ("(and 1 more)" in line) == (case.kind == "two shards swapped")


def test_the_page_of_damage_has_every_kind() -> None:
    page = (ROOT / "docs/damage.md").read_text()
    assert [kind for kind in kinds() if f"\n| {kind} |" not in page] == []
    assert len(kinds()) == len(set(kinds())) >= 100


def kinds() -> list[str]:
    return [case.kind for cases in (RAW_CASES, RUN_CASES, SHARD_CASES) for case in cases]
