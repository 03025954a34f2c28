"""Which files a team shares: what training needs, or all that DVC keeps; told by dvc.lock."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dvc.repo import Repo
from dvc_data.hashfile.db import HashFileDB
from dvc_data.hashfile.hash_info import HashInfo
from dvc_data.hashfile.tree import Tree

from pipeline.contract import UserError
from pipeline.params import Params

SHARDS = "data/shards/"
_WEIGHTS = "models/"


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
    """The shard sets that training reads, and the weights it starts from where there was pre-training.

    A set that was prepared here is an output of the stage shard; one that was prepared under another `dataset` is known
    as what the stage mix depends on.

    Raises:
        UserError: if dvc.lock does not know one of them.
    """
    digests: dict[str, HashInfo | None] = {}
    for stage in _stages(repo, "shard"):
        digests |= {out.def_path: out.hash_info for out in stage.outs if out.use_cache and _is_below(SHARDS, out)}
    for stage in _stages(repo, "mix"):
        sets = [dep for dep in stage.deps if _is_below(SHARDS, dep) and not digests.get(dep.def_path)]
        own = SHARDS + params.dataset
        digests |= {dep.def_path: dep.hash_info for dep in sets if params.pretrain.epochs or dep.def_path == own}
    for stage in _stages(repo, "pretrain") if params.pretrain.epochs else ():
        digests |= {out.def_path: out.hash_info for out in stage.outs if out.hash_info and _is_below(_WEIGHTS, out)}
    wanted = []
    for path, digest in digests.items():
        if not digest:
            raise UserError(
                f"dvc.lock knows no {path}: whoever has the raw set runs `dvc repro shard`, commits dvc.lock, and runs "
                "`cct team push`; then `git pull` here"
            )
        wanted.append(Wanted(path=path, digest=digest))
    return wanted


def everything_kept(repo: Repo) -> list[Wanted]:
    """All outputs that DVC keeps in its cache and dvc.lock knows: what `dvc push` sends."""
    outs = (out for out in repo.index.outs if out.use_cache and out.hash_info)
    return [Wanted(path=out.def_path, digest=out.hash_info) for out in outs]


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


def _is_below(folder: str, output: Any) -> bool:
    return bool(output.def_path.startswith(folder))
