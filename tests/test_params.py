"""Parameters: params.yaml and the typed groups agree, and whatever is wrong is said in one line that names the key."""

import operator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from ruamel.yaml import YAML

from pipeline.contract import UserError
from pipeline.params import Params, check_params, load_params
from tests.conftest import ROOT

COMMITTED = [ROOT / "params.yaml", *sorted((ROOT / "params").glob("*.yaml"))]
NULLABLE = {
    "stream_remote",
    "rampup",
    "iterations_per_epoch",
    "init",
    "networks",
    "forget_rate",
    "ltnet.labels",
    "noise_matrix",
    "noise_list",
    "micro_batch",
    "index.noise_list",
    "audit.folds",
    *(f"engine.{key}" for key in ("timeout_s", "memory_gb", "address", "cluster")),
}
Raw = dict[str, Any]


@pytest.fixture
def raw() -> Raw:
    loaded: Raw = YAML(typ="safe", pure=True).load(ROOT / "params.yaml")
    return loaded


def changed(raw: Raw, key: str, value: object) -> Raw:
    """A copy with one (dotted) key set."""
    group, _, name = key.rpartition(".")
    return {**raw, group: {**raw[group], name: value}} if group else {**raw, name: value}


def without(raw: Raw, key: str) -> Raw:
    group, _, name = key.rpartition(".")
    if group:
        return {**raw, group: {k: v for k, v in raw[group].items() if k != name}}
    return {k: v for k, v in raw.items() if k != name}


def complaint(raw: Raw) -> str:
    """What is said about wrong parameters: one problem, one line."""
    with pytest.raises(UserError) as caught:
        check_params(raw, source="params.yaml")
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("params.yaml: ")
    return message.removeprefix("params.yaml: ")


def load_text(folder: Path, text: str | bytes) -> Params:
    path = folder / "params.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return load_params(path)


def load_complaint(folder: Path, text: str | bytes) -> str:
    with pytest.raises(UserError) as caught:
        load_text(folder, text)
    message = str(caught.value)
    assert "\n" not in message
    assert "params.yaml" in message
    return message


def leaves(group: type[BaseModel], prefix: str = "") -> list[str]:
    found = []
    for name, field in group.model_fields.items():
        child = field.annotation
        if isinstance(child, type) and issubclass(child, BaseModel):
            found += leaves(child, f"{prefix}{name}.")
        else:
            found.append(prefix + name)
    return found


def yaml_leaves(raw: Raw, prefix: str = "") -> list[str]:
    found = []
    for name, value in raw.items():
        found += yaml_leaves(value, f"{prefix}{name}.") if isinstance(value, dict) and value else [prefix + name]
    return found


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.name)
def test_committed_files_load_and_hold_exactly_the_declared_keys(path: Path) -> None:
    assert isinstance(load_params(path), Params)
    stored = YAML(typ="safe", pure=True).load(path)
    assert sorted(yaml_leaves(stored)) == sorted(leaves(Params))


@pytest.mark.parametrize("key", leaves(Params))
def test_every_key_is_required_and_missed_by_name(raw: Raw, key: str) -> None:
    assert complaint(without(raw, key)).startswith(f"key '{key}' is missing; it must be ")


@pytest.mark.parametrize("key", leaves(Params))
def test_every_key_refuses_a_list_and_says_what_it_takes(raw: Raw, key: str) -> None:
    message = complaint(changed(raw, key, [1]))
    assert message.startswith(f"{key} must be ")
    assert message.endswith(", got [1]")


@pytest.mark.parametrize("key", sorted(set(leaves(Params)) - NULLABLE))
def test_null_is_refused_where_it_means_nothing(raw: Raw, key: str) -> None:
    assert complaint(changed(raw, key, None)).startswith(f"{key} must be ")


