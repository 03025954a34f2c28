"""The whole pipeline in real git and DVC repositories, on a handful of clips."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from pipeline.shards.verification import verify
from tests.projects import SMALL, Project, copy_project
from tests.servers import s3_server

pytestmark = pytest.mark.slow

STAGES = ["index", "extract", "align", "shard", "mix", "pretrain", "train", "evaluate", "audit", "report"]


def ran(output: str) -> list[str]:
    return re.findall(r"Running stage '(\w+)'", output)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = copy_project(tmp_path_factory.mktemp("built"))
    assert ran(project.dvc("repro").stdout) == STAGES
    project.commit("The result")
    return project


@pytest.fixture
def project(built: Project) -> Iterator[Project]:
    """The built project; what a test changes is undone."""
    yield built
    built.run("git", "checkout", "--quiet", "--force", "main")
    built.dvc("checkout", "--force", "--quiet", "--allow-missing")


def test_everything_is_there_after_one_command(built: Project) -> None:
    metrics = json.loads((built.folder / "results/metrics.json").read_text())
    assert 0 <= metrics["f1_low"] <= metrics["f1"] <= metrics["f1_high"] <= 1
    page = (built.folder / "results/report.html").read_text()
    assert "http://" not in re.sub(r"http://www\.w3\.org/\S+", "", page)
    assert verify(built.folder / "data/shards/demo") == []
    assert (built.folder / "models/demo/last.safetensors").stat().st_size > 2 * 40_000_000
    assert "Table 1" in (built.folder / "results/scores.md").read_text()


def test_every_labelled_frame_is_a_sample_or_has_a_reason(built: Project) -> None:
    labelled = len(pd.read_parquet(built.folder / "data/index/demo.parquet"))
    samples = len(pd.read_parquet(built.folder / "data/shards/demo/samples.parquet"))
    drops = pd.read_csv(built.folder / "results/quarantine.csv")
    later = drops[drops["stage"] != "index"]["frames"].sum()
    assert labelled == samples + later
    rows = pd.read_parquet(built.folder / "data/index/demo-trials.parquet")["rows"].sum()
    assert rows == labelled + drops[drops["stage"] == "index"]["frames"].sum()


def test_nothing_runs_a_second_time(project: Project) -> None:
    again = project.dvc("repro")
    assert ran(again.stdout) == []
    assert "up to date" in again.stdout


def test_an_experiment_retrains_only_and_is_listed(project: Project) -> None:
    output = project.dvc("exp", "run", "--name", "beta-four", "-S", "beta=4").stdout
    assert ran(output) == ["train", "evaluate", "audit", "report"]
    listed = project.dvc("exp", "show", "--csv").stdout
    assert "beta-four" in listed
    assert "f1" in listed.splitlines()[0]


def test_a_set_of_ones_own_needs_no_other(tmp_path: Path) -> None:
    """In a clone in which the demo was never built."""
    own = copy_project(tmp_path / "clone", clips=("demo-001", "demo-029"))
    own.set_params(SMALL | {"dataset": "mine"})
    own.dvc("repro", "pretrain")
    assert json.loads((own.folder / "data/start.json").read_text())["epochs"] == 0


@pytest.mark.parametrize(
    ("change", "first"),
    [
        (("index.classes", 8), "index"),
        (("index.tolerance", 0), "extract"),
        (("extract.quality", 90), "extract"),
        (("align.template_scale", 0.9), "align"),
        (("shard.seed", 1), "shard"),
        (("leakage.distance", 3), "mix"),
        (("pretrain.epochs", 1), "mix"),
        (("beta", 4.0), "train"),
        (("evaluate.bootstrap", 120), "evaluate"),
        (("audit.most", 7), "audit"),
        (("report.faces_per_class", 3), "report"),
        (("engine.workers", 1), "report"),
        (("workers", 1), "report"),
        (("stream", "remote"), "report"),
    ],
)
def test_a_parameter_reruns_from_its_stage_on(project: Project, change: tuple[str, object], first: str) -> None:
    key, value = change
    project.set_params({key: value})
    changed = json.loads(project.dvc("status", "--json").stdout)
    assert min(changed, key=STAGES.index) == first
    assert "report" in changed


@pytest.mark.parametrize(
    ("setting", "names"),
    [
        ("betta=4", ["betta"]),
        ("beta=four", ["beta must be a number in [0, 100]", "'four'"]),
        ("method=cttt", ["method must be one of cct, ce", "'cttt'"]),
        ("+betta=4", ["unknown key 'betta'", "did you mean 'beta'"]),
        ("align.min_confidence=1.4", ["align.min_confidence must be a number in [0, 1], got 1.4"]),
    ],
)
def test_a_typo_stops_before_any_work_and_names_the_key(project: Project, setting: str, names: list[str]) -> None:
    done = project.dvc("exp", "run", "-S", setting, check=False)
    assert done.returncode != 0
    for name in names:
        assert name in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_a_teammate_trains_from_the_shards_alone(project: Project, tmp_path: Path) -> None:
    remote = tmp_path / "remote"
    project.dvc("remote", "add", "--default", "--force", "team", str(remote))
    project.commit("Name the team's remote")
    project.dvc("push", "shard")
    clone = tmp_path / "clone"
    project.run("git", "clone", "--quiet", str(project.folder), str(clone))
    mate = Project(clone)
    shutil.rmtree(clone / "data/demo/raw")
    mate.dvc("pull", "data/shards/demo")
    assert not (clone / "data/frames").exists()
    mine, theirs = (each.dvc("exp", "run", "-S", "beta=3", "--allow-missing", check=True) for each in (project, mate))
    assert ran(mine.stdout) == ran(theirs.stdout) == ["train", "evaluate", "audit", "report"]
    for name in ("metrics.json", "evaluation.json"):
        assert (project.folder / "results" / name).read_bytes() == (clone / "results" / name).read_bytes()


def test_a_teammate_streams_the_shards(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a clone with git's files alone: the same metrics, and no folder of shards."""
    monkeypatch.setenv("CCT_STREAM_CACHE", str(tmp_path / "cache"))
    with s3_server() as server:
        remote = server.remote("team")
        settings = {"url": remote.url} | remote.options | remote.secrets
        text = "".join(f"    {key} = {value}\n" for key, value in settings.items())
        (project.folder / ".dvc/config").write_text(
            f"[core]\n    remote = s3\n    autostage = true\n['remote \"s3\"']\n{text}"
        )
        project.commit("Name the team's remote")
        project.dvc("push", "shard")
        clone = tmp_path / "clone"
        project.run("git", "clone", "--quiet", str(project.folder), str(clone))
        mate = Project(clone)
        shutil.rmtree(clone / "data/demo/raw")
        mine = project.dvc("exp", "run", "-S", "beta=2", "--allow-missing")
        theirs = mate.dvc("exp", "run", "-S", "stream=remote", "-S", "beta=2", "--allow-missing")
        assert ran(mine.stdout) == ran(theirs.stdout) == ["train", "evaluate", "audit", "report"]
        for name in ("metrics.json", "evaluation.json", "suspects.csv"):
            assert (project.folder / "results" / name).read_bytes() == (clone / "results" / name).read_bytes()
        assert not (clone / "data/shards/demo").exists()


def test_training_refuses_a_damaged_shard(project: Project) -> None:
    shard = project.folder / "data/shards/demo/train-000000.tar"
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.unlink()
    shard.write_bytes(content)
    done = project.run("python", "-m", "train.stages.train", check=False)
    assert done.returncode == 1
    assert "train-000000.tar" in done.stderr
    assert "cct team pull" in done.stderr
    verified = project.run("cct", "verify", "data/shards/demo", check=False)
    assert verified.returncode == 1
    assert "train-000000.tar" in verified.stderr
