"""Which files a team shares: the shard sets that training needs, as git's files name them, or all that DVC keeps."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dvc.repo import Repo
from dvc_data.hashfile.db import HashFileDB
from dvc_data.hashfile.hash_info import HashInfo
from dvc_data.hashfile.tree import Tree

from pipeline.contract import UserError
from pipeline.params import Params
from pipeline.shards.naming import named_objects

SHARDS = "data/shards/"
_WEIGHTS = "models/"
_LOCK = Path("dvc.lock")
_NAMED = re.compile(rf"\b{SHARDS}([a-z0-9][a-z0-9_-]*)")


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A file or folder of the project, by the digest that dvc.lock records."""

    path: str
    digest: HashInfo

    @property
    def is_shard_set(self) -> bool:
        """Whether it has a manifest to be verified against."""
        return self.path.startswith(SHARDS)


@dataclass(frozen=True, kw_only=True)
class Part:
    """An object of DVC's: its MD5 (with `.dir` for a listing), and the file of the project whose bytes it holds."""

    oid: str
    path: str


def needed_for_training(repo: Repo, params: Params) -> list[Wanted]:
    """The shard sets that training reads (`dataset` and `mix`, and those of pre-training where there is some), and the
    weights that it starts from then.

    Raises:
        UserError: a line a set that no file beside its folder names.
    """
    names = [params.dataset, *params.mix]
    if params.pretrain.epochs:
        names += [params.pretrain.dataset, *params.pretrain.mix]
    wanted, unknown = [], []
    for name in dict.fromkeys(names):
        try:
            oid = named_objects(Path(SHARDS, name))
            wanted.append(Wanted(path=SHARDS + name, digest=HashInfo("md5", oid)))
        except UserError as error:
            unknown.append(str(error))
    if unknown:
        raise UserError("\n".join(unknown))
    for stage in _stages(repo, "pretrain") if params.pretrain.epochs else ():
        weights = [out for out in stage.outs if out.hash_info and out.def_path.startswith(_WEIGHTS)]
        wanted += [Wanted(path=out.def_path, digest=out.hash_info) for out in weights]
    return wanted


def everything_kept(repo: Repo) -> list[Wanted]:
    """All outputs that DVC keeps in its cache and dvc.lock knows: what `dvc push` sends."""
    outs = (out for out in repo.index.outs if out.use_cache and out.hash_info)
    return [Wanted(path=out.def_path, digest=out.hash_info) for out in outs]


def recorded_sets() -> dict[str, Wanted | None]:
    """The shard sets, by path, that what dvc.lock records was made from; None for one that no file names any more."""
    found: dict[str, Wanted | None] = {}
    for name in sorted(set(_NAMED.findall(_LOCK.read_text(errors="replace")))) if _LOCK.exists() else ():
        try:
            oid = named_objects(Path(SHARDS, name))
        except UserError:
            found[SHARDS + name] = None
        else:
            found[SHARDS + name] = Wanted(path=SHARDS + name, digest=HashInfo("md5", oid))
    return found


def listing(wanted: Wanted) -> Part | None:
    """The object that lists a folder's files; None for a single file."""
    return Part(oid=str(wanted.digest.value), path=f"{wanted.path}/") if wanted.digest.isdir else None


def parts(cache: HashFileDB, wanted: Wanted) -> list[Part]:
    """The files of a folder whose listing is in the cache, by path; or the single file."""
    if not wanted.digest.isdir:
        return [Part(oid=str(wanted.digest.value), path=wanted.path)]
    entries = Tree.load(cache, wanted.digest)
    return sorted(
        (Part(oid=str(digest.value), path="/".join((wanted.path, *key))) for key, _, digest in entries),
        key=lambda part: part.path,
    )


def _stages(repo: Repo, name: str) -> Iterator[Any]:
    return (stage for stage in repo.index.stages if getattr(stage, "name", None) == name)
