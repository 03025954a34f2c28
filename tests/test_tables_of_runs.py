"""Tables over experiments: definitions, what fits a cell, mixed code, and what is printed and drawn."""

import json
import math
import re
import statistics
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pipeline.contract import UserError
from pipeline.params import check_params
from tests.conftest import ROOT
from train import paper
from train.commands.table import table as command
from train.schedules import ramp_up
from train.tables import experiments, locked
from train.tables.definition import PRESET, Table, build_table, names
from train.tables.experiments import Finished, full_name
from train.tables.figure3 import figure3
from train.tables.filled import fill
from train.tables.locked import LockedRun, Version, settings_of_run
from train.tables.markdown import markdown, plot
from train.tables.memory import mean_curves
from train.tables.running import command_of, experiment_name

NAMES = ["noise", "table3", "table4", "table5", "table6", "table7"]
SETS = (("demo", "1"), ("rafdb", "2"))
HERE, OLDER = Version("a" * 64, SETS), Version("b" * 64, SETS)


@pytest.fixture(autouse=True)
def at_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def run(
    table: Table, row: str, seed: int, f1: float, *, column: str = "", version: Version = HERE, commit: str = "1234567"
) -> Finished:
    """An experiment with a row's parameters, under a name that says nothing."""
    (cell,) = [cell for cell in table.of_row(row) if cell.column == column]
    scores = {"f1": f1, "accuracy": f1 / 2, "score": f1 / 3, "best_epoch_f1": 1.0}
    locked_run = LockedRun(settings=settings_of_run(table.params(cell, seed)), seed=seed, version=version, rows="")
    return Finished(name="any", commit=commit, run=locked_run, scores=scores, created=f"2026-01-01T00:00:{seed:02d}")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", ["demo", "paper"])
def test_every_run_of_every_table_has_parameters_that_are_allowed(name: str, size: str) -> None:
    table = build_table(name, size=size)  # type: ignore[arg-type]
    assert len(table.seeds) >= 3
    runs = [table.params(cell, seed) for cell in table.cells for seed in table.seeds if cell.changes is not None]
    assert len({settings_of_run(each) for each in runs}) * len(table.seeds) == len(runs)
    if table.definition.paper:
        published = {row.method for row in paper.TABLES[table.definition.paper - 1].rows}
        assert {cell.published.method for cell in table.cells if cell.published} == published


