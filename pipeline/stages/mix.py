"""Stage mix: the shard sets that are trained on together have the same classes, and no picture that one evaluates."""

import contextlib
import sys
from pathlib import Path

import pandas as pd

from pipeline import files, tables
from pipeline.contract import RESULTS, Paths, UserError
from pipeline.params import Params
from pipeline.shards import leakage
from pipeline.shards.joined import require_same_classes
from pipeline.shards.manifest import read_manifest
from pipeline.shards.mixed import MIX, PRETRAIN_MIX, mix_record
from pipeline.shards.prints import prints_of
from pipeline.stage import run_stage
from pipeline.store import work_store
from pipeline.streaming.opening import opened

LISTING = RESULTS / "leakage.csv"


def mix(params: Params) -> None:
    """Checks the sets of training and of pre-training, lists pictures they share, and records which sets these are."""
    evaluated = [params.dataset, *params.mix]
    before = [params.pretrain.dataset, *params.pretrain.mix] if params.pretrain.epochs else []
    if len({*evaluated, *before}) == 1:
        print(f"mix: nothing to compare, {params.dataset} alone is trained on")
    leaks, doubles = _shared(params, evaluated, before)
    tables.write_table(LISTING, leakage.joined([leaks, doubles]), leakage.TWIN_COLUMNS)
    for line in (*leakage.told(leaks), *leakage.told(doubles)):
        print(f"mix: {line}", file=sys.stderr)
    if len(leaks) and params.leakage.found == "error":
        raise UserError(
            f"{len(leaks)} training pictures are evaluated on, too; {LISTING} lists them: exclude them from their set "
            "with lines of labels/overrides.csv, or set leakage.found to warn"
        )
    for path, names in ((MIX, evaluated), (PRETRAIN_MIX, before)):
        files.write_json(path, mix_record({name: Paths(dataset=name).shards for name in names}))


def _shared(params: Params, evaluated: list[str], before: list[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Pictures that are trained on and evaluated on, and that are trained on twice; nothing of a set alone.

    Raises:
        UserError: if sets that are trained on together have different classes.
    """
    distance, store, names = params.leakage.distance, work_store(), list(dict.fromkeys((*evaluated, *before)))
    folders: dict[str, Path] = {}
    with contextlib.ExitStack() as stack:
        for name in names if len(names) > 1 else ():
            each = stack.enter_context(opened(params, Paths(dataset=name).shards))
            each.require_verified()
            folders[name] = each.folder
            for split in read_manifest(each.folder)["splits"]:
                prints_of(each.folder, split, store, feed=each.feed)
        for together in (evaluated, before) if folders else ():
            require_same_classes({name: folders[name] for name in together})
        own = {name: folder for name, folder in folders.items() if name in evaluated}
        leaks = leakage.leaks(folders, own, distance=distance, store=store)
        return leaks, leakage.doubles(folders, distance=distance, store=store)


if __name__ == "__main__":
    run_stage("mix", mix, around=work_store().in_use())
