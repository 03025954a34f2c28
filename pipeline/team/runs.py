"""DVC's run-cache on a remote: what stages made of what, so that nobody runs again what somebody ran.

An entry is a small file named after the digest of what it says. `dvc push --run-cache` sends all of them every time,
and `dvc pull --run-cache` believes what it gets; here only what is missing moves, and what was cut off is left out.
"""

from collections.abc import Iterable
from pathlib import Path

from dvc.repo import Repo
from dvc.utils import dict_sha256
from dvc_objects.fs.generic import copy
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pipeline.team.project import Remote, sizes, speaking_with

_UNCOUNTED = ["size", "nfiles"]
"""What DVC leaves out of an entry's digest."""


def push_runs(repo: Repo, remote: Remote) -> int:
    """Sends the entries that a remote lacks; how many."""
    here = _cache(repo)
    entries = [path for path in sorted(here.glob("*/*/*")) if is_sound(path)]
    there = [_on_remote(repo, remote, path.relative_to(here)) for path in entries]
    pairs = zip(entries, there, sizes(remote, there), strict=True)
    lacking = [(str(ours), theirs) for ours, theirs, size in pairs if size != ours.stat().st_size]
    with speaking_with(remote.name, remote.url):
        if lacking:
            copy(
                repo.cache.local.fs, [ours for ours, _ in lacking], remote.objects.fs, [theirs for _, theirs in lacking]
            )
    return len(lacking)


def pull_runs(repo: Repo, remote: Remote) -> int:
    """Fetches the entries that are not here; how many. What is not whole is left out."""
    here, fs = _cache(repo), remote.objects.fs
    root = _on_remote(repo, remote, Path())
    with speaking_with(remote.name, remote.url):
        found = [Path(*fs.parts(path)[-3:]) for path in fs.find(root)] if fs.exists(root) else []
        missing = [entry for entry in found if not (here / entry).exists()]
        if missing:
            targets = [str(here / entry) for entry in missing]
            for target in targets:
                repo.cache.legacy.makedirs(str(Path(target).parent))  # with the rights that a shared cache needs
            copy(fs, [_on_remote(repo, remote, entry) for entry in missing], repo.cache.local.fs, targets)
    return len(missing) - _drop_unsound(here / entry for entry in missing)


def is_sound(entry: Path) -> bool:
    """Whether an entry says what its name is the digest of."""
    try:
        content = YAML(typ="safe", pure=True).load(entry)
        return isinstance(content, dict) and dict_sha256(content, exclude=_UNCOUNTED) == entry.name
    except (OSError, YAMLError, ValueError, TypeError):
        return False


def _drop_unsound(entries: Iterable[Path]) -> int:
    unsound = [entry for entry in entries if not is_sound(entry)]
    for entry in unsound:
        entry.unlink(missing_ok=True)
    return len(unsound)


def _cache(repo: Repo) -> Path:
    return Path(repo.cache.legacy.path, "runs")


def _on_remote(repo: Repo, remote: Remote, entry: Path) -> str:
    root = repo.cloud.get_remote_odb(remote.name, hash_name="md5-dos2unix").path
    return str(remote.objects.fs.join(root, "runs", *entry.parts))
