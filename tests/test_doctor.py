"""`cct doctor`: what is well, what is broken on purpose, and what mends it; run in a project and beside one."""

import importlib.metadata
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from pipeline.contract import Paths
from pipeline.doctor import data, decoder, links, machine, repository, room
from pipeline.doctor.apart import Apart
from pipeline.doctor.limits import Limits, limits
from pipeline.doctor.remotes import remotes
from pipeline.findings import Finding
from pipeline.marks import INDEX_COLUMNS
from pipeline.overrides import COLUMNS
from pipeline.params import Params
from pipeline.tables import write_table
from tests.conftest import ROOT
from tests.projects import environment
from train.gpu import gpu


def only(findings: list[Finding]) -> Finding:
    (finding,) = findings
    assert finding.state == "ok" or finding.mend, finding
    return finding


def group(folder: Path, **texts: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name.replace("_", ".", 1)).write_text(text)
    return folder


def test_the_tightest_limit_of_a_group_and_those_around_it_counts(tmp_path: Path) -> None:
    group(tmp_path / "groups", cpu_max="max 100000", memory_max="max")
    group(tmp_path / "groups/job", cpu_max="150000 100000", memory_max="8000000000")
    group(tmp_path / "groups/job/step", cpu_max="400000 100000", memory_max="max")
    (tmp_path / "own").write_text("0::/job/step\n")
    assert limits(tmp_path / "groups", tmp_path / "own") == Limits(cores=1.5, memory=8_000_000_000)
    assert limits(tmp_path / "none", tmp_path / "own") == Limits(cores=None, memory=None)


def test_version_one_of_control_groups_is_read_too(tmp_path: Path) -> None:
    cpu, memory = group(tmp_path / "cpu,cpuacct/box"), group(tmp_path / "memory/box")
    (cpu / "cpu.cfs_quota_us").write_text("50000")
    (cpu / "cpu.cfs_period_us").write_text("100000")
    (memory / "memory.limit_in_bytes").write_text("2000000000")
    (tmp_path / "memory/memory.limit_in_bytes").write_text("9223372036854771712")
    (tmp_path / "own").write_text("5:memory:/box\n4:cpu,cpuacct:/box\n")
    assert limits(tmp_path, tmp_path / "own") == Limits(cores=0.5, memory=2_000_000_000)


def test_more_processes_than_cores_and_too_little_memory_are_told() -> None:
    cores = len(os.sched_getaffinity(0))
    free = Limits(cores=None, memory=None)
    assert only(machine.cores(free, {"engine.workers": 0, "workers": 0})).state == "ok"
    assert only(machine.cores(free, {"workers": cores + 1})).mend == f"set workers to {cores} or less"
    tight = Limits(cores=0.5, memory=1_000_000_000)
    assert only(machine.cores(tight, {"engine.workers": 0})).mend == "set engine.workers to 1"
    assert "set engine.workers to 1" in only(machine.memory(tight, workers=4)).mend


def test_packages_are_compared_with_the_lock(tmp_path: Path) -> None:
    lock, has = tmp_path / "requirements.lock", importlib.metadata.version("numpy")
    lock.write_text(f"numpy==1.0 ; python_version < '3.0' \\\n    --hash=x\nnumpy=={has} ; python_version > '3.0' \\\n")
    assert only(machine.packages(lock)).state == "ok"
    lock.write_text("numpy==1.0 \\\nnosuchthing==2 \\\nonlyelsewhere==1 ; sys_platform == 'win32' \\\n")
    absent, other = machine.packages(lock)
    assert "nosuchthing" in absent.text and "onlyelsewhere" not in absent.text and absent.state == "warn"
    assert f"numpy {has} (locked 1.0)" in other.text and other.mend == "make setup"


def test_a_runtime_package_that_is_absent_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text("numpy==1.0 \\\n")
    monkeypatch.setattr(machine, "_installed", lambda _: None)
    assert only(machine.packages(lock)).state == "fail"


def test_the_clips_are_of_the_codecs_they_are_called_after_and_all_open() -> None:
    assert only(decoder.decoder()).state == "ok"
    called = {"h264.mp4": "h264", "hevc.mp4": "hevc", "vp9.webm": "VP90", "av1.mp4": "av01"}
    called |= {"mpeg4.avi": "FMP4", "mjpeg.avi": "MJPG"}
    for name, code in called.items():
        capture = cv2.VideoCapture(str(ROOT / "pipeline/doctor/probes" / name), cv2.CAP_FFMPEG)
        found = int(capture.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little").decode()
        assert found.lower() in (code.lower(), {"h264": "avc1", "hevc": "hev1"}.get(code)), name


def test_a_codec_that_does_not_open_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder, "_QUARTERS", 255 - decoder._QUARTERS)
    findings = decoder.decoder()
    assert len(findings) == len(decoder.CODECS) and "HEVC is not decoded: its colours" in findings[1].text


