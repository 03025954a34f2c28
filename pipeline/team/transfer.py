"""Objects of DVC's between this machine's cache and a remote, each compared with its digest."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dvc_data.hashfile.db import HashFileDB
from dvc_data.hashfile.hash import file_md5
from dvc_objects.errors import ObjectFormatError
from fsspec.callbacks import Callback

from pipeline.contract import UserError
from pipeline.progress import Progress
from pipeline.team.project import Remote, first_line, sizes, speaking_with
from pipeline.team.wanted import Part

_MOST_NAMED = 5
_MEND_CACHE = (
    "`dvc repro --force --single-item shard` makes it again where it was built, `cct team pull` fetches it elsewhere"
)


@dataclass(frozen=True, kw_only=True)
class Moved:
    """How much was sent or fetched."""

    files: int
    size_bytes: int

    def __add__(self, other: "Moved") -> "Moved":
        return Moved(files=self.files + other.files, size_bytes=self.size_bytes + other.size_bytes)


NOTHING = Moved(files=0, size_bytes=0)


def send(cache: HashFileDB, remote: Remote, parts: Sequence[Part], *, thorough: bool) -> Moved:
    """Sends what a remote lacks, or holds with another length: what a killed push left, or damage.

    Args:
        thorough: read back every object that the remote has, and send again what differs.

    Raises:
        UserError: naming what is neither here nor there, what is damaged here, or what could not be sent.
    """
    parts = _distinct(parts)
    here = {part: _cached_size(cache, part) for part in parts}
    there = _remote_sizes(remote, parts)
    lost = [part.path for part in parts if here[part] is None and there[part] is None]
    _refuse(_lines(lost, "neither in this machine's cache nor on the remote; `dvc repro` makes it again"))
    differing = [
        part
        for part in parts
        if here[part] is not None and (there[part] != here[part] or (thorough and not _is_right(remote, part)))
    ]
    damaged = [part.path for part in differing if file_md5(cache.oid_to_path(part.oid)) != _md5(part)]
    _refuse(_lines(damaged, f"damaged in this machine's cache, not sent; {_MEND_CACHE}"))
    with speaking_with(remote.name, remote.url):
        for part in differing:
            if there[part] is not None:  # a folder keeps what it has
                remote.objects.delete(part.oid)
    failed = _add(remote.objects, cache, differing, label="push", verify=False)
    after = _remote_sizes(remote, differing)
    unsent = [part for part in differing if after[part] != here[part]]
    _refuse(_lines([f"{part.path} ({_reason(failed, part)})" for part in unsent], f"not sent to remote {remote.name}"))
    return Moved(files=len(differing), size_bytes=sum(size or 0 for size in after.values()))


def bring(cache: HashFileDB, remote: Remote, parts: Sequence[Part]) -> Moved:
    """Fetches into the cache what it lacks; what does not have its digest is thrown away.

    Raises:
        UserError: naming what the remote lacks, what is damaged there, or what could not be fetched.
    """
    missing = [part for part in _distinct(parts) if _needs_fetching(cache, part)]
    there = _remote_sizes(remote, missing)
    failed = _add(
        cache, remote.objects, [part for part in missing if there[part] is not None], label="pull", verify=True
    )
    still = [part for part in missing if _needs_fetching(cache, part)]
    absent = [part.path for part in still if there[part] is None]
    broken = [f"{part.path} ({_reason(failed, part)})" for part in still if part.oid in failed]
    damaged = [
        f"{part.path} (object {part.oid})" for part in still if there[part] is not None and part.oid not in failed
    ]
    whoever = "whoever built it runs `cct team push"
    _refuse(
        _lines(damaged, f"damaged on remote {remote.name}; {whoever} --verify`, then pull again")
        + _lines(absent, f"not on remote {remote.name}; {whoever}`, then pull again")
        + _lines(broken, f"not fetched from remote {remote.name}; run `cct team pull` again")
    )
    return Moved(files=len(missing), size_bytes=sum(_cached_size(cache, part) or 0 for part in missing))


def discard_damaged(cache: HashFileDB, parts: Sequence[Part]) -> list[str]:
    """Reads every object in the cache and removes those that differ from their digest; the files they stood for."""
    removed = []
    with Progress("read the cache", len(parts), unit="objects") as progress:
        for part in _distinct(parts):
            path = cache.oid_to_path(part.oid)
            if Path(path).exists() and file_md5(path) != _md5(part):
                cache.delete(part.oid)
                removed.append(part.path)
            progress.step()
    return removed


class _Counting(Callback):
    """Tells a `Progress` of every finished file."""

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self._progress = progress

    def relative_update(self, inc: int = 1) -> None:
        self._progress.step(inc)


def _add(
    to: HashFileDB, source: HashFileDB, parts: Sequence[Part], *, label: str, verify: bool
) -> dict[str, BaseException]:
    """Copies objects; those that failed or may have, with the reason. DVC compares what arrives with its digest if
    `verify`, and drops what differs."""
    failed: dict[str, BaseException] = {}
    with Progress(label, len(parts), unit="objects", silent=not parts) as progress:
        try:
            to.add(
                [source.oid_to_path(part.oid) for part in parts],
                source.fs,
                [part.oid for part in parts],
                callback=_Counting(progress),
                check_exists=False,
                on_error=failed.__setitem__,
                verify=verify,
            )
        except Exception as error:  # clients' own kinds; and DVC stumbles over a failed file's missing temporary file
            reason = next(iter(failed.values()), error)
            failed = dict.fromkeys((part.oid for part in parts), reason) | failed
    return failed


def _distinct(parts: Sequence[Part]) -> list[Part]:
    return list({part.oid: part for part in parts}.values())


def _md5(part: Part) -> str:
    return part.oid.partition(".")[0]


def _cached_size(cache: HashFileDB, part: Part) -> int | None:
    try:
        return Path(cache.oid_to_path(part.oid)).stat().st_size
    except FileNotFoundError:
        return None


def _remote_sizes(remote: Remote, parts: Sequence[Part]) -> dict[Part, int | None]:
    found = sizes(remote, [remote.objects.oid_to_path(part.oid) for part in parts])
    return dict(zip(parts, found, strict=True))


def _needs_fetching(cache: HashFileDB, part: Part) -> bool:
    """Whether an object is not in the cache; one that DVC has not yet compared with its digest is compared now."""
    try:
        cache.check(part.oid)
    except (FileNotFoundError, ObjectFormatError):
        return True
    return False


def _is_right(remote: Remote, part: Part) -> bool:
    objects = remote.objects
    with speaking_with(remote.name, remote.url):
        return file_md5(objects.oid_to_path(part.oid), objects.fs) == _md5(part)


def _reason(failed: dict[str, BaseException], part: Part) -> str:
    return first_line(failed[part.oid]) if part.oid in failed else "it arrived with another length"


def _lines(paths: Sequence[str], problem: str) -> list[str]:
    """A line a path, for the first few, and how many more there are."""
    named = [f"{path}: {problem}" for path in paths[:_MOST_NAMED]]
    more = len(paths) - _MOST_NAMED
    return named + [f"and {more} more such files"] * (more > 0)


def _refuse(problems: Sequence[str]) -> None:
    if problems:
        raise UserError("\n".join(problems))
