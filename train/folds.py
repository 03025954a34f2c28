"""Opinions from outside: each training face as seen by networks that learned from the other videos alone.

The videos are dealt into folds; for each fold the very training of the run is done on the others, by one process. What
a fold's networks say is kept in the work store, and a fold under way is resumed like any training.
"""

import sys
from collections.abc import Collection

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.contract import UserError
from pipeline.locks import exclusive_lock
from pipeline.store import WorkStore, work_store
from pipeline.streaming.feed import Feed
from pipeline.streaming.opening import OpenedSet
from pipeline.train_params import TrainParams
from train import loop
from train.fit import fit
from train.interruption import Interruption
from train.loop import Probabilities
from train.run import Run, prepare, run_key
from train.snapshots import KIND as SNAPSHOTS
from train.snapshots import Snapshots
from train.stream import Faces, Stream

KIND = "folds"

_SAID = "probabilities.npy"


def dealt(samples: pd.DataFrame, folds: int) -> NDArray[np.int64]:
    """The fold of each sample, from 0: whole videos, the longest first, each to the fold with the fewest faces so far.

    Raises:
        UserError: if there are fewer videos than folds.
    """
    counts = samples["video"].astype(str).value_counts()
    if len(counts) < folds:
        raise UserError(f"audit.folds is {folds}, but there are only {len(counts)} training videos; lower it")
    sizes, fold_of = [0] * folds, {}
    for video, count in sorted(counts.items(), key=lambda pair: (-pair[1], str(pair[0]))):
        fold_of[str(video)] = fold = sizes.index(min(sizes))
        sizes[fold] += int(count)
    fold_n: NDArray[np.int64] = np.array([fold_of[video] for video in samples["video"].astype(str)], np.int64)
    return fold_n


def said_from_outside(params: TrainParams, shards: OpenedSet, samples: pd.DataFrame, folds: int) -> Probabilities:
    """Softmax of every network for each training sample in stored order, K x N x C, by networks that did not see it.

    Args:
        params: of the training.
        shards: the shard set.
        samples: sample table of its training split.
        folds: how many trainings.

    Raises:
        SignalledError: when interrupted, after a snapshot.
    """
    fold_n = dealt(samples, folds)
    alone = params.model_copy(update={"devices": 1})
    joined: Probabilities | None = None
    for fold in range(folds):
        positions = np.flatnonzero(fold_n == fold)
        print(f"audit: fold {fold + 1} of {folds}, {len(positions)} faces held out", file=sys.stderr, flush=True)
        videos = samples["video"].iloc[positions].astype(str).unique().tolist()
        said_knc = _fold(alone, shards, videos, positions)
        if joined is None:
            joined = np.zeros((len(said_knc), len(samples), said_knc.shape[-1]), np.float32)
        joined[:, positions] = said_knc
    assert joined is not None
    return joined


def _fold(
    params: TrainParams, shards: OpenedSet, held_out: Collection[str], positions: NDArray[np.int64]
) -> Probabilities:
    """What networks that learned without these videos say of their faces; finished work is not redone."""
    run, store = _prepared(params, shards, held_out), work_store()
    key = run_key(run)
    found = store.find(KIND, key)
    if found is None:
        _train(run, store, key, positions, shards.feed)
        found = store.path(KIND, key)
    said_knc: Probabilities = np.load(found / _SAID, allow_pickle=False)
    return said_knc


def _prepared(params: TrainParams, shards: OpenedSet, held_out: Collection[str]) -> Run:
    return prepare(params, shards.folder, others=shards.others, feed=shards.feed, held_out=held_out)


def _train(run: Run, store: WorkStore, key: str, positions: NDArray[np.int64], feed: Feed | None) -> None:
    snapshots, interruption = Snapshots(store, key), Interruption()
    busy = "the very same fold is trained elsewhere with this work store; wait for it or end it"
    with exclusive_lock(store.root / "locks" / f"{SNAPSHOTS}-{key[:16]}.lock", busy=busy):
        with interruption.awaited():
            fit(run, None, snapshots=snapshots, interruption=interruption)
        said_knc = _asked(run, positions, feed)
        with store.building(KIND, key) as folder:
            np.save(folder / _SAID, said_knc, allow_pickle=False)
        snapshots.drop()


def _asked(run: Run, positions: NDArray[np.int64], feed: Feed | None) -> Probabilities:
    """Softmax of every network, without a student, for these training faces; not augmented."""
    params, learner = run.params, run.learner
    faces = Faces(reader=run.train.reader, labels=run.train.labels, image_size=params.image_size, seed=params.seed)
    size = params.shown_at_once
    batches = [positions[begin : begin + size] for begin in range(0, len(positions), size)]
    stream = Stream(faces, workers=params.workers, feed=feed)
    said_knc, _ = loop.predict(learner.networks, stream.batches(0, batches), learner.compute)
    return said_knc[: learner.networks.size]
