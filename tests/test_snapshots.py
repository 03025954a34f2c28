"""Snapshots, and runs that go on from them: the same bits as if nothing had happened."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.stage import SignalledError
from pipeline.store import WorkStore
from tests.shard_sets import params, write_shard_set
from tests.test_fit import LIGHT
from tests.training_runs import ROOT, result, snapshots, stage_process, training_folder
from train.fit import fit
from train.interruption import Interruption
from train.run import effective_frequencies, prepare, run_key
from train.snapshots import KIND, Position, Snapshots, drop_forgotten
from train.tally import Tally

TINY = {"image_size": 32, "batch_size": 8, "networks": 1, "epochs": 2, "workers": 0, "device": "cpu", "backbone": LIGHT}


@pytest.fixture
def kept(tmp_path: Path) -> Snapshots:
    return Snapshots(WorkStore(tmp_path / "work"), "ab" * 32)


def at(epoch: int, batch: int, best: float | None = None) -> Position:
    rows = [] if best is None else [{"epoch": 0, "val_f1": best}]
    return Position(epoch=epoch, batch=batch, tally=Tally({"loss": 0.1 + batch}, {"loss": 3.0}), rows=rows)


def test_the_newest_of_the_last_two_comes_back_as_it_was(kept: Snapshots) -> None:
    state = {"weights": torch.arange(3.0), "nested": {"a": [1, 2.5, None, "x"]}}
    for batch in (2, 10, 9):
        kept.save(at(0, batch), state | {"batch": batch})
    kept.save(at(1, 0), state)
    found = kept.newest()
    assert found is not None
    assert found.position == at(1, 0)
    assert torch.equal(found.state["weights"], state["weights"])
    assert found.state["nested"] == state["nested"]
    assert len(list(kept.store.entries())) == 2
    kept.drop()
    assert kept.newest() is None


@pytest.mark.parametrize("damage", ["cut", "flip", "best"])
def test_a_damaged_one_is_passed_over(kept: Snapshots, damage: str, capsys: pytest.CaptureFixture[str]) -> None:
    kept.save(at(0, 4), {})
    kept.save_best(0, b"weights")
    kept.save(at(1, 0, best=0.5), {})
    newest = max(entry.folder for entry in kept.store.entries() if "-e" in entry.key)
    path = (
        next(kept.store.root.glob(f"{KIND}/*/*-best*")) / "best.safetensors"
        if damage == "best"
        else newest / "state.pt"
    )
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    stat = path.stat()
    path.chmod(0o644)
    path.write_bytes(content[: len(content) // 2] if damage == "cut" else content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # as a failing disk does it
    found = kept.newest()
    assert found is not None
    assert found.position.batch == 4
    assert "is left out" in capsys.readouterr().err


def test_what_nobody_went_on_with_for_a_month_is_dropped(kept: Snapshots) -> None:
    kept.save(at(0, 1), {})
    now_s = time.time()
    drop_forgotten(kept.store, now_s=now_s + 29 * 86_400)
    assert kept.newest()
    drop_forgotten(kept.store, now_s=now_s + 31 * 86_400)
    assert kept.newest() is None


@pytest.fixture(scope="module")
def shard_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shard_set(tmp_path_factory.mktemp("set"), {"train": 40, "val": 16})


def test_a_run_is_known_by_all_that_determines_it_and_nothing_else(shard_set: Path, tmp_path: Path) -> None:
    first = prepare(params(**TINY), shard_set)
    other_shards = write_shard_set(tmp_path, {"train": 39, "val": 16})
    key = run_key(first)
    without_effect = {"workers": 2, "snapshot_minutes": 3.0, "stream": "remote", "stream_cache_gb": 1.0}
    assert run_key(prepare(params(**TINY | without_effect), shard_set)) == key
    for changes in ({"seed": 1}, {"beta": 1.0}, {"micro_batch": 4}, {"batch_norm": "local"}):
        assert run_key(prepare(params(**TINY | changes), shard_set)) != key
    assert run_key(prepare(params(**TINY), other_shards)) != key


class Nudged(Interruption):
    """A signal after so many looks, one a batch."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self.looks = looks

    @property
    def number(self) -> int:
        self.looks -= 1
        return signal.SIGTERM if self.looks < 0 else 0

    @number.setter
    def number(self, value: int) -> None:
        pass


