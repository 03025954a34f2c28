"""Finished experiments, as DVC and git tell of them."""

import json
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.contract import UserError
from train.tables.locked import LOCK, LockedRun, locked_run

DVC = (sys.executable, "-m", "dvc")
MEASURES = ("f1", "accuracy", "score", "best_epoch_f1")
_METRICS = "results/metrics.json"


@dataclass(frozen=True, kw_only=True)
class Finished:
    """An experiment with its scores.

    Attributes:
        name: as DVC shows it.
        commit: the commit it began from, shortened.
        run: what it is of, from its own dvc.lock: names and params.yaml of a commit may say something else.
        scores: by the names of `MEASURES`, in [0, 1].
        created: when, as text that sorts by time.
    """

    name: str
    commit: str
    run: LockedRun
    scores: Mapping[str, float]
    created: str


def finished_experiments() -> list[Finished]:
    """All experiments of this repository with scores, a teammate's that were pulled too, and commits with results.

    Raises:
        UserError: if DVC or git cannot tell them.
    """
    told = json.loads(_output(*DVC, "exp", "show", "--json", *(f"--rev={rev}" for rev in _baselines())))
    entries = list(_entries(told))
    locks = _locks([data["rev"] for data, _, _ in entries])
    made = (_finished(data, name, commit, locks.get(data["rev"], b"")) for data, name, commit in entries)
    return [each for each in made if each is not None]


def full_name(commit: str) -> str:
    """What git makes of a commit's name: `HEAD`, a branch, a tag; one that git does not know stays as it is."""
    asked = ["git", "rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    return done.stdout.strip() or commit


def cached(digests: Iterable[str]) -> dict[str, Path]:
    """The files of outputs in DVC's cache, by digest; those that are there."""
    folder = Path(_output(*DVC, "cache", "dir").strip()) / "files/md5"
    paths = {digest: folder / digest[:2] / digest[2:] for digest in digests if digest}
    return {digest: path for digest, path in paths.items() if path.exists()}


def _finished(data: Mapping[str, Any], name: str, commit: str, lock: bytes) -> Finished | None:
    scores = ((data.get("metrics") or {}).get(_METRICS) or {}).get("data") or {}
    if not all(measure in scores for measure in MEASURES):
        return None
    run = locked_run(lock)
    if run is None:
        return None
    return Finished(
        name=name,
        commit=commit[:7],
        run=run,
        scores={measure: float(scores[measure]) for measure in MEASURES},
        created=str(data.get("timestamp")),
    )


def _entries(told: Iterable[Mapping[str, Any]]) -> Iterable[tuple[Mapping[str, Any], str, str]]:
    """Data, name and first commit of everything in `dvc exp show --json` that has data, but the workspace."""
    for line in told:
        if line["rev"] == "workspace":
            continue
        if line.get("data"):
            yield line["data"], line.get("name") or line["rev"][:7], line["rev"]
        for experiment in line.get("experiments") or []:
            for rev in experiment.get("revs") or []:
                if rev.get("data"):
                    yield rev["data"], experiment.get("name") or rev["rev"][:7], line["rev"]


def _baselines() -> list[str]:
    """HEAD, and the commits that experiments began from: a ref is refs/exps/ab/cdef…/NAME."""
    listed = _output("git", "for-each-ref", "--format=%(refname)", "refs/exps").split()
    found = (re.match(r"refs/exps/([0-9a-f]{2})/([0-9a-f]{38})/", ref) for ref in listed)
    head = _output("git", "rev-parse", "HEAD").strip()
    return [head, *sorted({match[1] + match[2] for match in found if match} - {head})]


def _locks(revs: list[str]) -> dict[str, bytes]:
    """dvc.lock of every commit that has one."""
    asked = "".join(f"{rev}:./{LOCK}\n" for rev in revs).encode()
    told = subprocess.run(["git", "cat-file", "--batch"], input=asked, capture_output=True, check=True).stdout
    found, at = {}, 0
    for rev in revs:
        header, begin = told[at:].split(b"\n", 1)[0], told.index(b"\n", at) + 1
        size = 0 if header.endswith(b"missing") else int(header.split()[-1])
        if size:
            found[rev] = told[begin : begin + size]
        at = begin + size + (size > 0)
    return found


def _output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip() or done.stdout.strip() or "no reason given").splitlines()[-1]
        raise UserError(f"`{' '.join(command[:6])}` failed: {reason}")
    return done.stdout
