"""Methods on wrong labels: the last epoch's macro-F1, and how much of what is wrong is memorised (docs/noise.md).

    dvc repro shard
    python benchmarks/noise.py --out docs/noise.csv                     # runs what is missing in it, one after another
    python benchmarks/noise.py --out docs/noise.csv --methods ce cct --seeds 0 --units frame
    python benchmarks/noise.py --out docs/noise.csv --methods cct --set rampup=null
    python benchmarks/noise.py --out docs/noise.csv --show --svg docs/images

The size is that of tables/noise.yaml for `demo`, on the parameters of params.yaml; `--set` changes more, `--plain`
trains as params.yaml says (docs/demo.md). A row an epoch is written when a run is finished, so that a study that was
ended goes on where it stopped; several may write to one file. A run is a function of the shards and of what its rows
name. It is the trainer's own loop without what `make noise-table` does around it: a checkout, weights, and snapshots of
400 MB after every epoch.
"""

import argparse
import fcntl
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from pipeline.params import Params, check_params  # noqa: E402
from train.charts import line_chart, svg_file  # noqa: E402
from train.fit import fit  # noqa: E402
from train.run import prepare  # noqa: E402
from train.tables.definition import changed, read_definition  # noqa: E402
from train.tables.filled import mean_and_deviation  # noqa: E402

RUN = ["dataset", "changes", "method", "unit", "seed"]
KEPT = ["lambda", "flipped", "train_accuracy", "agree_all", "flipped_fit", "flipped_true", "val_f1", "val_accuracy"]
METHODS = ["ce", "cct", "coteaching", "jocor", "nct"]
UNITS = ["segment", "frame"]
DRAWN = ["", "rampup=null"]
LONGER = 28  # epochs
RATE = 0.4
CURVES = {"flipped_fit": "the given, wrong label", "flipped_true": "the true label"}