@pytest.mark.parametrize("name", NAMES)
def test_every_run_is_allowed_on_the_real_set_too(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With params/affwild2.yaml as params.yaml, which is how the size `paper` is run."""
    monkeypatch.setattr("train.tables.definition.PARAMS_FILE", ROOT / PRESET)
    table = build_table(name)
    runs = [table.params(cell, 0) for cell in table.cells if cell.changes is not None]
    assert table.size == "paper" and len({settings_of_run(each) for each in runs}) == len(runs)
    assert {(each.dataset, each.image_size, each.batch_size) for each in runs} == {("affwild2", 224, 256)}


def test_rows_are_those_of_the_paper() -> None:
    assert [cell.changes["beta"] for cell in build_table("table4").cells] == [0.1, 0.65, 1, 1.5, 2, 3, 4, 5]
    assert [cell.changes["networks"] for cell in build_table("table3").cells] == [1, 2, 3, 4]
    assert names() == NAMES
    columns = build_table("noise").columns
    assert columns == ["right labels", *(f"{rate} % by {unit}" for unit in ("segment", "frame") for rate in (20, 40))]


def test_means_deviations_and_the_papers_figures_are_printed_and_nothing_is_made_up() -> None:
    table = build_table("table4")
    values = [0.31, 0.37, 0.42]
    filled = fill(table, [run(table, "4.0", seed, f1) for seed, f1 in enumerate(values)] + [run(table, "5.0", 7, 0.5)])
    text = markdown(filled)
    row = next(line for line in text.splitlines() if line.startswith("| 4.0 |"))
    mean = sum(values) / 3
    deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / 2)
    assert f"| 4.0 | 3 | {mean:.4f} ± {deviation:.4f} | {mean / 2:.4f} ± {deviation / 2:.4f} |" in row
    assert row.endswith("| 0.4040 | 0.6378 | 0.4814 |")
    assert "| 5.0 | 1 | 0.5000 | 0.2500 |" in text
    assert "| 0.65 | 0 | missing | missing | missing | missing | 0.3780 |" in text
    assert "Missing: 21 runs" in text and "from commits 1234567" in text
    assert "| `image_size` | 48 | 224 |" in text and "`method`" not in text
    assert text.count("missing |") == 6 * 4


def test_a_cell_is_found_by_parameters_however_they_were_asked_for() -> None:
    """Table 7's second row is Table 4's row for the beta of params.yaml: one run serves both."""
    four, seven = build_table("table4"), build_table("table7")
    filled = fill(seven, [run(four, "5.0", 2, 0.4), run(four, "4.0", 2, 0.9)])
    assert filled.scores(seven.cells[1], "f1") == [0.4]
    assert len(filled.missing()) == 5
    three = build_table("table3")
    assert fill(three, [run(seven, "CE + consistency", 0, 0.4)]).scores(three.cells[2], "f1") == [0.4]


def test_the_later_of_two_equal_runs_counts_once() -> None:
    table = build_table("table4")
    first, second = run(table, "4.0", 1, 0.2), run(table, "4.0", 1, 0.3)
    later = Finished(**(vars(second) | {"created": "2026-02-01T00:00:00"}))
    assert fill(table, [later, first]).scores(table.of_row("4.0")[0], "f1") == [0.3]


def test_mixed_code_is_refused_naming_the_commits() -> None:
    table = build_table("table4")
    mixed = [run(table, "4.0", 0, 0.2), run(table, "5.0", 0, 0.3, version=OLDER, commit="7654321")]
    with pytest.raises(UserError) as caught:
        fill(table, mixed)
    assert str(caught.value) == (
        "table4: the experiments are of different code: 1 from 1234567; 1 from 7654321; choose with --commit"
    )
    assert fill(table, mixed, commit="76543210").scores(table.of_row("5.0")[0], "f1") == [0.3]
    filled = fill(table, mixed, version=HERE)
    assert filled.others == ("7654321",) and "experiments from 7654321" in markdown(filled)


def test_rows_may_learn_from_different_sets_but_each_set_is_one() -> None:
    table = build_table("table5", size="paper")
    main, rafdb, affectnet = ("affwild2", "1"), ("rafdb", "2"), ("affectnet", "3")

    def trained(row: str, *sets: tuple[str, str], commit: str = "1234567") -> Finished:
        return run(table, row, 0, 0.4, version=Version("a", tuple(sorted(sets))), commit=commit)

    rows = [trained("RAF-DB", main, rafdb), trained("AffectNet", main, affectnet), trained("MS-Celeb-1M", main)]
    assert len(fill(table, rows).missing()) == 6
    here = Version("a", tuple(sorted([main, ("rafdb", "another"), affectnet])))
    filled = fill(table, rows, version=here)
    assert filled.scores(table.of_row("AffectNet")[0], "f1") and not filled.scores(table.of_row("RAF-DB")[0], "f1")
    with pytest.raises(UserError, match="the experiments are of different shards: "):
        fill(table, [*rows, run(table, "RAF-DB", 1, 0.4, version=here, commit="7654321")])


def test_a_grid_has_a_column_a_condition() -> None:
    table = build_table("noise", only=["CE", "CCT", "40 % by segment"])
    found = [run(table, "CCT", seed, 0.5 + seed / 10, column="40 % by segment") for seed in (0, 1)]
    text = markdown(fill(table, found))
    deviation = statistics.stdev([0.5, 0.6])
    assert f"| CCT | 0.5500 ± {deviation:.4f} (2) |" in text and "| CE | missing |" in text
    assert "Co-teaching |" not in text


def test_every_value_is_in_the_plot_and_it_is_a_file_by_itself() -> None:
    table = build_table("table4")
    svg = plot(fill(table, [run(table, "4.0", seed, f1) for seed, f1 in enumerate([0.3, 0.35])]))
    assert svg.startswith("<svg ") and 'xmlns="http://www.w3.org/2000/svg"' in svg
    assert "4.0: 0.3000, 0.3500; published 0.4040" in svg and "0.65: no values; published 0.3780" in svg
    assert svg.count("<circle") == 2 and "prefers-color-scheme: dark" in svg


def test_figure_3_is_equation_4() -> None:
    text, svg = figure3(build_table("table4"))
    row = next(line for line in text.splitlines() if line.startswith("| β = 4 |"))
    expected = [0.9 * math.exp(-4 * (1 - epoch / 14) ** 2) for epoch in (0, 2, 4, 5, 7)]
    assert row == "| β = 4 | " + " | ".join(f"{value:.3f}" for value in expected) + " |"
    assert svg.count("<path") == 2 * 8  # a line and its place in the legend
    table = build_table("table4")
    falling, _ = figure3(replace(table, base=table.base | {"compat": "original", "rampup": 4}))
    row = next(line for line in falling.splitlines() if line.startswith("| β = 4 |"))
    assert row.endswith(f"| {0.9 * math.exp(-4 * (1 - 7 / 4) ** 2):.3f} |")
    assert ramp_up(7, beta=4, lambda_max=0.9, rampup=14, after_rampup="hold") == pytest.approx(expected[-1])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"name": "table9"}, "there is no table 'table9'; there are noise, table3,"),
        ({"name": "table4", "only": ["4"]}, "there is no row or column '4'; there are '0.1', '0.65',"),
    ],
)
def test_what_is_not_there_is_told_with_what_is(arguments: dict[str, object], said: str) -> None:
    with pytest.raises(UserError) as caught:
        build_table(**arguments)  # type: ignore[arg-type]
    assert str(caught.value).startswith(said) and "\n" not in str(caught.value)


def test_without_experiments_there_is_no_table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("train.commands.table.finished_experiments", list)
    with pytest.raises(UserError, match="table4: no finished experiment has its parameters; `cct table table4 --run`"):
        command("table4", out=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_commit_may_be_named_as_git_knows_it() -> None:
    head = full_name("HEAD")
    assert len(head) == 40 and full_name(head[:7]) == head
    assert full_name("no such commit") == "no such commit"


def test_experiments_from_other_commits_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made = run(build_table("table4"), "4.0", 0, 0.2, commit="aaaaaaa")
    monkeypatch.setattr("train.commands.table.finished_experiments", lambda: [made])
    with pytest.raises(UserError, match="began from bbbbbbb has its parameters, but some from aaaaaaa have"):
        command("table4", commit="bbbbbbb", out=tmp_path)


def test_names_are_stable_and_tell_runs_apart() -> None:
    table = build_table("table4")
    names_of = {experiment_name(table, cell, seed, HERE) for cell in table.cells for seed in table.seeds}
    assert len(names_of) == 24 and all(re.fullmatch(r"table4-[\d.]+-s\d-[0-9a-f]{6}", name) for name in names_of)
    cell = table.of_row("4.0")[0]
    assert experiment_name(table, cell, 0, HERE) != experiment_name(table, cell, 0, OLDER)
    asked = command_of(
        build_table("table5", size="paper"), build_table("table5", size="paper").cells[3], 1, HERE, queued=False
    )
    assert asked[-1] == "evaluate" and asked[-3:-1] == ["--copy-paths", "data/shards/rafdb"]
    assert "pretrain.dataset=rafdb" in asked and "seed=1" in asked and "--temp" in asked


def test_a_checkout_is_given_all_sets_that_are_mixed_in() -> None:
    table = build_table("table5", size="paper")
    before = {**table.base["pretrain"], "mix": {"ferplus": 0.5}}
    table = replace(table, base={**table.base, "mix": {"other": 0.2, "ferplus": 0.1}, "pretrain": before})
    asked = command_of(table, table.cells[3], 0, HERE, queued=False)
    copied = [path for option, path in pairwise(asked) if option == "--copy-paths"]
    assert copied == ["data/shards/other", "data/shards/ferplus", "data/shards/rafdb"]


def test_curves_are_means_over_runs(tmp_path: Path) -> None:
    frames = [pd.DataFrame({"flipped_fit": [0.1, 0.2], "flipped_true": [0.3, value]}) for value in (0.4, 0.6)]
    paths = [tmp_path / f"{number}.csv" for number in range(2)]
    for path, frame in zip(paths, frames, strict=True):
        frame.to_csv(path)
    curves = mean_curves(paths)
    assert curves is not None
    assert curves["flipped_fit"] == pytest.approx([0.1, 0.2]) and curves["flipped_true"] == pytest.approx([0.3, 0.5])
    frames[0].drop(columns="flipped_fit").to_csv(paths[0])
    assert mean_curves(paths[:1]) is None


def lock_of(params: dict[str, Any], *, models: str = "m") -> dict[str, object]:
    """A dvc.lock as DVC writes it, as far as it is read."""
    code = {"path": "train/loop.py", "md5": "c"}
    tracked = {key: value for key, value in params.items() if key not in ("workers", "snapshot_minutes", "pretrain")}
    shards, model = {"path": "data/shards/demo.json", "md5": "d.dir"}, {"path": "models/demo", "md5": "m"}
    rows = {"path": "results/training.csv", "md5": "r"}
    pretrain = {"params": {"params.yaml": {"pretrain": params["pretrain"]}}, "outs": []}
    tracked["pretrain.epochs"] = params["pretrain"]["epochs"]
    train = {"deps": [shards, code], "params": {"params.yaml": tracked}, "outs": [model, rows]}
    return {
        "stages": {"pretrain": pretrain, "train": train, "evaluate": {"deps": [model | {"md5": models}, shards, code]}}
    }


def test_what_a_lock_is_of_is_read_from_it_and_stale_evaluations_are_not() -> None:
    params = build_table("table4").params(build_table("table4").cells[0], 3)
    known = params.model_dump() | {"networks": None, "lr_head": 1e-05}
    text = json.dumps(lock_of({key: known[key] for key in [*type(params).__mro__[1].model_fields, "pretrain"]}))
    found = locked.locked_run(text.replace('"lr_head": 1e-05', '"lr_head": 1e-05').encode())
    assert found is not None and (found.seed, found.rows, found.version.sets) == (3, "r", (("demo", "d.dir"),))
    assert found.settings == settings_of_run(check_params(known))
    assert (
        locked.locked_run(
            text.replace('"path": "models/demo", "md5": "m"', '"path": "models/demo", "md5": "x"', 1).encode()
        )
        is None
    )
    for other in (b"", b"stages: {}", b": : not yaml", text.replace('"beta"', '"betta"').encode()):
        assert locked.locked_run(other) is None


def test_the_sets_that_a_run_learned_from_are_read_from_its_lock() -> None:
    known = build_table("table4").params(build_table("table4").cells[0], 3).model_dump()
    known |= {"mix": {"rafdb": 0.3}, "pretrain": known["pretrain"] | {"dataset": "ferplus", "mix": {"affectnet": 0.5}}}
    sets = {"mixed@rafdb": "rafdb", "mixed@old": "old", "premixed@affectnet": "affectnet", "pretrain": "ferplus"}
    for epochs, expected in ((0, ["demo", "rafdb"]), (2, ["affectnet", "demo", "ferplus", "rafdb"])):
        params = check_params(known | {"pretrain": known["pretrain"] | {"epochs": epochs}})
        lock: dict[str, Any] = lock_of(
            {key: params.model_dump()[key] for key in [*type(params).__mro__[1].model_fields, "pretrain"]}
        )
        for stage, name in sets.items():
            each = lock["stages"].setdefault(stage, {})
            each["deps"] = [{"path": f"data/shards/{name}.json", "md5": f"digest of {name}"}]
        found = locked.locked_run(json.dumps(lock).encode())
        assert found is not None and [name for name, _ in found.version.sets] == expected
        assert all(digest in ("d.dir", f"digest of {name}") for name, digest in found.version.sets)


def test_pretraining_tells_runs_apart_by_all_that_it_learns_from_and_not_at_all_without_epochs() -> None:
    cell = build_table("table4").cells[0]
    known = build_table("table4").params(cell, 0).model_dump()

    def settings(**pretrain: object) -> tuple[str, str | None]:
        """As they are asked for, and as they are read from the lock of such a run."""
        params = check_params(known | {"pretrain": known["pretrain"] | pretrain})
        keys = [*type(params).__mro__[1].model_fields, "pretrain"]
        lock = lock_of({key: params.model_dump()[key] for key in keys})
        found = locked.locked_run(json.dumps(lock).encode())
        return settings_of_run(params), found and found.settings

    asked = [
        settings(dataset="rafdb", epochs=2),
        settings(dataset="rafdb", epochs=2, mix={"affectnet": 0.3}),
        settings(dataset="rafdb", epochs=2, mix={"affectnet": 0.4}),
        settings(dataset="rafdb", epochs=3),
        settings(dataset="affectnet", epochs=2),
        settings(dataset="rafdb", epochs=0),
    ]
    assert len(set(asked)) == len(asked) and all(own == found for own, found in asked)
    assert settings(dataset="affectnet", epochs=0, mix={"rafdb": 0.3}) == asked[-1]


def test_everything_that_dvc_shows_is_looked_at_but_the_workspace() -> None:
    shown = [
        {"rev": "workspace", "data": {"rev": "workspace"}, "experiments": None},
        {
            "rev": "c0ffee",
            "name": "main",
            "data": {"rev": "c0ffee"},
            "experiments": [
                {"name": "one", "revs": [{"rev": "e1", "data": {"rev": "e1"}}]},
                {"name": "q", "revs": [{"rev": "e2", "data": None}]},
            ],
        },
    ]
    assert [(data["rev"], name, commit) for data, name, commit in experiments._entries(shown)] == [
        ("c0ffee", "main", "c0ffee"),
        ("e1", "one", "c0ffee"),
    ]


@pytest.mark.parametrize(
    "option", [{"run": True}, {"queue": True}, {"seeds": 1}, {"only": ["4.0"]}, {"commit": "HEAD"}]
)
def test_figure_3_refuses_what_concerns_runs(tmp_path: Path, option: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"^figure3 is computed and has no runs: only --size and --out concern it$"):
        command("figure3", **option, out=tmp_path)
    command("figure3", out=tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"figure3.md", "figure3.svg"}