@pytest.mark.parametrize("key", sorted(NULLABLE - {"networks"}))
def test_null_is_taken_where_it_means_something(raw: Raw, key: str) -> None:
    assert operator.attrgetter(key)(check_params(changed(raw, key, None))) is None


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("align.min_confidence", 1.4, "align.min_confidence must be a number in [0, 1], got 1.4"),
        ("align.min_confidence", -0.1, "align.min_confidence must be a number in [0, 1], got -0.1"),
        ("devices", 0, "devices must be auto or a whole number in [1, inf), got 0"),
        ("devices", "all", "devices must be auto or a whole number in [1, inf), got 'all'"),
        ("networks", 0, "networks must be a whole number in [1, 16], got 0"),
        ("networks", 2.5, "networks must be a whole number in [1, 16], got 2.5"),
        ("networks", True, "networks must be a whole number in [1, 16], got true"),
        ("beta", False, "beta must be a number in [0, 100], got false"),
        ("beta", "4.0", "beta must be a number in [0, 100], got '4.0'"),
        ("beta", float("nan"), "beta must be a number in [0, 100], got nan"),
        ("lr_head", 0, "lr_head must be a number in (0, inf), got 0"),
        ("lr_head", float("inf"), "lr_head must be a number in (0, inf), got inf"),
        ("shard.effective_beta", 1.0, "shard.effective_beta must be a number in [0, 1), got 1.0"),
        ("rampup", 0, "rampup must be a number in (0, inf) or null, got 0"),
        ("rampup", float("inf"), "rampup must be a number in (0, inf) or null, got inf"),
        ("iterations_per_epoch", 0, "iterations_per_epoch must be a whole number in [1, inf) or null, got 0"),
        (
            "method",
            "CCT",
            "method must be one of cct, ce, coteaching, coteaching_plus, decoupling, eac, jocor, ltnet, nct, rayleigh, "
            "scn, got 'CCT'",
        ),
        ("index.mismatch", "keep", "index.mismatch must be one of trim, error, skip, got 'keep'"),
        ("init", 3, "init must be text or null, got 3"),
        ("dataset", "../x", "dataset must be text that matches ^[a-z0-9][a-z0-9_-]*$, got '../x'"),
        ("report", 3, "report must be a group with the keys faces_per_class, got 3"),
        ("report", None, "report must be a group with the keys faces_per_class, got null"),
    ],
)
def test_a_wrong_value_is_answered_with_what_is_allowed(raw: Raw, key: str, value: object, said: str) -> None:
    assert complaint(changed(raw, key, value)) == said


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("betta", "unknown key 'betta'; did you mean 'beta'?"),
        ("align.min_confidnce", "unknown key 'align.min_confidnce'; did you mean 'min_confidence'?"),
        ("shard.zzz", "unknown key 'shard.zzz'; allowed here: seed, samples_per_shard, effective_beta"),
    ],
)
def test_an_unknown_key_is_refused_with_a_hint(raw: Raw, key: str, said: str) -> None:
    assert complaint(changed(raw, key, 1)) == said


@pytest.mark.parametrize("key", [1, None])
def test_a_key_that_is_no_text_is_refused(raw: Raw, key: object) -> None:
    assert complaint({**raw, key: 2}).startswith(f"unknown key '{key}'; ")  # type: ignore[dict-item]


@pytest.mark.parametrize("key", [1, None])
def test_a_key_that_is_no_text_is_refused_in_a_group(raw: Raw, key: object) -> None:
    message = complaint({**raw, "report": {**raw["report"], key: 2}})
    assert message == f"unknown key 'report.{key}'; allowed here: faces_per_class"


def test_every_problem_gets_its_line(raw: Raw) -> None:
    with pytest.raises(UserError) as caught:
        check_params(changed(changed(raw, "beta", -1), "align.min_face", 3), source="here")
    assert str(caught.value).splitlines() == [
        "here: beta must be a number in [0, 100], got -1",
        "here: align.min_face must be a whole number in [12, 1024], got 3",
    ]


def test_none_stands_for_no_set(raw: Raw) -> None:
    said = complaint(changed(raw, "pretrain.epochs", 2))
    assert said.startswith("pretrain.epochs is 2, pretrain.dataset is none; name the shard set to learn from first")
    for key, value in (("dataset", "none"), ("mix", {"none": 0.1})):
        assert complaint(changed(raw, key, value)).startswith("no shard set can be called none")
    assert check_params(changed(changed(raw, "pretrain.epochs", 2), "pretrain.dataset", "rafdb")).pretrain.epochs == 2


