"""Stage shard: globally shuffled faces into WebDataset tars, a manifest, and the balance of classes."""

import pandas as pd

from pipeline import engine, files, shards, tables
from pipeline.contract import (
    CLASSES,
    DROP_COLUMNS,
    MISMATCH_COLUMNS,
    RESULTS,
    SAMPLE_COLUMNS,
    Paths,
)
from pipeline.params import Params
from pipeline.plan import placed_samples, shard_tasks
from pipeline.stage import run_stage
from pipeline.statistics import balance_plots, balance_report


def shard_all(params: Params) -> None:
    """Shuffles, writes the shards with everything that describes them, and reports the balance."""
    paths = Paths(dataset=params.dataset)
    samples = placed_samples(paths, params.shard.seed)
    classes = CLASSES[: params.index.classes]
    drops = tables.read_table(paths.faces / "drops.parquet", DROP_COLUMNS)
    trials = tables.read_table(paths.faces / "trials.parquet", MISMATCH_COLUMNS)
    with files.fresh_folder(paths.shards) as folder:
        tasks = shard_tasks(params, samples, folder, paths.faces)
        tally = engine.run_all(
            shards.write_shard,
            tasks,
            name=lambda task: task.path.name,
            label="shard",
            unit="shards",
            engine=params.engine,
            max_failures=0,
        )
        written = list(tally.results.values())
        stored = pd.concat([task.samples for task in tasks])
        stored["shard"] = [shard.line["name"] for shard in written for _ in shard.offsets]
        stored["offset"] = [offset for shard in written for offset in shard.offsets]
        tables.write_table(folder / shards.SAMPLES, stored, SAMPLE_COLUMNS)
        tables.write_table(folder / "drops.csv", drops, DROP_COLUMNS)
        tables.write_table(folder / "trials.csv", trials, MISMATCH_COLUMNS)
        shards.write_manifest(folder, params, classes, [shard.line for shard in written])
    report = balance_report(stored, classes, effective_beta=params.shard.effective_beta)
    files.write_json(RESULTS / "balance.json", report)
    for name, plot in balance_plots(stored, classes).items():
        tables.write_table(RESULTS / f"{name}.csv", plot.rows, plot.columns)
    tables.write_table(RESULTS / "quarantine.csv", drops, DROP_COLUMNS)


if __name__ == "__main__":
    run_stage("shard", shard_all)
