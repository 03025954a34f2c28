"""What dvc.lock says a result is of: parameters, pre-training, the code of training and evaluation, the shards."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from pipeline.contract import RESULTS, Paths, UserError
from pipeline.files import digest_of
from pipeline.params import Params
from pipeline.train_params import PretrainParams, TrainParams

LOCK = Path("dvc.lock")
_PIPELINE = Path("dvc.yaml")
_STAGES = ("train", "evaluate")
_LEARNING = ("mixed", "premixed", "pretrain")
"""Stages that depend on sets beside `dataset`."""

_WITHOUT_EFFECT = {"workers": 0, "snapshot_minutes": 10.0, "device": "auto", "devices": "auto"} | {
    "stream": "local",
    "stream_remote": None,
    "stream_cache_gb": 20.0,
}
"""Parameters that no table tells apart; all but devices are not in dvc.lock. Devices change rounding alone."""


class _Loader(yaml.CSafeLoader):
    """YAML 1.2, in which dvc.lock is written and 1e-05 is a number too; ruamel takes a second for a dvc.lock."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


@dataclass(frozen=True)
class Version:
    """What a result depends on besides parameters: the code that trains and evaluates, and the shard sets.

    Attributes:
        code: a digest.
        sets: names and digests of shard sets. Of a run those that it learned from or was evaluated on; rows of a table
            may name different ones.
    """

    code: str
    sets: tuple[tuple[str, str], ...]

    def agrees(self, other: "Version") -> bool:
        """Whether the code is the same, and each set that both have."""
        theirs = dict(other.sets)
        return self.code == other.code and all(theirs.get(name, digest) == digest for name, digest in self.sets)


@dataclass(frozen=True, kw_only=True)
class LockedRun:
    """A training and its evaluation, as recorded: `settings` as of `settings_of`, `rows` the digest of its epochs."""

    settings: str
    seed: int
    version: Version
    rows: str


def settings_of(params: TrainParams, pretrain: PretrainParams) -> str:
    """Everything that a result depends on but the seed, as text: equal for equal runs, however they were asked for.

    Without epochs of pre-training its sets are of no account.
    """
    kept = params.model_dump(include=set(TrainParams.model_fields), exclude={"seed", *_WITHOUT_EFFECT})
    return json.dumps(kept | {"pretrain": pretrain.model_dump() if pretrain.epochs else None}, sort_keys=True)


def settings_of_run(params: Params) -> str:
    """`settings_of` the parameters of a run that is asked for."""
    return settings_of(params, params.pretrain)


def sets_of(params: TrainParams, pretrain: PretrainParams) -> list[str]:
    """Names of the shard sets that a run learns from, the one that it is evaluated on first."""
    before = [pretrain.dataset, *pretrain.mix] if pretrain.epochs else []
    return list(dict.fromkeys([params.dataset, *params.mix, *before]))


def locked_run(content: bytes) -> LockedRun | None:
    """What the results in a dvc.lock are of; None unless training and evaluation are there and belong together."""
    lock = _stages(content)
    if not {"pretrain", *_STAGES} <= set(lock):
        return None
    raw = dict(lock["train"]["params"]["params.yaml"])
    epochs, pretrain = raw.pop("pretrain.epochs", 0), lock["pretrain"]["params"]["params.yaml"]["pretrain"]
    try:
        params = TrainParams.model_validate(_WITHOUT_EFFECT | raw)
        before = PretrainParams.model_validate(pretrain | {"epochs": epochs})
    except ValidationError:
        return None  # of a time when there were other parameters
    needs, makes = _hashes(lock, _STAGES, "deps"), _hashes(lock, ("pretrain", "train"), "outs")
    if any(needs[path] != digest for path, digest in makes.items() if path in needs):
        return None  # the evaluation is of another training than the one that is recorded beside it
    code = {path: digest for path, digest in needs.items() if path.endswith(".py")}
    learning = [name for name in lock if name.split("@")[0] in _LEARNING]
    shards = _hashes(lock, learning, "deps") | needs
    return LockedRun(
        settings=settings_of(params, before),
        seed=params.seed,
        version=Version(
            _code_digest(code), tuple((name, shards.get(_shards(name), "")) for name in sorted(sets_of(params, before)))
        ),
        rows=makes.get(str(RESULTS / "training.csv"), ""),
    )


def current_version(params: Params) -> Version:
    """The code and the shard sets that a run has now, whichever of them it learns from.

    Raises:
        UserError: if the shard set is not in dvc.lock, so that no checkout could have it.
    """
    lock, own = _stages(LOCK.read_bytes()) if LOCK.exists() else {}, _shards(params.dataset)
    digest = _hashes(lock, tuple(lock), "outs").get(own)
    if digest is None:
        raise UserError(f"{own} is not in {LOCK}; run `dvc repro shard`, then commit {LOCK} with git")
    sets = {path.stem: _md5(path) for path in Path(own).parent.glob("*.json")} | {params.dataset: digest}
    stages = _stages(_PIPELINE.read_bytes())
    code = {str(dep) for stage in _STAGES for dep in stages[stage]["deps"] if str(dep).endswith(".py")}
    return Version(_code_digest({name: _md5(Path(name)) for name in code}), tuple(sorted(sets.items())))


def _stages(content: bytes) -> dict[str, Any]:
    """Of a dvc.yaml or dvc.lock; none where it is not one."""
    try:
        return dict((yaml.load(content, Loader=_Loader) or {}).get("stages") or {})
    except (yaml.YAMLError, AttributeError):
        return {}


def _hashes(lock: Mapping[str, Any], stages: Iterable[str], kind: str) -> dict[str, str]:
    """Path to digest of what the stages need (`deps`) or make (`outs`)."""
    return {each["path"]: each.get("md5", "") for stage in stages for each in lock[stage].get(kind, [])}


def _shards(name: str) -> str:
    """The file that names the set, which is what training depends on (docs/decisions/060)."""
    return f"{Paths(dataset=name).shards}.json"


def _code_digest(code: Mapping[str, str]) -> str:
    return digest_of(sorted(code.items()))


def _md5(path: Path) -> str:
    """As DVC records a file."""
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