def test_noise_without_a_kind_is_a_contradiction(raw: Raw) -> None:
    assert complaint(changed(raw, "noise_rate", 0.4)).startswith("noise_rate is 0.4 but noise_kind is none")
    assert check_params(changed(changed(raw, "noise_rate", 0.4), "noise_kind", "pair")).noise_rate == 0.4


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"noise_kind": "listed"},
            "noise_kind is listed, so that the noise is that of the list: index.noise_list must",
        ),
        ({"index.noise_list": "a.txt"}, "index.noise_list is for index.layout rafdb; it must be null for affwild2"),
        ({"align.faces": "as_is"}, "align.faces is as_is but the frames of index.layout affwild2 are no crops"),
        ({"align.faces": "given"}, "align.faces is given but index.layout affwild2 comes without landmarks"),
        (
            {"index.layout": "rafdb", "noise_kind": "pair", "noise_rate": 0.2},
            "noise_unit is segment but the pictures of index.layout rafdb have nothing to do with each other",
        ),
        (
            {"index.layout": "rafdb", "noise_kind": "confusion", "noise_matrix": "x.csv"},
            "noise_unit is segment but the pictures of index.layout rafdb have nothing to do with each other",
        ),
    ],
)
def test_what_a_layout_cannot_do_is_a_contradiction(raw: Raw, changes: Raw, said: str) -> None:
    for key, value in changes.items():
        raw = changed(raw, key, value)
    assert complaint(raw).startswith(said)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"noise_kind": "list", "noise_rate": 0.1, "noise_list": "x.csv"}, "noise_rate is 0.1 but noise_kind is list"),
        ({"noise_kind": "confusion"}, "noise_kind is confusion, so noise_matrix must name a CSV file; it is null"),
        ({"noise_list": "x.csv"}, "noise_list is x.csv but noise_kind is none; set noise_kind to list"),
        (
            {"method": "coteaching", "networks": 3},
            "method coteaching is defined for 2 networks, networks is 3; set networks to 2 or null",
        ),
        ({"method": "scn", "networks": 2}, "method scn is defined for 1 network, networks is 2; set networks to 1"),
    ],
)
def test_values_that_contradict_each_other_are_refused(raw: Raw, changes: Raw, said: str) -> None:
    assert complaint(raw | changes).startswith(said)


@pytest.mark.parametrize(("method", "networks"), [("cct", 3), ("ce", 3), ("jocor", 2), ("scn", 1), ("eac", 1)])
def test_a_method_brings_its_number_of_networks(raw: Raw, method: str, networks: int) -> None:
    assert check_params(raw | {"method": method, "networks": None}).networks == networks
    if method in ("cct", "ce", "eac"):
        assert check_params(raw | {"method": method, "networks": 4}).networks == 4


def test_parameters_cannot_be_changed(params: Params) -> None:
    with pytest.raises(ValueError, match="frozen"):
        params.align.min_face = 12  # type: ignore[misc]


@pytest.mark.parametrize(("text", "value"), [("1e-3", 1e-3), ("1E-4", 1e-4), ("1", 1.0), (".5", 0.5)])
def test_numbers_may_be_written_in_any_usual_way(tmp_path: Path, raw: Raw, text: str, value: float) -> None:
    lines = (ROOT / "params.yaml").read_text().splitlines()
    written = [f"lr_head: {text}" if line.startswith("lr_head:") else line for line in lines]
    loaded = load_text(tmp_path, "\n".join(written)).lr_head
    assert isinstance(loaded, float)
    assert loaded == value


@pytest.mark.parametrize("text", ["", "- beta: 4.0\n", "beta\n", "4.0", "null"])
def test_a_file_without_keys_is_refused(tmp_path: Path, text: str) -> None:
    assert "must hold keys and values" in load_complaint(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("beta: 4.0\nbeta: 5.0\n", "beta"),
        ("align:\n  quality: 95\n  quality: 90\n", "quality"),
        ("beta: [4.0\n", "line 2"),
        ("beta: 4.0\n\tnetworks: 3\n", "line 2"),
        ("beta: *unknown\n", "unknown"),
        ("beta: !!python/object:os.system {}\n", "python"),
        ("beta: 1\n---\nbeta: 2\n", "line"),
    ],
)
def test_broken_yaml_is_said_in_one_line_with_its_place(tmp_path: Path, text: str, named: str) -> None:
    assert named in load_complaint(tmp_path, text)


@pytest.mark.parametrize("text", [b"beta: \xe9\xff\n", b"beta: \x07\n", b"beta: 4.0\n\0"], ids=["latin", "bell", "nul"])
def test_bytes_that_are_no_text_are_said_in_one_line(tmp_path: Path, text: bytes) -> None:
    assert "cannot be read" in load_complaint(tmp_path, text)


def test_an_impossible_date_is_said_in_one_line(tmp_path: Path) -> None:
    load_complaint(tmp_path, "dataset: 2001-13-45\n")


def test_a_missing_file_says_where_to_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"params\.yaml not found; run from the project's folder"):
        load_params(tmp_path / "params.yaml")
