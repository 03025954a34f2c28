"""Stage mix: the shard sets that are trained on together have the same classes, and no picture that one evaluates."""

import sys
from pathlib import Path

from pipeline import files, tables
from pipeline.contract import RESULTS, Paths, UserError
from pipeline.params import Params
from pipeline.shards import leakage
from pipeline.shards.joined import require_same_classes
from pipeline.shards.mixed import MIX, PRETRAIN_MIX, mix_record
from pipeline.shards.verification import require_verified
from pipeline.stage import run_stage
from pipeline.store import work_store

LISTING = RESULTS / "leakage.csv"


def mix(params: Params) -> None:
    """Checks the sets of training and of pre-training, lists pictures they share, and records which sets these are."""
    evaluated = _folders([params.dataset, *params.mix])
    before = _folders([params.pretrain.dataset, *params.pretrain.mix]) if params.pretrain.epochs else {}
    trained = evaluated | before
    if len(trained) > 1:
        for folder in trained.values():
            require_verified(folder)
    for sets in filter(None, (evaluated, before)):
        main, *others = sets.values()
        require_same_classes(main, others)
    leaks = leakage.leaks(trained, evaluated, distance=params.leakage.distance, store=work_store())
    doubles = leakage.doubles(trained, distance=params.leakage.distance, store=work_store())
    tables.write_table(LISTING, leakage.joined([leaks, doubles]), leakage.TWIN_COLUMNS)
    for line in (*leakage.told(leaks), *leakage.told(doubles)):
        print(f"mix: {line}", file=sys.stderr)
    if len(leaks) and params.leakage.found == "error":
        raise UserError(
            f"{len(leaks)} training pictures are evaluated on, too; {LISTING} lists them: exclude them from their set "
            "with lines of labels/overrides.csv, or set leakage.found to warn"
        )
    files.write_json(MIX, mix_record(evaluated))
    files.write_json(PRETRAIN_MIX, mix_record(before))


def _folders(names: list[str]) -> dict[str, Path]:
    return {name: Paths(dataset=name).shards for name in names}


if __name__ == "__main__":
    run_stage("mix", mix, around=work_store().in_use())
