"""What is shared, what is refused and what is found out, on a tiny project with a folder as remote."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from dvc.repo import Repo
from dvc.utils import dict_sha256
from ruamel.yaml import YAML

from pipeline.contract import UserError
from pipeline.findings import Finding
from pipeline.params import Params
from pipeline.shards.naming import named_objects, tell_name
from pipeline.shards.verification import verify
from pipeline.team import guard, runs, sharing
from pipeline.team.cache_checks import shared_findings
from pipeline.team.checks import findings, secret_findings
from pipeline.team.project import opened_project
from tests.shard_sets import write_shard_set

STAGES = """\
stages:
  shard:
    cmd: echo
    outs:
      - data/shards/demo
"""


@pytest.fixture
def project(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project that holds a shard set and has a folder as its remote; no git."""
    folder = tmp_path / "project"
    shutil.copytree(whole, folder / "data/shards/demo")
    shutil.copyfile(Path(__file__).parent.parent / "params.yaml", folder / "params.yaml")
    (folder / "dvc.yaml").write_text(STAGES)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    Repo.init(no_scm=True).close()
    with Path(".dvc/config").open("a") as config:
        config.write(f"    remote = team\n['remote \"team\"']\n    url = {tmp_path / 'remote'}\n")
    commit_shards()
    yield folder


def commit_shards() -> None:
    """What the stage shard and DVC do once the set is written."""
    tell_name(Path("data/shards/demo"))
    with Repo(".") as repo:
        repo.commit("shard", force=True)
        (stage,) = repo.index.stages
        assert stage.outs[0].hash_info.value == named_objects(Path("data/shards/demo"))


def restrict(project: Path, *, restricted: bool | None) -> None:
    """Rewrites what the set's manifest says, in the cache as well."""
    path = project / "data/shards/demo/manifest.json"
    manifest = json.loads(path.read_bytes())
    manifest["params"]["index"] |= {"restricted": restricted}
    if restricted is None:
        del manifest["params"]["index"]["restricted"]
    path.unlink()
    path.write_text(json.dumps(manifest))
    commit_shards()


def push(params: Params, *, thorough: bool = False) -> int:
    return sharing.push(params, None, everything=False, thorough=thorough)[1].files


def remote_objects(tmp_path: Path) -> list[Path]:
    return sorted(path for path in (tmp_path / "remote").rglob("*") if path.is_file())


def without_default_remote() -> None:
    config = Path(".dvc/config")
    config.write_text(config.read_text().replace("    remote = team\n", ""))


