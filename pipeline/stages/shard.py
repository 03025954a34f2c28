"""Stage shard: globally shuffled faces into WebDataset tars, a manifest, and the balance of classes."""

from pipeline import engine, files, tables
from pipeline.contract import CLASSES, DROP_COLUMNS, MISMATCH_COLUMNS, RESULTS, SAMPLE_COLUMNS, Paths
from pipeline.marks import MARK_COLUMNS
from pipeline.params import Params
from pipeline.shards.describing import describe
from pipeline.shards.manifest import SAMPLES, write_manifest
from pipeline.shards.naming import tell_name
from pipeline.shards.placing import placed_samples, shard_names, shard_tasks
from pipeline.shards.writing import sample_rows, write_shard
from pipeline.stage import run_stage
from pipeline.statistics import balance_plots, balance_report
from pipeline.workers.nursery import nursery


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
            write_shard,
            tasks,
            name=lambda task: task.path.name,
            label="shard",
            unit="shards",
            engine=params.engine,
            max_failures=0,
        )
        with tables.TableWriter(folder / SAMPLES, SAMPLE_COLUMNS | MARK_COLUMNS) as stored:
            for task in tasks:
                stored.add(sample_rows(task, tally.results[task.path.name]))
        tables.write_table(folder / "drops.csv", drops, DROP_COLUMNS)
        tables.write_table(folder / "trials.csv", trials, MISMATCH_COLUMNS)
        lines = [shard.line for shard in tally.results.values()]
        describe(folder, params.dataset, params.index, classes, lines)
        write_manifest(folder, params, classes, lines)
    tell_name(paths.shards)
    samples = samples[["split", "video", "label"]].assign(shard=shard_names(tasks))  # groups are copies: few columns
    report = balance_report(samples, classes, effective_beta=params.shard.effective_beta)
    files.write_json(RESULTS / "balance.json", report)
    for name, plot in balance_plots(samples, classes).items():
        tables.write_table(RESULTS / f"{name}.csv", plot.rows, plot.columns)
    tables.write_table(RESULTS / "quarantine.csv", drops, DROP_COLUMNS)


if __name__ == "__main__":
    with nursery():
        run_stage("shard", shard_all)