@pytest.mark.parametrize(
    ("looks", "batches"),
    [
        pytest.param(0, 1, marks=pytest.mark.slow),
        (2, 3),
        pytest.param(5, 5, marks=pytest.mark.slow),  # in the validation
        pytest.param(7, 0, marks=pytest.mark.slow),
    ],
)
def test_a_run_that_was_asked_to_end_goes_on_at_the_very_sample(
    shard_set: Path, tmp_path: Path, looks: int, batches: int
) -> None:
    settings = params(**TINY | {"method": "scn", "epochs": 2, "balance": "oversample", "networks": 1})
    expected = fit(prepare(settings, shard_set), tmp_path / "alone")
    kept = Snapshots(WorkStore(tmp_path / "work"), "cd" * 32)
    with pytest.raises(SignalledError):
        fit(prepare(settings, shard_set), tmp_path / "models", snapshots=kept, interruption=Nudged(looks))
    found = kept.newest()
    assert found is not None
    assert found.position.batch == batches
    torch.manual_seed(12345)
    rows = fit(prepare(settings, shard_set), tmp_path / "models", snapshots=kept)
    for row in (*expected, *rows):
        del row["seconds"]
    assert rows == expected
    for name in ("last.safetensors", "best.safetensors", "model.json"):
        assert (tmp_path / "models" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()


@pytest.mark.parametrize(("balance", "even"), [("none", False), ("oversample", True), ("class_weights", True)])
def test_the_frequencies_that_are_told_are_those_learned_from(shard_set: Path, balance: str, even: bool) -> None:
    run = prepare(params(**TINY | {"balance": balance}), shard_set)
    labels = np.where(np.arange(40) < 30, 0, np.arange(40) % 7)
    run = replace(run, train=replace(run.train, labels=labels))
    shares = effective_frequencies(run)
    assert sum(now for _, now in shares.values()) == pytest.approx(1)
    assert shares["a"][0] == pytest.approx(np.mean(labels == 0))
    evened = all(abs(now - 1 / 7) < 0.03 for _, now in shares.values())
    assert evened == even


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_kills_at_random_moments_leave_no_trace(tmp_path: Path, workers: int) -> None:
    """benchmarks/train_kills.py does the same many more times."""
    folder = training_folder(tmp_path / "run", {"train": 64, "val": 8}, workers=workers, snapshot_minutes=0.005)
    process = stage_process(folder)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    expected = result(folder)
    for name in ("models", "results", "data/work"):
        shutil.rmtree(folder / name)
    generator = random.Random(workers)
    for _ in range(3):
        process = stage_process(folder)
        while not snapshots(folder):
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        time.sleep(generator.uniform(0, 4))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    process = stage_process(folder)
    output, _ = process.communicate()
    assert process.returncode == 0
    assert result(folder) == expected
    assert not snapshots(folder)


DVC_STAGE = {"stages": {"train": {"cmd": "python -m train.stages.train"}}}


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_the_batch_script_of_the_documentation_saves_in_time(tmp_path: Path, number: signal.Signals) -> None:
    """SLURM sends USR1 to the script alone (B:USR1), and TERM to every process of a job that is cancelled."""
    folder = training_folder(tmp_path / "run", {"train": 300, "val": 8}, epochs=1, workers=1, snapshot_minutes=0.005)
    (folder / "dvc.yaml").write_text(json.dumps(DVC_STAGE))
    subprocess.run([sys.executable, "-m", "dvc", "init", "--no-scm", "--quiet"], cwd=folder, check=True)
    page = (ROOT / "docs/outputs.md").read_text()
    (script,) = re.findall(r"(#!/bin/bash\n.*?)\n\n[^ ]", page, re.DOTALL)
    (folder / "job.sh").write_text(textwrap.dedent(f"    {script}\n"))
    process = stage_process(folder, "bash", "job.sh")
    while not snapshots(folder):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    if number == signal.SIGUSR1:
        process.send_signal(number)
    else:
        os.killpg(process.pid, number)
    output, _ = process.communicate(timeout=60)
    assert output.count("train: asked to end") == output.count("train: saved after batch") == 1, output
    process = stage_process(folder, "bash", "job.sh")
    output, _ = process.communicate(timeout=120)
    assert "train: goes on after batch" in output and result(folder), output


def test_a_second_signal_counts_if_it_is_not_the_echo_of_the_first() -> None:
    code = (
        "import os, signal, time\n"
        "from train.interruption import Interruption\n"
        "with Interruption().awaited():\n"
        "    for pause in (0, 0.1, 1.1):\n"
        "        time.sleep(pause)\n"
        "        print('sent', flush=True)\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == -signal.SIGTERM and done.stdout == "sent\n" * 3
    assert done.stderr.count("train: asked to end") == 1


def test_damaged_best_weights_do_not_stay_in_the_way(kept: Snapshots) -> None:
    kept.save_best(0, b"good weights")
    kept.save(at(1, 0, best=0.5), {})
    (weights,) = kept.store.path(KIND, kept.run).parent.glob(f"{kept.run}-best*/best.safetensors")
    times = weights.stat()
    weights.chmod(0o644)
    weights.write_bytes(b"gooD weights")
    os.utime(weights, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert kept.newest() is None
    kept.save_best(0, b"good weights")
    assert weights.read_bytes() == b"good weights"


def test_weights_that_were_best_after_the_snapshot_gone_on_from_are_forgotten(kept: Snapshots) -> None:
    """They would be kept instead of those that the snapshots name, and stay in the way of those that follow."""

    def after(epochs: int, batch: int = 0) -> Position:
        return Position(epoch=epochs, batch=batch, rows=[{"epoch": e, "val_f1": 0.1 * e} for e in range(epochs)])

    for epoch in range(2):
        kept.save_best(epoch, b"weights %d" % epoch)
        kept.save(after(epoch + 1), {})
    kept.save_best(2, b"weights 2")  # and killed before its snapshot
    newest = max(entry.folder for entry in kept.store.entries() if "-e" in entry.key)
    (newest / "state.pt").write_bytes(b"damaged")
    found = kept.newest()
    assert found is not None and found.position == after(1)
    kept.save(after(1, 5), {})
    found = kept.newest()
    assert found is not None and found.position == after(1, 5)
    kept.save_best(1, b"other weights")
    kept.save(after(2), {})
    found = kept.newest()
    assert found is not None and found.best is not None
    assert found.best.read_bytes() == b"other weights"


def test_a_snapshot_that_is_not_there_is_none(kept: Snapshots, tmp_path: Path) -> None:
    assert kept.read(tmp_path / "on another machine") is None


@pytest.mark.slow
def test_signals_end_a_run_after_its_step_and_the_next_one_goes_on(tmp_path: Path) -> None:
    folder = training_folder(tmp_path / "run", {"train": 300, "val": 8}, epochs=1, workers=1, snapshot_minutes=0.005)
    told = ""
    for number, code in ((signal.SIGTERM, 143), (signal.SIGUSR1, 138), (signal.SIGINT, 130)):
        before = snapshots(folder)
        process = stage_process(folder)
        while snapshots(folder)[-1:] == before[-1:]:
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        os.killpg(process.pid, number)  # workers too, as a batch system and a terminal do it
        output, _ = process.communicate(timeout=60)
        assert process.returncode == code, output
        assert "train: saved after batch" in output
        assert "Traceback" not in output
        assert not (folder / "models/demo").exists()
        told += output
    assert told.count("train: goes on after batch") == 2
    process = stage_process(folder)
    process.communicate()
    assert process.returncode == 0
