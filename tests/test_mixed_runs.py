"""Mixes as they are run: replicas of real sets, a kill in mid-epoch, two ranks, and DVC."""

import concurrent.futures
import json
import shutil
import signal
import time
from pathlib import Path

import pandas as pd
import pytest

from pipeline import files
from pipeline.params import Params
from pipeline.shards.manifest import MANIFEST
from pipeline.shards.naming import tell_name
from pipeline.stages.align import align_all
from pipeline.stages.extract import extract_all
from pipeline.stages.index import build_index
from pipeline.stages.mix import mix
from pipeline.stages.shard import shard_all
from tests.projects import Project, copy_project
from tests.replicas import affectnet, affwild2, rafdb
from tests.shard_sets import write_shard_set
from tests.test_layouts import Here, read_params
from tests.training_runs import result, set_params, snapshots, stage_process, training_folder

pytestmark = pytest.mark.slow


def changed(params: Params, **changes: object) -> Params:
    """With some top-level keys changed; of groups, some of theirs."""
    groups = {name: value for name, value in changes.items() if name in ("pretrain", "leakage")}
    done = {name: getattr(params, name).model_copy(update=value) for name, value in groups.items()}
    return params.model_copy(update=changes | done)


def test_pre_training_on_two_replicas_then_training_on_a_third(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """RAF-DB and AffectNet before Aff-Wild2, and RAF-DB beside it. They share heads, so leaks are found."""
    from train.stages.evaluate import evaluate
    from train.stages.pretrain import pretrain
    from train.stages.train import train

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(concurrent.futures, "ProcessPoolExecutor", Here)
    made = {}
    for name, make in (("rafdb", rafdb.make), ("affectnet", affectnet.make_new), ("affwild2", affwild2.make_first)):
        replica = make(tmp_path / f"raw-{name}")
        made[name] = (changed(read_params(replica), dataset=name), replica)
        for stage in (build_index, extract_all, align_all, shard_all):
            stage(made[name][0])
    before = {"dataset": "rafdb", "mix": {"affectnet": 0.4}, "epochs": 1}
    params = changed(made["affwild2"][0], mix={"rafdb": 0.25}, pretrain=before, leakage={"found": "warn"})
    for stage in (mix, pretrain, train, evaluate):
        stage(params)
    said = capsys.readouterr()
    assert "train: mix affectnet 40.0% asked" in said.out and "train: mix rafdb 25.0% asked" in said.out
    leaked = pd.read_csv("results/leakage.csv")
    assert set(leaked["other_dataset"]) <= {"affwild2", "rafdb"} and set(leaked["dataset"]) <= set(made)
    evaluated = json.loads(Path("results/evaluation.json").read_text())
    for block in evaluated["sources"]:
        truth = made[block["dataset"]][1].samples
        assert block["samples"] == sum(count for (split, _), count in truth.items() if split == "val")
        assert sum(map(sum, block["confusion"])) == block["samples"]
    assert [block["dataset"] for block in evaluated["sources"]] == ["affwild2", "rafdb"]
    assert evaluated["sources"][0]["f1"] == evaluated["ensemble"]["f1"]
    assert "| rafdb, split val |" in Path("results/scores.md").read_text()


def mixed_folder(folder: Path, **changes: object) -> Path:
    """Two shard sets that `stage_process` trains on together, and what the stage mix would have written."""
    training_folder(folder, {"train": 40, "val": 5}, mix={"rafdb": 0.4}, batch_size=4, **changes)
    write_shard_set(folder / "other", {"train": 13, "val": 5}, classes=7).rename(folder / "data/shards/rafdb")
    sets = {name: folder / "data/shards" / name for name in ("demo", "rafdb")}
    found = {name: files.digest_file(path / MANIFEST) for name, path in sets.items()}
    files.write_json(folder / "data/mix.json", found)
    return folder


def test_a_mixed_training_goes_on_at_the_very_sample_after_a_kill(tmp_path: Path) -> None:
    """SCN relabels by sample key, noise is drawn by it, and both go on as if nothing had happened."""
    own = {"method": "scn", "noise_kind": "symmetric", "noise_rate": 0.3, "noise_unit": "frame"}
    changes = own | {"scn": {"margin": 0.15, "top_share": 0.7, "relabel_margin": 0.01, "relabel_from": 0}}
    whole = mixed_folder(tmp_path / "whole", **changes)
    output, _ = (process := stage_process(whole)).communicate()
    assert process.returncode == 0, output
    assert "train: mix rafdb 40.0% asked, 40.3% given: 27 of an epoch's 67 samples; it has 13" in output
    killed = mixed_folder(tmp_path / "killed", **changes, snapshot_minutes=0.0)
    process = stage_process(killed)
    while len(snapshots(killed)) < 2:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    set_params(killed, snapshot_minutes=60.0)
    output, _ = (process := stage_process(killed)).communicate()
    assert process.returncode == 0 and "train: goes on after batch" in output
    assert result(killed) == result(whole)


def test_two_ranks_share_a_mix_and_a_mix_that_was_not_checked_is_refused(tmp_path: Path) -> None:
    folder = mixed_folder(tmp_path / "run", epochs=1, devices=2)
    output, _ = (process := stage_process(folder)).communicate()
    assert process.returncode == 0, output
    assert output.count("mix rafdb 40.0% asked") == 1
    shutil.rmtree(folder / "data/shards/rafdb")
    write_shard_set(folder / "another", {"train": 9, "val": 5}, classes=7).rename(folder / "data/shards/rafdb")
    output, _ = (process := stage_process(folder)).communicate()
    assert process.returncode == 1
    assert (
        "train: error: data/mix.json is not about the sets demo, rafdb as they are now; run `dvc repro mix`" in output
    )


def mix_of(project: Project, *arguments: str) -> str:
    done = project.dvc("repro", "--single-item", *arguments)
    return done.stdout


def test_dvc_notices_a_change_of_any_set_of_a_mix_and_nothing_else(tmp_path: Path) -> None:
    project = copy_project(tmp_path / "project")
    for name, samples in (("demo", 12), ("rafdb", 9)):
        made = write_shard_set(tmp_path / f"made-{name}", {"train": samples, "val": 4})
        (project.folder / "data/shards").mkdir(parents=True, exist_ok=True)
        tell_name(made.rename(project.folder / "data/shards" / name))
    project.set_params({"leakage.found": "warn"})
    assert "Running stage 'mix'" in mix_of(project, "mix")
    assert "didn't change" in mix_of(project, "mix")
    project.set_params({"mix": {"rafdb": 0.3}})
    assert "Running stage 'mixed@rafdb'" in mix_of(project, "mixed@rafdb")
    assert "Running stage 'mix'" in mix_of(project, "mix")
    assert files.read_json(project.folder / "data/mix.json").keys() == {"demo", "rafdb"}
    assert "didn't change" in mix_of(project, "mixed@rafdb") and "didn't change" in mix_of(project, "mix")
    shutil.rmtree(project.folder / "data/shards/rafdb")
    tell_name(write_shard_set(tmp_path / "anew", {"train": 8, "val": 4}).rename(project.folder / "data/shards/rafdb"))
    assert "Running stage 'mixed@rafdb'" in mix_of(project, "mixed@rafdb")
    assert "Running stage 'mix'" in mix_of(project, "mix")
    dag = project.dvc("dag", "--mermaid", "train").stdout
    assert "mixed@rafdb" in dag
