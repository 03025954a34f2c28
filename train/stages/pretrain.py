"""Stage pretrain: another shard set to networks that training starts from; nothing unless `pretrain.epochs` is set."""

from pathlib import Path
from typing import Any

import pandas as pd

from pipeline import files
from pipeline.contract import Paths
from pipeline.params import Params, pretraining
from pipeline.shards.mixed import PRETRAIN_MIX, require_checked
from pipeline.stage import run_stage
from pipeline.store import work_store
from train.launch import is_alone
from train.start import PRETRAINED, tell_start


def pretrain(params: Params) -> None:
    """Trains on the other set by plain supervision, and tells what there is to start from."""
    if params.pretrain.epochs:
        from train.session import run_training  # torch takes seconds to load

        shards = Paths(dataset=params.pretrain.dataset).shards
        require_checked(PRETRAIN_MIX, shards, params.pretrain.mix)
        run_training(
            pretraining(params),
            module="train.stages.pretrain",
            shards=shards,
            models=PRETRAINED,
            publish_rows=_publish_rows,
        )
    else:
        with files.fresh_folder(PRETRAINED) as folder:
            files.write_json(folder / "model.json", {"epochs": 0})
        print("pretrain: nothing to do, pretrain.epochs is 0")
    if is_alone():
        tell_start(params.pretrain.epochs)


def _publish_rows(folder: Path, rows: list[dict[str, Any]]) -> None:
    with files.publishing(folder / "training.csv") as stream:
        stream.write(pd.DataFrame(rows).to_csv(index=False, lineterminator="\n").encode())


if __name__ == "__main__":
    run_stage("pretrain", pretrain, around=work_store().in_use(), alone=is_alone())