def main() -> None:
    """Does what is left to do; or prints tables of what is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="CSV file of what is finished")
    parser.add_argument("--shards", type=Path, default=Path("data/shards/demo"))
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--units", nargs="+", choices=("none", "segment", "frame"), default=UNITS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="beyond tables/noise.yaml")
    parser.add_argument("--plain", action="store_true", help="params.yaml as it is, without tables/noise.yaml")
    parser.add_argument("--show", action="store_true", help="run nothing; print tables as Markdown")
    parser.add_argument("--svg", type=Path, help="with --show: folder of the curves")
    options = parser.parse_args()
    if options.show:
        rows = pd.read_csv(options.out, keep_default_na=False, na_values=[""]).fillna({"changes": ""})
        plain = rows["changes"] == ""
        print("\n".join([*report(rows[plain]), "", *report(rows[~plain])]))
        for dataset, own in rows.groupby("dataset") if options.svg else ():
            (options.svg / f"noise-{dataset}.svg").write_text(curves(str(dataset), own), encoding="utf-8")
        return
    for seed, unit, method in itertools.product(options.seeds, options.units, options.methods):
        changes = " ".join((["plain"] if options.plain else []) + options.set)
        run = (options.shards.name, changes, method, unit, seed)
        if run not in _finished(options.out):
            print("noise study:", *run, file=sys.stderr, flush=True)
            training = prepare(_params(options, unit, method, seed), options.shards)
            truth, given = training.train.truth, training.train.labels
            flipped = 0.0 if truth is None else float((given != truth).mean())
            _append(options.out, run, [row | {"flipped": flipped} for row in fit(training, None)])


def _params(options: argparse.Namespace, unit: str, method: str, seed: int) -> Params:
    definition = read_definition("noise")
    own: dict[str, Any] = definition.set | definition.sizes["demo"].set
    own = {"networks": None} if options.plain else own
    own |= {"dataset": options.shards.name, "method": method, "seed": seed, "device": "cpu"}
    if unit != "none":
        own |= {"noise_kind": "symmetric", "noise_rate": RATE, "noise_unit": unit}
    own |= {key: yaml.safe_load(value) for key, value in (each.split("=", 1) for each in options.set)}
    return check_params(changed(yaml.safe_load((ROOT / "params.yaml").read_text()), own), source="noise study")


def _finished(path: Path) -> set[tuple[Any, ...]]:
    if not path.exists():
        return set()
    return set(pd.read_csv(path)[RUN].fillna("").itertuples(index=False, name=None))


def _append(path: Path, run: tuple[Any, ...], rows: list[dict[str, Any]]) -> None:
    table = pd.DataFrame(rows).reindex(columns=["epoch", *KEPT])
    for position, (name, value) in enumerate(zip(RUN, run, strict=True)):
        table.insert(position, name, value)
    with path.open("a", encoding="utf-8") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        stream.seek(0, 2)
        table.to_csv(stream, index=False, header=stream.tell() == 0, float_format="%.4f", lineterminator="\n")


def report(rows: pd.DataFrame) -> Iterator[str]:
    """Markdown: the last epoch of every condition, means and deviations over its seeds."""
    last = rows.groupby(RUN, sort=False).tail(1)
    wrong_n = last["flipped"] * last["flipped_fit"].fillna(0.0)
    last = last.assign(right=(last["train_accuracy"] - wrong_n) / (1 - last["flipped"]))
    last["apart"] = last["right"] - last["flipped_fit"]
    yield "| set | labels | method | n | macro-F1 | accuracy | right | wrong | true | right - wrong | all agree |"
    yield "|---|---|---|---|---|---|---|---|---|---|---|"
    order = {name: place for place, name in enumerate([*METHODS, "none", *UNITS])}
    groups = last.groupby(["dataset", "unit", "method", "changes"])
    for (dataset, unit, method, changes), group in sorted(
        groups, key=lambda each: (each[0][0], order[each[0][1]], order.get(each[0][2], 99), each[0][3])
    ):
        labels = "right" if unit == "none" else f"40 % by {unit}"
        measured = ("val_f1", "val_accuracy", "right", "flipped_fit", "flipped_true", "apart", "agree_all")
        told = " | ".join(_told(group[name]) for name in measured)
        yield f"| {dataset} | {labels} | {f'{method} {changes}'.strip()} | {len(group)} | {told} |"


def _told(values: "pd.Series[float]") -> str:
    if values.isna().any():
        return "–"
    mean, deviation = mean_and_deviation(values.tolist())
    return f"{mean:.3f}" if deviation is None else f"{mean:.3f} ± {deviation:.3f}"


def curves(dataset: str, rows: pd.DataFrame) -> str:
    """An SVG file: what the ensemble says of faces with a wrong label, by epoch; then the longer run's, and its F1."""
    of = "predicted for this share of the faces with a wrong label"
    panels = [
        (f"{RATE:.0%} by {unit}: {said}", _lines(rows[(rows["unit"] == unit) & rows["changes"].isin(DRAWN)], share), of)
        for unit, (share, said) in itertools.product(UNITS, CURVES.items())
    ]
    longer = rows[(rows["unit"] == "segment") & (rows["changes"] == f"epochs={LONGER} rampup=null")].assign(changes="")
    panels.append((f"by segment, {LONGER} epochs, whole ramp: wrong label", _lines(longer, "flipped_fit"), of))
    panels.append((f"by segment, {LONGER} epochs, whole ramp: macro-F1", _lines(longer, "val_f1"), "on validation"))
    charts = [_chart(title, lines, y_label) for title, lines, y_label in panels if lines]
    return svg_file(f"What is memorised, {dataset}", charts, columns=2)


def _chart(title: str, lines: dict[str, list[float]], y_label: str) -> tuple[str, str]:
    epochs = list(range(max(map(len, lines.values()))))
    return title, line_chart(epochs, lines, title=title, x_label="epoch", y_label=y_label)


def _lines(rows: pd.DataFrame, column: str) -> dict[str, list[float]]:
    """A column by epoch, means over seeds, of every method and change."""
    means = rows.groupby(["changes", "method", "epoch"])[column].mean().unstack("epoch")
    names = sorted(means.index, key=lambda name: (DRAWN.index(name[0]), METHODS.index(name[1])))
    return {f"{method} {changes}".strip(): means.loc[(changes, method)].tolist() for changes, method in names}


if __name__ == "__main__":
    main()