def spoil_largest_object() -> Path:
    """Flips a bit of a shard in the cache."""
    with Repo(".") as repo:
        cache = Path(repo.cache.local.path)
    largest = max((path for path in cache.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    largest.chmod(0o644)
    content = largest.read_bytes()
    largest.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    largest.chmod(0o444)
    return largest


def told(found: list[Finding], name: str) -> Finding:
    return next(each for each in found if each.name == name)


def test_a_second_push_sends_nothing_and_a_pull_brings_the_same_bytes(
    project: Path, params: Params, tmp_path: Path, whole: Path
) -> None:
    assert push(params) == len(list(whole.iterdir())) + 1
    assert push(params, thorough=True) == 0
    shutil.rmtree("data/shards/demo")
    shutil.rmtree(".dvc/cache")
    sharing.pull(params, None, everything=False, force=False)
    there = project / "data/shards/demo"
    assert {path.name: path.read_bytes() for path in there.iterdir()} == {
        p.name: p.read_bytes() for p in whole.iterdir()
    }
    assert verify(there) == []


def test_a_set_that_was_built_here_comes_back_without_a_remote(project: Path, params: Params) -> None:
    without_default_remote()
    shutil.rmtree("data/shards/demo")
    remote, moved, verified = sharing.pull(params, None, everything=False, force=False)
    assert remote is None and moved.files == 0 and verified == ["data/shards/demo"] and verify(Path(*verified)) == []
    shutil.rmtree("data/shards/demo")
    path = spoil_largest_object()
    with pytest.raises(UserError, match=r"damaged in this machine's cache .*no remote is the default to fetch it from"):
        sharing.pull(params, None, everything=False, force=True)
    assert not path.exists()


def test_what_was_cut_off_is_sent_again_unasked_and_a_flipped_bit_when_asked(
    project: Path, params: Params, tmp_path: Path
) -> None:
    push(params)
    cut, flipped = sorted(remote_objects(tmp_path), key=lambda path: path.stat().st_size)[-2:]
    content = flipped.read_bytes()
    for path, harm in ((cut, cut.read_bytes()[:100]), (flipped, bytes([content[0] ^ 1]) + content[1:])):
        path.unlink()
        path.write_bytes(harm)
    assert push(params) == 1
    assert push(params, thorough=True) == 1
    assert flipped.read_bytes() == content


def test_a_damaged_object_here_is_never_sent(project: Path, params: Params, tmp_path: Path) -> None:
    shard = next(Path("data/shards/demo").glob("train-*.tar"))
    spoil_largest_object()
    with pytest.raises(UserError, match=rf"data/shards/demo/{shard.name[:6]}.*damaged in this machine's cache"):
        push(params)
    assert remote_objects(tmp_path) == []


@pytest.mark.parametrize("restricted", [True, None])
def test_a_restricted_set_goes_to_private_remotes_only(
    project: Path, params: Params, tmp_path: Path, restricted: bool | None
) -> None:
    restrict(project, restricted=restricted)
    with pytest.raises(UserError, match=r"data/shards/demo is restricted .* not marked private.*cct team private team"):
        push(params)
    assert remote_objects(tmp_path) == []
    found = told(findings(None), "restricted")
    assert (found.state, "plain `dvc push` would send" in found.text) == ("fail", True)
    with Repo(".") as repo:
        repo.push("shard")
    assert sum("is on team" in each.text for each in findings(None)) == 1
    guard.PRIVATE_REMOTES.write_text(f"# ours\n{tmp_path / 'remote'}\n")
    push(params)
    assert told(findings(None), "restricted").state == "ok"


REPORT = """\
  report:
    cmd: "true"
    deps:
      - data/shards/other.json
    outs:
      - results/report.html
"""
OTHER = """\
  other:
    cmd: "true"
    outs:
      - data/shards/other
"""


@pytest.mark.parametrize("restricted", [True, False])
def test_what_was_made_from_a_restricted_set_goes_no_further_though_params_name_another(
    project: Path, params: Params, tmp_path: Path, restricted: bool
) -> None:
    other = project / "data/shards/other"
    shutil.copytree(project / "data/shards/demo", other)
    manifest = json.loads((other / "manifest.json").read_bytes())
    manifest["params"]["index"]["restricted"] = restricted
    (other / "manifest.json").unlink()
    (other / "manifest.json").write_text(json.dumps(manifest))
    tell_name(other)
    (project / "results").mkdir()
    (project / "results/report.html").write_text("faces")
    (project / "dvc.yaml").write_text(STAGES + REPORT + OTHER)
    with Repo(".") as repo:
        repo.commit(force=True)
    (project / "dvc.yaml").write_text(STAGES + REPORT)
    push(params)
    before = remote_objects(tmp_path)
    if restricted:
        with pytest.raises(UserError, match=r"data/shards/other is restricted .*, and so is what dvc\.lock records"):
            sharing.push(params, None, everything=True, thorough=False)
        assert remote_objects(tmp_path) == before
        assert told(findings(None), "restricted").state == "fail"
        other.with_suffix(".json").unlink()
        with pytest.raises(UserError, match="data/shards/other is restricted"):
            sharing.push(params, None, everything=True, thorough=False)
    else:
        assert sharing.push(params, None, everything=True, thorough=False)[1].files == 1
        assert told(findings(None), "restricted").state == "ok"


def test_a_folder_that_was_not_there_may_be_a_disk_that_is_not_mounted(project: Path, tmp_path: Path) -> None:
    for state in ("warn", "ok"):
        found = told(findings(None), "remote team")
        assert found.state == state
        assert (f"{tmp_path / 'remote'} was not there" in found.text) == (state == "warn")


def test_a_mark_holds_for_its_address_and_below(project: Path) -> None:
    guard.PRIVATE_REMOTES.write_text("# s3://commented\ns3://bucket/cct/\n")
    urls = ("s3://bucket/cct", "s3://bucket/cct/a", "s3://bucket/cct2", "s3://bucket", "s3://commented")
    assert [url for url in urls if guard.is_private(url)] == ["s3://bucket/cct", "s3://bucket/cct/a"]
    assert not guard.is_private("s3://bucket/cct/../public")


def test_no_mark_is_no_private_remote(project: Path) -> None:
    assert not guard.is_private("s3://bucket")


def test_secrets_in_the_committed_configuration_are_found(project: Path) -> None:
    with Path(".dvc/config").open("a") as config:
        config.write("['remote \"dav\"']\n    url = webdav://me:hidden@host/cct\n    password = hidden\n")
    with opened_project() as repo:
        found = secret_findings(repo)[0]
    assert found.state == "fail"
    assert "remote dav: password" in found.text
    assert "remote dav: url" in found.text
    assert "hidden" not in found.text + found.mend


def test_a_local_configuration_with_secrets_is_for_its_owner_alone(project: Path) -> None:
    local = Path(".dvc/config.local")
    local.write_text("['remote \"team\"']\n    password = hidden\n".replace("team", "dav"))
    with Path(".dvc/config").open("a") as config:
        config.write("['remote \"dav\"']\n    url = webdav://host/cct\n")
    local.chmod(0o644)
    with opened_project() as repo:
        assert secret_findings(repo)[0].state == "warn"
    local.chmod(0o600)
    with opened_project() as repo:
        assert secret_findings(repo)[0].state == "ok"


def test_sets_that_git_does_not_name_are_told_all_at_once(project: Path, params: Params) -> None:
    before = params.pretrain.model_copy(update={"epochs": 1, "dataset": "affectnet", "mix": {"ferplus": 0.5}})
    asked = params.model_copy(update={"mix": {"rafdb": 0.2}, "pretrain": before})
    with pytest.raises(UserError) as refused:
        sharing.pull(asked, None, everything=False, force=False)
    lines = str(refused.value).splitlines()
    assert [line.split(",")[0] for line in lines] == [
        f"no data/shards/{name}.json" for name in ("rafdb", "affectnet", "ferplus")
    ]
    assert all("`dvc repro shard`" in line and "`cct team push`" in line for line in lines)


def test_a_pull_brings_and_verifies_what_mix_and_pretrain_name_and_nothing_else(
    project: Path, params: Params, tmp_path: Path, whole: Path
) -> None:
    """Sets that were prepared under another `dataset` are no output of the pipeline any more."""
    stages = Path("dvc.yaml").read_text()
    for name, samples in (("rafdb", 6), ("affectnet", 5), ("unused", 4)):
        made = write_shard_set(tmp_path / name, {"train": samples, "val": 2})
        made.rename(project / "data/shards" / name)
        tell_name(project / "data/shards" / name)
        Path("dvc.yaml").write_text(stages.replace("demo", name))
        with Repo(".") as repo:
            repo.commit("shard", force=True)
    Path("dvc.yaml").write_text(stages)
    before = params.pretrain.model_copy(update={"epochs": 1, "dataset": "affectnet"})
    asked = params.model_copy(update={"mix": {"rafdb": 0.2}, "pretrain": before})
    push(asked)
    for name in ("demo", "rafdb", "affectnet", "unused"):
        shutil.rmtree(f"data/shards/{name}")
    shutil.rmtree(".dvc/cache")
    _, _, verified = sharing.pull(asked, None, everything=False, force=False)
    assert verified == ["data/shards/demo", "data/shards/rafdb", "data/shards/affectnet"]
    assert all(verify(Path(folder)) == [] for folder in verified)
    assert not Path("data/shards/unused").exists()
    gone = remote_objects(tmp_path)
    manifest = Path("data/shards/rafdb/manifest.json").read_bytes()
    next(path for path in gone if path.read_bytes() == manifest).unlink()
    shutil.rmtree(".dvc/cache")
    with pytest.raises(UserError, match=r"data/shards/rafdb/manifest\.json: not on remote team; whoever built it runs"):
        sharing.pull(asked, None, everything=False, force=False)


@pytest.mark.parametrize("name", [None, "nowhere"])
def test_a_remote_that_is_not_there_is_told(project: Path, params: Params, name: str | None) -> None:
    without_default_remote()
    shutil.rmtree(".dvc/cache")
    with pytest.raises(UserError, match="dvc remote add"):
        sharing.pull(params, name, everything=False, force=False)


def test_changed_files_are_not_lost_unasked(project: Path, params: Params) -> None:
    push(params)
    sheet = Path("data/shards/demo/trials.csv")
    sheet.unlink(missing_ok=True)
    sheet.write_text("mine")
    with pytest.raises(UserError, match=r"data/shards/demo.*was changed here.*--force"):
        sharing.pull(params, None, everything=False, force=False)
    assert sheet.read_text() == "mine"
    sharing.pull(params, None, everything=False, force=True)
    assert verify(Path("data/shards/demo")) == []


def test_entries_of_the_run_cache_that_were_cut_off_are_left_out(project: Path, params: Params) -> None:
    entry = {
        "cmd": "echo",
        "outs": [{"path": "a", "md5": "0" * 32, "size": 4}],
        "deps": [{"path": "b", "md5": "1" * 32}],
    }
    digest = dict_sha256(entry, exclude=["size", "nfiles"])
    whole, cut = (Path(".dvc/cache/runs", key[:2], key, digest) for key in ("ab" * 32, "cd" * 32))
    for path in (whole, cut):
        path.parent.mkdir(parents=True)
        YAML().dump(entry, path)
    cut.write_text(cut.read_text().partition("deps")[0])
    assert (runs.is_sound(whole), runs.is_sound(cut)) == (True, False)


def test_folders_of_a_shared_cache_must_be_the_groups(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "files/md5/ab"):
        path.mkdir(parents=True, exist_ok=True)
    for path in (tmp_path, *tmp_path.rglob("*")):
        path.chmod(0o2775)
    assert shared_findings(tmp_path)[0].state == "ok"
    (tmp_path / "files/md5/ab").chmod(0o2755)
    assert (shared_findings(tmp_path)[0].state, "files/md5/ab" in shared_findings(tmp_path)[0].text) == ("fail", True)
    (tmp_path / "files/md5/ab").chmod(0o2775)
    (tmp_path / "files/md5/ab/object").write_text("")
    assert shared_findings(tmp_path)[0].state == "warn"
