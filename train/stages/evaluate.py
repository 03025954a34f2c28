"""Stage evaluate: the trained networks on the validation split; scores, intervals, predictions, confusion."""

from typing import Any, Literal

from pipeline import files, tables
from pipeline.contract import RESULTS, STILL_LAYOUTS, Paths
from pipeline.params import Params
from pipeline.shards.manifest import read_manifest
from pipeline.shards.mixed import other_sets
from pipeline.stage import run_stage
from pipeline.streaming.opening import OpenedSet, opened
from train.by_source import source_block, source_lines
from train.evaluate import Predictions, confusion_rows, evaluation, headline, prediction_rows
from train.scoreboard import beside_paper
from train.trained import said


def evaluate(params: Params) -> None:
    """Scores the last epoch's networks (the headline) and the best epoch's, beside the paper's figures."""
    paths = Paths(dataset=params.dataset)
    description = files.read_json(paths.models / "model.json")
    with opened(params, paths.shards) as shards:
        shards.require_verified()
        last = _predictions(params, paths, shards, "last")
        is_best = description["best_epoch"] == description["epochs"] - 1
        best = last if is_best else _predictions(params, paths, shards, "best")
        layout = read_manifest(shards.folder)["params"]["index"]["layout"]
    unit: Literal["picture", "video"] = "picture" if layout in STILL_LAYOUTS else "video"
    evaluated = evaluation(last, best, description, resamples=params.evaluate.bootstrap, unit=unit)
    evaluated |= _by_source(params, paths, last, description["classes"])
    evaluated["weights"] = files.digest_file(paths.models / "last.safetensors")
    files.write_json(RESULTS / "evaluation.json", evaluated)
    files.write_json(RESULTS / "metrics.json", headline(evaluated))
    rows, columns = prediction_rows(last)
    tables.write_table(RESULTS / "predictions.parquet", rows, columns)
    confusion = confusion_rows(evaluated, last)
    tables.write_table(RESULTS / "confusion.csv", confusion, dict.fromkeys(confusion.columns, "string"))
    scores = beside_paper(evaluated) + source_lines(evaluated.get("sources", []))
    with files.publishing(RESULTS / "scores.md") as stream:
        stream.write(scores.encode())
    print(scores)


def _by_source(params: Params, paths: Paths, main: Predictions, classes: list[str]) -> dict[str, Any]:
    """The last epoch's scores on the main set and on those of the others that have a split val."""
    blocks = [source_block(main, params.dataset, classes)]
    for name, folder in other_sets(paths.shards, params.mix).items():
        with opened(params, folder) as shards:
            shards.require_verified()
            if "val" in read_manifest(shards.folder)["splits"]:
                other = _predictions(params, paths, shards, "last")
                blocks.append(source_block(other, name, classes))
    return {"sources": blocks} if params.mix else {}


def _predictions(params: Params, paths: Paths, shards: OpenedSet, weights: str) -> Predictions:
    split, networks, probabilities_knc = said(params, paths, shards, weights, "val")
    return Predictions(
        samples=split.reader.samples,
        probabilities_knc=probabilities_knc[: networks.size],
        student_nc=probabilities_knc[-1] if networks.student else None,
    )


if __name__ == "__main__":
    run_stage("evaluate", evaluate)
