"""The audit of labels against known noise on the demo set: what it flags, how it ranks, whether mending helps.

    dvc repro shard
    python benchmarks/audit.py --work data/work/audit-study --seeds 0
    python benchmarks/audit.py --work data/work/audit-study --seeds 0 1 2 | grep '^|'     # as in docs/audit.md

A fifth of the stretches is given a wrong label: one drawn evenly (symmetric), or as people confuse expressions
(confusion). For each seed the demo's training is done on them, and for each fold once more without its videos; then the
stretches that are ranked first, as many as were made wrong, get their true labels back, and the training is done again.
Four trainings a kind and seed, some minutes each on two cores. Everything finished is kept in the work folder, and a
run that was ended goes on where it stopped.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from cleanlab.rank import get_label_quality_scores  # noqa: E402

from pipeline.params import Params, load_params  # noqa: E402
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

RATE = 0.2
KINDS = ("symmetric", "confusion")
CLEANLAB = ("self_confidence", "normalized_margin", "confidence_weighted_entropy")
CONFUSED = {0: (5, 1), 1: (2, 0), 2: (1, 5), 3: (6, 5), 4: (0, 6), 5: (0, 2), 6: (3, 4)}
"""For each class (in the contract's order) the two that people take it for most, the first twice as often."""


def main() -> None:
    """Does what is left to do, then prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder of what is finished")
    parser.add_argument("--shards", type=Path, default=Path("data/shards/demo"))
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--image-size", type=int, default=48, help="pixels a side")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--folds", type=int, default=2)
    rankings = ("last", "epochs", "folds")
    parser.add_argument(
        "--mend", nargs="*", choices=rankings, default=["folds"], help="what the ranking by these finds"
    )
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    os.environ["CCT_STORE"] = str(options.work / "store")
    studies = [_study(options, kind, seed) for seed in options.seeds for kind in options.kinds]
    for line in report(studies):
        print(line)


def _study(options: argparse.Namespace, kind: str, seed: int) -> dict[str, Any]:
    """One kind of noise and seed: labels, opinions, and scores with wrong and with mended labels."""
    params = load_params(ROOT / "params.yaml").model_copy(
        update={"seed": seed, "image_size": options.image_size, "epochs": options.epochs, "device": "cpu"}
    )
    noisy = params.model_copy(update=_noise(kind, options.work))
    name = f"{kind}-{seed}-{options.image_size}px-{options.epochs}e-{options.folds}f"
    first = _trained(options, noisy, f"{name}-noisy")
    samples = prepare(noisy, options.shards).train.reader.samples.copy()
    truth = samples["label"].to_numpy(np.int64)
    samples["label"] = first["labels"]
    path = options.work / f"{name}-folds.npy"
    if not path.exists():
        shards = OpenedSet(folder=options.shards, feed=None)
        np.save(path, said_from_outside(noisy, shards, samples, options.folds))
    opinions = {"in": Opinion.of(first["said"]), "out": Opinion.of(np.load(path))}
    found = {
        "last": judged(samples, opinions["in"], first["margin"]),
        "epochs": judged(samples, opinions["in"], first["margin"], ranking="epochs"),
        "folds": judged(samples, opinions["out"]),
    }
    study = {"kind": kind, "seed": seed, "samples": samples, "truth": truth, "opinions": opinions, "found": found}
    scores = {"noisy": first["val_f1"][-1]}
    for ranking in options.mend:
        mended = _mended(study, ranking)
        listed = options.work / f"{name}-{ranking}.csv"
        samples[["key"]].assign(label=mended).to_csv(listed, index=False)
        again = params.model_copy(update={"noise_kind": "list", "noise_list": str(listed)})
        scores[ranking] = _trained(options, again, f"{name}-mended-{ranking}")["val_f1"][-1]
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


def _said(run: Run) -> np.ndarray:
    params, learner = run.params, run.learner
    faces = Faces(reader=run.train.reader, labels=run.train.labels, image_size=params.image_size, seed=params.seed)
    stream = Stream(faces, workers=0)
    return predict_split(
        learner.networks, stream, len(run.train.labels), batch_size=params.batch_size, compute=learner.compute
    )


def _mended(study: dict[str, Any], ranking: str) -> np.ndarray:
    """The given labels, with the true ones in the stretches ranked first: a fifth of all stretches."""
    found, given = study["found"][ranking], study["samples"]["label"].to_numpy()
    ranked = found.groupby("stretch")["score"].first().sort_values(ascending=False, kind="stable").index
    chosen = found["stretch"].isin(ranked[: round(RATE * len(ranked))]).to_numpy()
    mended: np.ndarray = np.where(chosen, study["truth"], given)
    return mended


def _rankings(study: dict[str, Any]) -> Iterator[tuple[str, np.ndarray]]:
    """Every ranking of the samples, by name; high is suspect."""
    labels, found = study["samples"]["label"].to_numpy(), study["found"]
    yield "ours, last epoch, by stretch", found["last"]["score"].to_numpy()
    yield "ours, over the epochs, by stretch", found["epochs"]["score"].to_numpy()
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


def report(studies: list[dict[str, Any]]) -> Iterator[str]:
    """Lines of Markdown: means over the seeds of each kind of noise."""
    rows: list[dict[str, Any]] = []
    for study in studies:
        wrong = study["samples"]["label"].to_numpy() != study["truth"]
        common = {"kind": study["kind"], "seed": study["seed"]}
        for name, score in _rankings(study):
            rows.append(common | {"row": name, "measure": "AUROC", "value": roc_auc_score(wrong, score)})
        flags = {name: found["flagged"].to_numpy(bool) for name, found in study["found"].items()}
        flags["confident learning, last epoch"] = study["found"]["last"]["confident"].to_numpy(bool)
        flags["confident learning, folds"] = study["found"]["folds"]["confident"].to_numpy(bool)
        for name, flagged in flags.items():
            right = float((flagged & wrong).sum())
            rows.append(common | {"row": name, "measure": "precision", "value": right / max(1, flagged.sum())})
            rows.append(common | {"row": name, "measure": "recall", "value": right / wrong.sum()})
        for name, value in study["scores"].items():
            rows.append(common | {"row": f"trained, {name}", "measure": "macro-F1", "value": float(value)})
    table = pd.DataFrame(rows)
    seeds = table["seed"].nunique()
    yield f"| what | measure | {' | '.join(f'{kind}, {seeds} seeds' for kind in table['kind'].unique())} |"
    yield "|---|---|" + "---|" * table["kind"].nunique()
    for (measure, name), group in table.groupby(["measure", "row"], sort=False):
        cells = [group.loc[group["kind"] == kind, "value"] for kind in table["kind"].unique()]
        yield f"| {name} | {measure} | {' | '.join(f'{c.mean():.3f}' for c in cells)} |"


if __name__ == "__main__":
    main()
