"""A training as a stage runs it: alone or as ranks, from its last snapshot, its results published whole."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from pipeline.contract import UserError
from pipeline.files import fresh_folder
from pipeline.locks import exclusive_lock
from pipeline.store import work_store
from pipeline.streaming.opening import opened
from pipeline.train_params import TrainParams
from train.compute import device_type, telling_full_memory
from train.fit import fit
from train.half import EMULATED
from train.interruption import Interruption
from train.launch import is_rank, supervise
from train.loader_processes import telling_lost_ones
from train.ranks import ranks_from_environment, together
from train.run import Run, prepare, run_key
from train.snapshots import KIND, Snapshots, drop_forgotten

Rows = list[dict[str, Any]]


def run_training(
    params: TrainParams, *, module: str, shards: Path, models: Path, publish_rows: Callable[[Path, Rows], None]
) -> None:
    """Trains on all devices that are asked for, going on from the last snapshot of the very same run.

    Args:
        params: of the training.
        module: the stage's, to be started once a rank.
        shards: folder of the shard set.
        models: where the weights go, all at once.
        publish_rows: is given the folder of the weights, before it takes its name, and the rows of all epochs.
    """
    count = _ranks_wanted(params)
    if count > 1 and not is_rank():
        supervise(module, count)
        return
    ranks = ranks_from_environment()
    interruption = Interruption()
    with (
        telling_lost_ones(),
        telling_full_memory(),
        interruption.awaited(),
        together(ranks, device=device_type(params.device)),
        opened(params, shards, mix=params.mix) as opened_set,
    ):
        run = prepare(params, opened_set.folder, ranks=ranks, others=opened_set.others, feed=opened_set.feed)
        if ranks.is_first:
            if run.learner.compute.is_emulated:
                print(EMULATED, file=sys.stderr, flush=True)
            _train_and_publish(run, models, publish_rows, interruption)
        else:
            fit(run, models, snapshots=Snapshots(work_store(), run_key(run)), interruption=interruption)


def _train_and_publish(
    run: Run, models: Path, publish_rows: Callable[[Path, Rows], None], interruption: Interruption
) -> None:
    store = work_store()
    snapshots = Snapshots(store, run_key(run))
    drop_forgotten(store, now_s=time.time())
    busy = "the very same training is under way elsewhere with this work store; wait for it or end it"
    with exclusive_lock(store.root / "locks" / f"{KIND}-{snapshots.run[:16]}.lock", busy=busy):
        with fresh_folder(models) as folder:
            publish_rows(folder, fit(run, folder, snapshots=snapshots, interruption=interruption))
        snapshots.drop()


def _ranks_wanted(params: TrainParams) -> int:
    """How many processes this machine's stage starts; torchrun has started them already."""
    if params.placement == "apart":
        if is_rank() or params.devices not in ("auto", 1):
            raise UserError("placement apart puts the networks on different GPUs of one process; set devices to auto")
        return 1
    device = device_type(params.device)
    if params.devices == "auto":
        return max(1, torch.cuda.device_count()) if device == "cuda" else 1
    if device == "cuda" and params.devices > torch.cuda.device_count():
        raise UserError(f"devices is {params.devices}, but torch sees {torch.cuda.device_count()} GPUs here")
    return params.devices