def test_links_are_tried_between_the_very_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    assert only(links.link_type(tmp_path / "cache", ["hardlink", "copy"])).text.startswith("hardlink")
    assert only(links.link_type(tmp_path / "cache", ["symlink"])).text.startswith("symlink")
    assert only(links.link_type(tmp_path / "cache", ["copy"])).state == "warn"
    if Path("/dev/shm").is_dir() and Path("/dev/shm").stat().st_dev != tmp_path.stat().st_dev:
        assert only(links.link_type(Path("/dev/shm"), ["reflink", "hardlink", "copy"])).text.startswith("copy")
    assert not list(Path().iterdir()) and not (tmp_path / "cache").exists()


def test_folders_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    assert only(links.permissions({"data": tmp_path / "not/yet", "models": tmp_path})).state == "ok"
    found = only(links.permissions({"results": Path("/proc/nothing"), "data": tmp_path}))
    assert found.state == "fail" and "results" in found.text and "/proc" in found.mend


@pytest.mark.parametrize(
    ("name", "content", "word"),
    [
        (".dvc/tmp/rwlock", "", "empty"),
        (".dvc/tmp/rwlock", '{"read": {"data', "cut off"),
        ("dvc.lock", "", "empty"),
        ("dvc.lock", "schema: '2.0'\nstages:\n  index:\n    cmd: x\n  extract:\n    deps: []\n", "at stages extract"),
        (
            "dvc.lock",
            "schema: '2.0'\nstages:\n  x:\n    cmd: x\n    deps:\n    - path: a\n      size:\n",
            "at stages x",
        ),
        ("dvc.lock", "schema: '2.0'\nstages:\n  index: {cmd", "cut off"),
    ],
)
def test_what_a_kill_cut_off_is_found_with_what_mends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: str, word: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert only(repository.interrupted()).state == "ok"
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    found = only(repository.interrupted())
    assert found.state == "fail" and word in found.text and f"rm {name}" in found.mend


def test_remotes_that_answer_and_that_do_not(tmp_path: Path) -> None:
    assert "dvc remote add" in only(remotes({})).mend
    gone = {"core.remote": "team", "remote.team.url": str(tmp_path / "gone")}
    assert only(remotes(gone)).state == "fail"
    assert only(remotes(gone | {"remote.team.url": str(tmp_path)})).state == "ok"
    assert [each.state for each in remotes({"remote.team.url": str(tmp_path)})] == ["warn", "ok"]
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        answers = {"core.remote": "web", "remote.web.url": f"http://127.0.0.1:{port}/x"}
        assert only(remotes(answers)).state == "ok"
    assert "does not answer" in only(remotes(answers)).text
    unknown = {"core.remote": "lost", "remote.team.url": str(tmp_path)}
    assert remotes(unknown)[0].mend == "dvc remote default team"


def test_room_is_reckoned_from_the_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, params: Params) -> None:
    monkeypatch.chdir(tmp_path)
    paths = Paths(dataset=params.dataset)
    blank = dict.fromkeys(INDEX_COLUMNS)
    row = {"subject": "", "split": "train", "label": 0}
    rows = [
        blank | row | {"trial": trial, "video": "v", "frame_index": index}
        for trial in ("v_left", "v_right")
        for index in range(9)
    ]
    write_table(paths.index, rows, INDEX_COLUMNS)
    sizes = {"trial": "string", "video": "string", "width": "int64", "height": "int64"}
    trials = [{"trial": trial, "video": "v", "width": 2560, "height": 1000} for trial in ("v_left", "v_right")]
    write_table(paths.trials, trials, sizes)
    found = room.volume(params)
    assert found is not None and (found.frames, found.faces) == (3, 6)  # every third frame, of two people each
    assert found.pixels == pytest.approx(3 * 1280 * 500)
    told = only(room.disks(params, store=tmp_path / "store", cache=tmp_path / "cache", copies=True))
    assert "3 frames and 6 faces by the index" in told.text


def test_too_little_room_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, params: Params) -> None:
    monkeypatch.chdir(tmp_path)
    index = params.index.model_copy(update={"source": "affwild2", "raw": "absent"})
    whole = params.model_copy(update={"index": index})
    monkeypatch.setattr(room.shutil, "disk_usage", lambda _: Usage())
    told = only(room.disks(whole, store=tmp_path / "store", cache=tmp_path / "cache", copies=False))
    assert told.state == "fail" and "865190 frames" in told.text and "published" in told.text


