"""The audit of labels against known noise on the demo set: what it flags, how it ranks, whether mending helps.

    dvc repro shard
    python benchmarks/audit.py --out docs/audit.csv              # does what is missing in it, as in docs/audit.md
    python benchmarks/audit.py --out docs/audit.csv --kinds symmetric --seeds 3 4
    python benchmarks/audit.py --out docs/audit.csv --show

A fifth of the stretches is given a wrong label: one drawn evenly (symmetric), or as people confuse expressions
(confusion). For each seed a training is done on them, and for each fold once more without its videos; then somebody
who knows the truth goes through the first stretches of the ranking (`--reviewed`, of all) and corrects those that are
wrong, and the training is done again; and once with all labels right, the most that correcting could bring. A kind and
seed that is finished is kept in `--out`, each of its trainings in `--work`: what was ended goes on where it stopped.
Several may run side by side, each with a work folder of its own.
"""

import argparse
import fcntl
import itertools
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from sklearn.metrics import roc_auc_score

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from cleanlab.rank import get_label_quality_scores  # noqa: E402

from pipeline.params import Params, check_params  # noqa: E402
from pipeline.store import work_store  # noqa: E402
from pipeline.streaming.opening import OpenedSet  # noqa: E402
from train.audit import Opinion, judged, pooled, suspicion  # noqa: E402
from train.fit import fit  # noqa: E402
from train.folds import said_from_outside  # noqa: E402
from train.history import read_course  # noqa: E402
from train.loop import predict_split  # noqa: E402
from train.run import Run, prepare, run_key  # noqa: E402
from train.snapshots import Snapshots  # noqa: E402
from train.stream import Faces, Stream  # noqa: E402
from train.tables.definition import changed  # noqa: E402
from train.tables.filled import mean_and_deviation  # noqa: E402

STUDY = ["size", "kind", "seed"]
RATE = 0.2
KINDS = ("symmetric", "confusion")
SIZE = ["image_size=48", "batch_size=32", "epochs=14", "rampup=28"]
"""Parameters of the trainings, unless told otherwise: long enough to memorise wrong labels (docs/noise.md)."""
CLEANLAB = ("self_confidence", "normalized_margin", "confidence_weighted_entropy")
CONFUSED = {0: (5, 1), 1: (2, 0), 2: (1, 5), 3: (6, 5), 4: (0, 6), 5: (0, 2), 6: (3, 4)}
"""For each class (in the contract's order) the two that people take it for most, the first twice as often."""


