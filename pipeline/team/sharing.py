"""A shard set on its way: from one machine's cache to the team's remote, and from there into another's folder."""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from dvc.repo import Repo
from dvc_data.hashfile import load
from dvc_data.hashfile.checkout import CheckoutError, LinkError, PromptError, checkout
from dvc_data.hashfile.db import HashFileDB
from dvc_objects.fs.local import localfs

from pipeline.contract import UserError
from pipeline.params import Params
from pipeline.shards import verification
from pipeline.team import guard, runs
from pipeline.team.project import Remote, find_remote, opened_project
from pipeline.team.transfer import NOTHING, Moved, bring, discard_damaged, send
from pipeline.team.wanted import Part, Wanted, everything_kept, listing, needed_for_training, parts


def push(params: Params, remote_name: str | None, *, everything: bool, thorough: bool) -> tuple[Remote, Moved]:
    """Sends what training needs, or all that DVC keeps, and the run-cache. Listings go last: a set is there as a whole.

    Raises:
        UserError: if a restricted set would go to a remote that is not marked private, and if something is missing.
    """
    with opened_project() as repo:
        remote, cache = find_remote(repo, remote_name), repo.cache.local
        wanted = _wanted(repo, params, everything=everything)
        for each in wanted:
            if (listed := listing(each)) and not cache.exists(listed.oid):
                raise UserError(
                    f"{each.path} is not in this machine's cache; `cct team pull` brings it, or `dvc repro shard` with "
                    "the parameters that it was built with"
                )
        guard.refuse_restricted(cache, remote, wanted)
        contents = [part for each in wanted for part in parts(cache, each)]
        moved = send(cache, remote, contents, thorough=thorough)
        moved += send(cache, remote, [part for each in wanted if (part := listing(each))], thorough=thorough)
        runs.push_runs(repo, remote)
    return remote, moved


def pull(
    params: Params, remote_name: str | None, *, everything: bool, force: bool
) -> tuple[Remote | None, Moved, list[str]]:
    """Fetches what training needs, or all that DVC keeps, puts it in its place, and verifies the shard sets.

    Where the cache has all of it no remote is needed: sets that were built here come back from there.

    Args:
        force: replace files that were changed here.

    Returns:
        The remote if there is one, what was fetched, and the shard sets that were verified.

    Raises:
        UserError: naming what is missing, what is damaged, and who can mend it.
    """
    with opened_project() as repo:
        cache, moved = repo.cache.local, NOTHING
        wanted = _wanted(repo, params, everything=everything)
        is_alone = remote_name is None and not repo.config["core"].get("remote") and _is_cached(cache, wanted)
        remote = None if is_alone else find_remote(repo, remote_name)
        if remote is not None:
            moved += bring(cache, remote, [part for each in wanted if (part := listing(each))])
            moved += bring(cache, remote, [part for each in wanted for part in parts(cache, each)])
        for each in wanted:
            _place(repo, each, force=force)
            if each.is_shard_set:
                moved += _verified(repo, remote, each)
        if remote is not None:
            runs.pull_runs(repo, remote)
    return remote, moved, [each.path for each in wanted if each.is_shard_set]


def _wanted(repo: Repo, params: Params, *, everything: bool) -> list[Wanted]:
    needed = needed_for_training(repo, params)
    more = everything_kept(repo) if everything else []
    return list({each.path: each for each in (*needed, *more)}.values())


def _is_cached(cache: HashFileDB, wanted: Sequence[Wanted]) -> bool:
    """Whether all of it is in this machine's cache."""
    listings = [part.oid for each in wanted if (part := listing(each))]
    return all(map(cache.exists, listings)) and all(
        cache.exists(part.oid) for each in wanted for part in parts(cache, each)
    )


def _verified(repo: Repo, remote: Remote | None, shard_set: Wanted) -> Moved:
    """Verifies a set that was put in its place; what was damaged in the cache is fetched again, once."""
    problems = verification.verify(Path(shard_set.path))
    if not problems:
        return NOTHING
    for problem in problems:
        print(problem, file=sys.stderr)
    cache: HashFileDB = repo.cache.local
    contents: list[Part] = parts(cache, shard_set)
    damaged = discard_damaged(cache, contents)
    if remote is None:
        raise UserError(
            f"{problems[0]}; it was damaged in this machine's cache and is removed from there, and no remote is the "
            "default to fetch it from: build the set again with `dvc repro --force --single-item shard`"
        )
    for path in damaged:
        print(f"{path}: damaged in this machine's cache; removed, and fetched again", file=sys.stderr)
    moved = bring(cache, remote, contents)
    shutil.rmtree(shard_set.path)
    _place(repo, shard_set, force=True)
    if problems := verification.verify(Path(shard_set.path)):
        raise UserError(
            f"{problems[0]}; it is damaged on remote {remote.name} and was when it was pushed: whoever built the set "
            "runs `dvc repro --force --single-item shard`, commits dvc.lock and runs `cct team push`"
        )
    return moved


def _place(repo: Repo, wanted: Wanted, *, force: bool) -> None:
    """Puts a file or folder where the project expects it, by link where the cache's settings and the disk permit."""
    place = Path(wanted.path).absolute()
    place.parent.mkdir(parents=True, exist_ok=True)
    cache = repo.cache.local
    try:
        checkout(str(place), localfs, load(cache, wanted.digest), cache, force=force, state=repo.state, quiet=True)
        # `dvc exp run` removes folders that DVC linked and no stage makes with the parameters of the day: sets that
        # are mixed in would go. What is recorded otherwise than it is counts as the user's own.
        repo.state.set_link(str(place), 0, 0)
    except PromptError as error:
        changed = Path(error.path).relative_to(Path.cwd())
        raise UserError(
            f"{changed} was changed here and would be lost; move it away, or: cct team pull --force"
        ) from None
    except (CheckoutError, LinkError) as error:
        raise UserError(
            f"{wanted.path} cannot be put in its place ({error}); `cct team check` looks into the cache"
        ) from None
