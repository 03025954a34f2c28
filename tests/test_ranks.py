"""Ranks: shares, real gloo processes against one process, uneven ends, and what happens when one of them dies."""

import json
import os
import platform
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
import torch.multiprocessing as mp
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.test_step import CLASSES, KEYS, Whole, batch, built
from tests.training_runs import result, set_params, snapshots, stage_process, training_folder
from train.networks import Networks
from train.ranks import Ranks, ranks_from_environment, together
from train.step import Learner, learn
from train.synced import synced

BATCHES = (7, 2, 4)
"""Sizes that leave three ranks with uneven shares, and one with none."""


@given(count=st.integers(0, 300), size=st.integers(1, 40))
def test_shares_are_all_positions_once_in_order_and_nearly_equal(count: int, size: int) -> None:
    positions = np.random.default_rng(0).permutation(count)
    shares = [Ranks(rank=rank, size=size).share(positions) for rank in range(size)]
    assert np.array_equal(np.concatenate(shares), positions)
    lengths = [len(share) for share in shares]
    assert max(lengths) - min(lengths) <= 1


def student(ranks: Ranks, mode: str, micro_batch: int | None) -> Learner:
    networks = Networks("resnet18", networks=2, classes=CLASSES, seed=0).double()
    if ranks.size > 1 and mode == "synced":
        networks.networks = torch.nn.ModuleList(synced(network, device="cpu") for network in networks.networks)
    return Learner(
        networks=networks,
        method=built("cct"),
        optimizer=torch.optim.Adam(networks.parameters(), lr=1e-3),
        compute=Whole(devices=(torch.device("cpu"),)),
        name_samples=lambda positions: KEYS.iloc[positions.numpy()].tolist(),
        ranks=ranks,
        micro_batch=micro_batch,
        synced=mode == "synced",
    )


def taught(ranks: Ranks, mode: str, micro_batch: int | None) -> dict[str, Any]:
    """Losses and state after a few steps on batches of different sizes."""
    made = student(ranks, mode, micro_batch)
    totals = []
    for size in BATCHES:
        pictures, whole = batch(size)
        pictures = torch.nn.functional.interpolate(pictures, 64)
        bounds = ranks.bounds(size)
        own = pictures[bounds[ranks.rank] : bounds[ranks.rank + 1]]
        totals.append(float(learn(made, own, whole)[0].total))
    return {"totals": totals, "state": {name: value.clone() for name, value in made.networks.state_dict().items()}}


def run_rank(rank: int, size: int, port: int, folder: str) -> None:
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_RANK": str(rank)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    ranks = ranks_from_environment()
    with together(ranks, device="cpu"):
        found = {"synced": taught(ranks, "synced", None), "local": taught(ranks, "local", 2)}
    torch.save(found, Path(folder) / f"{rank}.pt")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture(scope="module")
def three_ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("ranks")
    mp.spawn(run_rank, (3, free_port(), str(folder)), nprocs=3)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(3)]


def difference(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """The largest; without batch norm's counter, which nothing reads and a rank without samples does not move."""
    return max(float((one[name] - other[name]).abs().max()) for name in one if not name.endswith("tracked"))


@pytest.mark.slow
def test_ranks_learn_in_float64_what_one_process_learns(three_ranks: list[dict[str, Any]]) -> None:
    alone = taught(Ranks(), "synced", None)
    for found in (each["synced"] for each in three_ranks):
        np.testing.assert_allclose(found["totals"], alone["totals"], rtol=1e-9)
        assert difference(found["state"], alone["state"]) < 1e-6
        assert difference(found["state"], three_ranks[0]["synced"]["state"]) == 0


@pytest.mark.slow
def test_ranks_stay_equal_where_batch_norm_is_local_and_pieces_are_small(three_ranks: list[dict[str, Any]]) -> None:
    first, *others = (each["local"] for each in three_ranks)
    assert np.isfinite(first["totals"]).all()
    for other in others:
        assert other["totals"] == first["totals"]
        assert difference(other["state"], first["state"]) == 0


STAGE = ("-m", "train.stages.train")
TORCHRUN = ("torchrun", "--standalone", "--nproc-per-node=2", *STAGE)
TORCHRUN_OF_ONE = ("torchrun", "--standalone", *STAGE)


@pytest.mark.slow
def test_the_stage_starts_its_ranks_and_so_does_torchrun(tmp_path: Path) -> None:
    folder = training_folder(tmp_path / "run", {"train": 13, "val": 5}, epochs=1, devices=2, batch_size=6)
    ends = []
    for command in ((), TORCHRUN, TORCHRUN_OF_ONE):
        process = stage_process(folder, *command)
        output, _ = process.communicate()
        assert process.returncode == 0, output
        assert output.count("classes stored") == 1
        ends.append(result(folder))
    assert ends[0] == ends[1] == ends[2]


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="about x86 processors")
@pytest.mark.parametrize(("precision", "told"), [("bf16", 1), ("float32", 0)])
def test_a_precision_that_the_processor_imitates_is_told_once(tmp_path: Path, precision: str, told: int) -> None:
    folder = training_folder(tmp_path / "run", {"train": 4, "val": 2}, epochs=1, devices=2, precision=precision)
    process = stage_process(folder, ATEN_CPU_CAPABILITY="avx2")
    output, _ = process.communicate()
    assert process.returncode == 0, output
    assert output.count("set it to float32") == told