def main() -> None:
    """Does what is left to do, then prints a table; or prints it of what is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="CSV file of what is finished")
    parser.add_argument("--work", type=Path, default=Path("data/work/audit-study"), help="folder of what is not")
    parser.add_argument("--shards", type=Path, default=Path("data/shards/demo"))
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--set", nargs="*", default=SIZE, metavar="KEY=VALUE", help="beyond params.yaml")
    parser.add_argument("--folds", type=int, default=0, help="also ask networks that have not seen the video")
    rankings = ("last", "epochs", "folds")
    parser.add_argument("--mend", nargs="*", choices=rankings, default=["epochs"], help="rankings to go through")
    parser.add_argument("--reviewed", type=float, default=0.4, help="share of all stretches that is gone through")
    parser.add_argument("--show", action="store_true", help="run nothing; print tables as Markdown")
    options = parser.parse_args()
    os.environ["CCT_STORE"] = str(options.work / "store")
    more = [f"folds={options.folds}"] if options.folds else []
    more += [f"mend={ranking}" for ranking in options.mend] if options.mend != ["epochs"] else []
    size = " ".join([*options.set, *more, f"reviewed={options.reviewed:g}"])
    for seed, kind in () if options.show else itertools.product(options.seeds, options.kinds):
        if (size, kind, seed) not in _finished(options.out):
            options.work.mkdir(parents=True, exist_ok=True)
            _append(options.out, (size, kind, seed), measured(_study(options, kind, seed)))
    if options.out.exists():
        print("\n".join(report(pd.read_csv(options.out))))


def _finished(path: Path) -> set[tuple[Any, ...]]:
    return set(pd.read_csv(path)[STUDY].itertuples(index=False, name=None)) if path.exists() else set()


def _append(path: Path, study: tuple[Any, ...], rows: list[tuple[str, str, float]]) -> None:
    table = pd.DataFrame([(*study, *row) for row in rows], columns=[*STUDY, "measure", "what", "value"])
    with path.open("a", encoding="utf-8") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        stream.seek(0, 2)
        table.to_csv(stream, index=False, header=stream.tell() == 0, float_format="%.4f", lineterminator="\n")


def _study(options: argparse.Namespace, kind: str, seed: int) -> dict[str, Any]:
    """One kind of noise and seed: labels, opinions, and scores with wrong and with mended labels."""
    changes = {key: yaml.safe_load(value) for key, value in (each.split("=", 1) for each in options.set)}
    written = changed(yaml.safe_load((ROOT / "params.yaml").read_text()), changes | {"seed": seed, "device": "cpu"})
    params = check_params(written, source="audit study")
    noisy = params.model_copy(update=_noise(kind, options.work))
    size = "-".join(options.set)
    name = f"{kind}-{seed}-{size}"
    first = _trained(options, noisy, f"{name}-noisy")
    samples = prepare(noisy, options.shards).train.reader.samples.copy()
    truth = samples["label"].to_numpy(np.int64)
    samples["label"] = first["labels"]
    opinions = {"in": Opinion.of(first["said"])}
    found = {
        "last": judged(samples, opinions["in"], first["margin"]),
        "epochs": judged(samples, opinions["in"], first["margin"], ranking="epochs"),
    }
    if options.folds:
        opinions["out"] = Opinion.of(_said_from_outside(options, noisy, samples, name))
        found["folds"] = judged(samples, opinions["out"])
    study: dict[str, Any] = {"kind": kind, "seed": seed, "samples": samples, "truth": truth}
    study |= {"opinions": opinions, "found": found, "left": {}}
    scores = {
        "wrong labels": first["val_f1"][-1],
        "all labels right": _trained(options, params, f"{seed}-{size}-right")["val_f1"][-1],
    }
    for ranking in options.mend:
        mended = _mended(study, ranking, options.reviewed)
        study["left"][f"corrected by {ranking}"] = float((mended != truth).mean())
        listed = options.work / f"{name}-{ranking}-{options.reviewed}.csv"
        samples[["key"]].assign(label=mended).to_csv(listed, index=False)
        again = params.model_copy(update={"noise_kind": "list", "noise_list": str(listed)})
        mended_f1 = _trained(options, again, f"{name}-mended-{ranking}-{options.reviewed}")["val_f1"]
        scores[f"corrected by {ranking}"] = mended_f1[-1]
    return study | {"scores": scores}


def _noise(kind: str, work: Path) -> dict[str, Any]:
    if kind == "symmetric":
        return {"noise_kind": kind, "noise_rate": RATE, "noise_unit": "segment"}
    matrix = np.eye(len(CONFUSED)) * (1 - RATE)
    for label, (often, sometimes) in CONFUSED.items():
        matrix[label, often], matrix[label, sometimes] = 2 * RATE / 3, RATE / 3
    path = work / "confusion.csv"
    np.savetxt(path, matrix, delimiter=",")
    return {"noise_kind": kind, "noise_matrix": str(path), "noise_unit": "segment"}


def _trained(options: argparse.Namespace, params: Params, name: str) -> dict[str, Any]:
    """What a training came to: given labels, what its networks say of them, their margins, the last macro-F1."""
    path = options.work / f"{name}.npz"
    if not path.exists():
        print(f"audit study: {name}", file=sys.stderr, flush=True)
        run = prepare(params, options.shards)
        snapshots = Snapshots(work_store(), run_key(run))
        rows = fit(run, options.work / "model", snapshots=snapshots)
        margin = read_course(options.work / "model", len(run.train.labels)).margin_n
        partial = path.with_suffix(".partial.npz")
        np.savez(
            partial, labels=run.train.labels, said=_said(run), margin=margin, val_f1=[row["val_f1"] for row in rows]
        )
        partial.rename(path)
        snapshots.drop()
    with np.load(path) as found:
        return {key: found[key] for key in found.files}


def _said_from_outside(options: argparse.Namespace, params: Params, samples: pd.DataFrame, name: str) -> np.ndarray:
    path = options.work / f"{name}-{options.folds}-folds.npy"
    if not path.exists():
        shards = OpenedSet(folder=options.shards, feed=None)
        np.save(path, said_from_outside(params, shards, samples, options.folds))
    said: np.ndarray = np.load(path)
    return said


def _said(run: Run) -> np.ndarray:
    params, learner = run.params, run.learner
    faces = Faces(reader=run.train.reader, labels=run.train.labels, image_size=params.image_size, seed=params.seed)
    stream = Stream(faces, workers=0)
    return predict_split(
        learner.networks, stream, len(run.train.labels), batch_size=params.batch_size, compute=learner.compute
    )


def _mended(study: dict[str, Any], ranking: str, reviewed: float) -> np.ndarray:
    """The given labels, with the true ones in the stretches ranked first, so large a share of all stretches."""
    found, given = study["found"][ranking], study["samples"]["label"].to_numpy()
    ranked = found.groupby("stretch")["score"].first().sort_values(ascending=False, kind="stable").index
    chosen = found["stretch"].isin(ranked[: round(reviewed * len(ranked))]).to_numpy()
    mended: np.ndarray = np.where(chosen, study["truth"], given)
    return mended


def _rankings(study: dict[str, Any]) -> Iterator[tuple[str, np.ndarray]]:
    """Every ranking of the samples, by name; high is suspect."""
    labels, found = study["samples"]["label"].to_numpy(), study["found"]
    yield "ours, last epoch, by stretch", found["last"]["score"].to_numpy()
    yield "ours, over the epochs, by stretch", found["epochs"]["score"].to_numpy()
    if "folds" in found:
        yield "ours, folds, by stretch", found["folds"]["score"].to_numpy()
    for place, opinion in study["opinions"].items():
        words = {"in": "last epoch", "out": "folds"}[place]
        yield f"ours, {words}, single faces", suspicion(opinion.probabilities_nc, opinion.votes_nc, labels)
        probabilities_nc = opinion.probabilities_nc / opinion.probabilities_nc.sum(1, keepdims=True)
        for method in CLEANLAB:
            score = 1 - get_label_quality_scores(labels, probabilities_nc, method=method)
            yield f"cleanlab {method}, {words}", score
            stretch_n = found["last"]["stretch"].to_numpy()
            yield f"cleanlab {method}, {words}, mean of the stretch", pooled(score[:, None], stretch_n)[:, 0]


def measured(study: dict[str, Any]) -> list[tuple[str, str, float]]:
    """Measure, what is measured, and the figure."""
    wrong = study["samples"]["label"].to_numpy() != study["truth"]
    rows = [("AUROC", name, float(roc_auc_score(wrong, score))) for name, score in _rankings(study)]
    flags = {name: found["flagged"].to_numpy(bool) for name, found in study["found"].items()}
    places = {"last": "last epoch", "folds": "folds"}
    for name in [name for name in places if name in study["found"]]:
        flags[f"confident learning, {places[name]}"] = study["found"][name]["confident"].to_numpy(bool)
    for name, flagged in flags.items():
        right = float((flagged & wrong).sum())
        rows += [("precision", name, right / max(1, flagged.sum())), ("recall", name, right / wrong.sum())]
        rows.append(("faces flagged", name, float(flagged.sum())))
    rows += [("wrong among the first", name, share) for name, share in _first_stretches(study)]
    left = {"given": float(wrong.mean())} | study["left"]
    rows += [("share of labels wrong", name, share) for name, share in left.items()]
    return rows + [("macro-F1", name, float(score)) for name, score in study["scores"].items()]


def report(table: pd.DataFrame) -> Iterator[str]:
    """Lines of Markdown: means and deviations over the seeds, a table for each size."""
    for size, own in table.groupby("size", sort=False):
        kinds = own.groupby("kind", sort=False)["seed"].nunique()
        yield f"\n{size}\n"
        yield f"| measure | what | {' | '.join(f'{kind}, seeds: {seeds}' for kind, seeds in kinds.items())} |"
        yield "|---|---|" + "---|" * len(kinds)
        for (measure, what), group in own.groupby(["measure", "what"], sort=False):
            cells = [group.loc[group["kind"] == kind, "value"] for kind in kinds.index]
            yield f"| {measure} | {what} | {' | '.join(_told(cell) for cell in cells)} |"


def _first_stretches(study: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """Of the stretches ranked first by the course of training, how many have a wrong label."""
    found = study["found"]["epochs"].assign(wrong=study["samples"]["label"].to_numpy() != study["truth"])
    ranked = found.groupby("stretch").agg(score=("score", "first"), wrong=("wrong", "first"))
    ranked = ranked.sort_values("score", ascending=False, kind="stable")
    for count in (10, 20, 40):
        yield f"{count} stretches", float(ranked["wrong"].iloc[:count].mean())
    yield "all stretches", float(ranked["wrong"].mean())


def _told(values: "pd.Series[float]") -> str:
    if values.empty:
        return "–"
    mean, deviation = mean_and_deviation(values.tolist())
    return f"{mean:.3f}" if deviation is None else f"{mean:.3f} ± {deviation:.3f}"


if __name__ == "__main__":
    main()
