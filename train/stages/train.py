"""Stage train: verified shards to K networks trained together; weights, a description, metrics an epoch."""

from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.contract import RESULTS, Paths
from pipeline.files import publishing
from pipeline.params import Params
from pipeline.shards.mixed import MIX, require_checked
from pipeline.stage import run_stage
from pipeline.store import work_store
from train.launch import is_alone
from train.start import started


def train(params: Params) -> None:
    """Trains, then publishes `results/training.csv` and the model folder."""
    from train.session import run_training  # torch takes seconds to load; a typo in a parameter should not wait for it

    paths = Paths(dataset=params.dataset)
    require_checked(MIX, paths.shards, params.mix)
    run_training(
        started(params),
        module="train.stages.train",
        shards=paths.shards,
        models=paths.models,
        publish_rows=_publish_rows,
    )


def _publish_rows(_folder: Path, rows: list[dict[str, Any]]) -> None:
    with publishing(RESULTS / "training.csv") as stream:
        stream.write(pd.DataFrame(rows).to_csv(index=False, lineterminator="\n").encode())


if __name__ == "__main__":
    run_stage("train", train, around=work_store().in_use(), alone=is_alone())