@pytest.mark.slow
def test_a_rank_that_dies_ends_all_with_one_line_and_the_next_run_goes_on(tmp_path: Path) -> None:
    changes = {"epochs": 1, "devices": 2, "batch_size": 2, "snapshot_minutes": 0.0}
    folder = training_folder(tmp_path / "run", {"train": 60, "val": 5}, **changes)
    process = stage_process(folder)
    while len(snapshots(folder)) < 2:
        assert process.poll() is None
        time.sleep(0.1)
    ranks = psutil.Process(process.pid).children()
    ranks[1].send_signal(signal.SIGKILL)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "train: error: rank 1 of 2 was killed by signal 9; all ranks were ended" in output
    assert "Traceback" not in output
    assert not any(rank.is_running() for rank in ranks)
    set_params(folder, snapshot_minutes=60.0)
    output, _ = (process := stage_process(folder)).communicate()
    assert process.returncode == 0
    assert "train: goes on after batch" in output


@pytest.mark.slow
def test_a_rank_may_have_nothing_to_validate(tmp_path: Path) -> None:
    folder = training_folder(tmp_path / "run", {"train": 6, "val": 1}, epochs=1, devices=2)
    output, _ = (process := stage_process(folder)).communicate()
    assert process.returncode == 0 and "Warning" not in output, output
    assert result(folder)


@pytest.mark.slow
def test_machines_that_would_train_differently_are_refused(tmp_path: Path) -> None:
    port = free_port()
    meeting = ("--nnodes=2", "--rdzv-backend=static", "--master-addr=127.0.0.1", f"--master-port={port}")
    running = []
    for rank in range(2):
        folder = training_folder(tmp_path / str(rank), {"train": 8, "val": 5}, epochs=1, seed=rank)
        running.append(stage_process(folder, "torchrun", *meeting, f"--node-rank={rank}", *STAGE))
    for process in running:
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 1
        assert "train: error: the ranks would not train the same; give all machines the same commit" in output
        assert not list(tmp_path.glob("*/models/demo"))


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGUSR1, 138), (signal.SIGTERM, 143)])
def test_a_signal_while_ranks_start_is_no_failure(tmp_path: Path, number: signal.Signals, code: int) -> None:
    folder = training_folder(tmp_path / "run", {"train": 8, "val": 5}, devices=2)
    process = stage_process(folder)
    while len(psutil.Process(process.pid).children()) < 2:
        time.sleep(0.05)
    time.sleep(1)
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == code, output
    assert "error" not in output


@pytest.mark.slow
def test_ranks_end_with_their_supervisor_though_dvc_goes_on(tmp_path: Path) -> None:
    folder = training_folder(tmp_path / "run", {"train": 60, "val": 5}, devices=2, batch_size=2, snapshot_minutes=0.0)
    stages = {"train": {"cmd": "python -m train.stages.train"}, "other": {"cmd": "sleep 60"}}
    (folder / "dvc.yaml").write_text(json.dumps({"stages": stages}))
    subprocess.run([sys.executable, "-m", "dvc", "init", "--no-scm", "--quiet"], cwd=folder, check=True)
    process = stage_process(folder, "dvc", "repro", "--keep-going")
    while len(snapshots(folder)) < 2:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.1)
    supervisor = next(
        each
        for each in psutil.Process(process.pid).children(recursive=True)
        if any("train.stages.train" in child.cmdline() for child in each.children()) and "-c" not in each.cmdline()
    )
    ranks = supervisor.children()
    supervisor.kill()
    gone, alive = psutil.wait_procs(ranks, timeout=20)
    assert process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert len(gone) == 2 and not alive


@pytest.mark.slow
def test_what_all_ranks_say_is_told_once(tmp_path: Path) -> None:
    folder = training_folder(tmp_path / "run", {"train": 8, "val": 5}, devices=2, init="absent.pth")
    process = stage_process(folder)
    output, _ = process.communicate()
    assert process.returncode == 1
    assert output.count("error") == output.count("train: error: absent.pth not found") == 1, output
