"""Opinions from outside: who sees what, and that an interrupted fold is taken up again to the same numbers."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.contract import UserError
from pipeline.stage import SignalledError
from pipeline.store import WorkStore
from pipeline.streaming.opening import OpenedSet
from tests.shard_sets import params, write_shard_set
from train import folds
from train.folds import dealt, said_from_outside
from train.interruption import Interruption
from train.run import epoch_batches, prepare

SMALL = {"epochs": 1, "networks": 2, "image_size": 32, "batch_size": 8, "device": "cpu", "rampup": 4.0}


def test_videos_are_dealt_whole_and_evenly() -> None:
    generator = np.random.default_rng(0)
    samples = pd.DataFrame({"video": generator.choice([f"v{n}" for n in range(30)], 900)})
    fold_n = dealt(samples, 4)
    assert samples.groupby("video")["video"].count().sum() == 900
    assert (samples.assign(fold=fold_n).groupby("video")["fold"].nunique() == 1).all()
    assert np.ptp(np.bincount(fold_n)) <= samples["video"].value_counts().max()
    mixed = generator.permutation(900)
    assert (dealt(samples.iloc[mixed], 4) == fold_n[mixed]).all()
    with pytest.raises(UserError, match=r"audit\.folds is 31, but there are only 30"):
        dealt(samples, 31)


def test_held_out_videos_are_in_no_batch_and_in_no_count(whole: Path) -> None:
    run = prepare(params(**SMALL, balance="oversample"), whole, held_out=["train-video0"])
    shown = np.concatenate([np.concatenate(epoch_batches(run, epoch)) for epoch in range(3)])
    videos = run.train.reader.samples["video"].astype(str)
    assert set(videos.iloc[shown]) == set(videos) - {"train-video0"}
    assert sum(run.train.counts) == (videos != "train-video0").sum()


@pytest.mark.slow
def test_folds_are_kept_and_taken_up_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shards = OpenedSet(folder=write_shard_set(tmp_path, {"train": 24, "val": 4}), feed=None)
    asked = params(**SMALL | {"snapshot_minutes": 0.0})
    samples = prepare(asked, shards.folder).train.reader.samples

    def store(name: str) -> None:
        (tmp_path / name).mkdir(exist_ok=True)
        monkeypatch.setattr(folds, "work_store", lambda: WorkStore(tmp_path / name))

    store("one")
    whole_knc = said_from_outside(asked, shards, samples, 2)
    assert whole_knc.shape == (2, 24, 7) and np.allclose(whole_knc.sum(-1), 1, atol=1e-5)
    monkeypatch.setattr(folds, "fit", None)
    np.testing.assert_array_equal(said_from_outside(asked, shards, samples, 2), whole_knc)
    monkeypatch.undo()
    store("two")
    with monkeypatch.context() as patched:
        patched.setattr(Interruption, "number", property(lambda _: 15, lambda *_: None), raising=False)
        with pytest.raises(SignalledError):
            said_from_outside(asked, shards, samples, 2)
    assert list((tmp_path / "two/snapshots").glob("*/*"))
    np.testing.assert_array_equal(said_from_outside(asked, shards, samples, 2), whole_knc)
    assert not list((tmp_path / "two/snapshots").glob("*/*"))