class Usage:
    """A disk with 5 GB free."""

    total, free = 10**12, 5 * 10**9


def test_the_raw_set_is_looked_at_as_its_layout_says(
    small_raw: Path, params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def with_raw(raw: Path, layout: str = "affwild2") -> Params:
        index = params.index.model_copy(update={"raw": str(raw), "layout": layout})
        return params.model_copy(update={"index": index})

    assert "5 annotations" in only(data.raw_set(with_raw(small_raw))).text
    assert only(data.raw_set(with_raw(tmp_path / "absent"))).state == "fail"
    (tmp_path / "empty").mkdir()
    for layout in ("affwild2", "affectnet", "rafdb", "ferplus"):
        assert only(data.raw_set(with_raw(tmp_path / "empty", layout))).state == "fail"


def test_shards_are_ok_once_they_were_verified(
    folder: Path, params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "cct team pull" in only(data.shard_set(params)).mend
    (tmp_path / "data/shards").mkdir(parents=True)
    folder.rename(tmp_path / "data/shards/demo")
    assert only(data.shard_set(params)).mend == "cct verify data/shards/demo"
    next(Path("data/shards/demo").glob("*.tar")).write_bytes(b"damaged")
    assert data.verified(params)[0].state == "fail"


def test_a_line_of_corrections_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert only(data.corrected_labels()).state == "fail"
    Path("labels").mkdir()
    Path("labels/overrides.csv").write_text("<<<<<<< mine\n")
    assert "merge conflict" in only(data.corrected_labels()).text


def test_decisions_that_were_undone_or_replaced_are_not_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("labels").mkdir()
    told = [("one", "keep"), ("one", "Fear"), ("two", "undo"), ("one", "Anger"), ("two", "exclude")]
    lines = [f"{name},clip,0,4,Happiness,{what},me,2026-01-01T00:00:0{at}Z" for at, (name, what) in enumerate(told)]
    Path("labels/overrides.csv").write_text("\n".join([",".join(COLUMNS), *lines]) + "\n")
    assert only(data.corrected_labels()).text == "labels/overrides.csv: 2 decisions in force"


def test_a_card_that_is_asked_for_and_absent_is_a_failure(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("train.gpu._driver", lambda: "")
    monkeypatch.setattr("train.gpu._has_card", lambda: False)
    assert only(gpu(params)).state == "ok"
    assert only(gpu(params.model_copy(update={"device": "cuda"}))).state == "fail"
    assert only(gpu(params.model_copy(update={"batch_size": 256, "image_size": 224}))).state == "warn"
    monkeypatch.setattr("train.gpu._driver", lambda: "570.1")
    assert "570.1" in only(gpu(params)).text


@pytest.mark.parametrize(("capability", "state"), [("AVX2", "warn"), ("AVX512", "ok")])
def test_bf16_on_a_processor_that_imitates_it_is_told(
    capability: str, state: str, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("train.gpu._driver", lambda: "")
    monkeypatch.setattr("train.gpu._has_card", lambda: False)
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: capability)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    found = only(gpu(params.model_copy(update={"precision": "bf16"})))
    assert (found.state, "float32" in found.mend) == (state, state == "warn")
    assert only(gpu(params)).state == "ok"


def test_a_check_that_crashes_or_takes_too_long_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("crashing.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    Path("sleeping.py").write_text("import time; time.sleep(60)")
    assert "signal 11" in only(Apart("gpu", "crashing").findings(patience_s=None)).text
    assert "--deep" in only(Apart("raw set", "sleeping").findings(patience_s=0.3)).mend


def doctor(folder: Path, *options: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "train.cli", "doctor", *options]
    variables = environment() | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout


@pytest.mark.slow
def test_the_command_in_a_project_beside_one_and_in_a_broken_one(tmp_path: Path) -> None:
    code, told = doctor(ROOT, "--json")
    found = json.loads(told)
    assert (code == 0) == found["ok"]
    names = {each["name"] for each in found["findings"]}
    assert {"python", "packages", "cores", "memory", "gpu", "decoder", "disk", "cache links", "raw set"} <= names
    code, told = doctor(tmp_path)
    assert code == 0 and re.search(r"^warn +folder .*\n +mend: cd ", told, re.MULTILINE), told
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text().replace("beta: 5.0", "beta: much"))
    code, told = doctor(tmp_path)
    assert code == 1 and "params.yaml: beta must be" in told and "no DVC repository" in told
