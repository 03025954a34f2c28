"""Stage train: verified shards to K networks trained together; weights, a description, metrics an epoch."""

import pandas as pd

from pipeline.contract import RESULTS, Paths
from pipeline.files import fresh_folder, publishing
from pipeline.params import Params
from pipeline.stage import run_stage


def train(params: Params) -> None:
    """Trains, then publishes the model folder and `results/training.csv`."""
    from train.fit import fit, prepare  # torch takes seconds to load; a typo in a parameter should not wait for it

    paths = Paths(dataset=params.dataset)
    run = prepare(params, paths.shards)
    with fresh_folder(paths.models) as models:
        rows = fit(run, models)
    with publishing(RESULTS / "training.csv") as stream:
        stream.write(pd.DataFrame(rows).to_csv(index=False, lineterminator="\n").encode())


if __name__ == "__main__":
    run_stage("train", train)
