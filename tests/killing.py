"""Real runs of `dvc repro shard` that are ended by signals at chosen moments, and what must be true afterwards."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import psutil
from ruamel.yaml import YAML, YAMLError

from pipeline.files import digest_file
from pipeline.sealed import LISTING, damage
from pipeline.store import WorkStore
from tests.projects import Project, copy_project, environment

STAGES = ("index", "extract", "align", "shard")
PLACES = (*(f"{when}{stage}" for stage in STAGES for when in ("before ", "")), "after shard")
"""Stretches of a run, in order: a stage's process, and DVC by itself before each and after the last."""

CLIPS = ("demo-001", "demo-012", "demo-029")
CHANGES = {"extract.stride": 30, "shard.samples_per_shard": 3, "engine.workers": 2}
OUTPUTS = ("data/index", "data/frames", "data/landmarks", "data/faces", "data/shards", "results")
STORE = "data/work"

_POLL_S = 0.01
_HANG_S = 600.0
_PARTING_S = 20.0

Victim = Literal["dvc", "group", "stage", "worker"]
Digests = dict[str, str]
"""SHA-256 by path in the project."""


@dataclass(frozen=True, kw_only=True)
class Reference:
    """What an undisturbed run leaves: its outputs, dvc.lock, and the entries of its work store."""

    outputs: Digests
    lock: str
    store: Digests


@dataclass(frozen=True, kw_only=True)
class Span:
    """A stretch of a run's timeline."""

    place: str
    began_s: float
    ended_s: float


@dataclass(frozen=True, kw_only=True)
class Shot:
    """A signal to be sent: at which share of the timeline, to whom."""

    share: float
    victim: Victim
    number: signal.Signals = signal.SIGKILL


@dataclass(kw_only=True)
class Outcome:
    """Where the signals of a disturbed run struck, how many finished files were kept, and all that went wrong."""

    places: list[str] = field(default_factory=list)
    finished: int = 0
    mended: list[str] = field(default_factory=list)
    """Files of DVC's own that it left cut off, and that were mended as docs/safety.md says."""
    problems: list[str] = field(default_factory=list)


class Run:
    """A `dvc repro shard` in a session of its own, watched from outside."""

    def __init__(self, project: Project) -> None:
        """Starts it; what it says goes to a file beside the project."""
        surroundings = {name: value for name, value in environment().items() if name != "CCT_STORE"}
        self._log = project.folder.with_suffix(".log")
        with self._log.open("w") as log:
            self.dvc = psutil.Popen(
                ["dvc", "repro", "shard"],
                cwd=project.folder,
                env=surroundings,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.began_s = time.monotonic()
        self.stage: psutil.Process | None = None
        self._place = 0

    def place(self) -> str:
        """Which of `PLACES` the run is at now."""
        if self.stage is None or not _lives(self.stage):
            self._place += self._place % 2
            self.stage = self._found_stage()
        return PLACES[self._place]

    def workers(self) -> list[psutil.Process]:
        """The worker processes of the stage at work."""
        with contextlib.suppress(psutil.Error):
            children = self.stage.children() if self.stage else []
            return [child for child in children if "resource_tracker" not in " ".join(child.cmdline())]
        return []

    def finish(self) -> int:
        """Waits for the end of dvc; its exit code."""
        return int(self.dvc.wait(_HANG_S))

    @property
    def said(self) -> str:
        """What dvc and its stages wrote so far."""
        return self._log.read_text()

    def _found_stage(self) -> psutil.Process | None:
        with contextlib.suppress(psutil.Error):
            for child in self.dvc.children(recursive=True):
                command = child.cmdline()
                if len(command) == 3 and "python" in command[0] and command[2].startswith("pipeline.stages."):
                    self._place = PLACES.index(command[2].removeprefix("pipeline.stages."))
                    return child
        return None


def _lives(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


def prepared(folder: Path) -> tuple[Project, Reference, list[Span]]:
    """A small set in a project of its own, built once, undisturbed: what that left, and its timeline."""
    project = copy_project(folder, clips=CLIPS)
    project.set_params(CHANGES)
    project.commit("A small set")
    spans = timeline(project)
    shutil.copytree(folder / STORE / "detections", folder.with_suffix(".detections"))
    lock = (folder / "dvc.lock").read_text()
    reference = Reference(outputs=digests(project, OUTPUTS), lock=lock, store=digests(project, [STORE]))
    return project, reference, spans


def start_over(project: Project, *, detected: bool) -> None:
    """Back to a fresh clone; if `detected`, with the detections of `prepared` in the work store, which saves most of
    the time."""
    project.run("git", "clean", "-dffxq")
    project.run("git", "reset", "--quiet", "--hard")
    if detected:
        shutil.copytree(project.folder.with_suffix(".detections"), project.folder / STORE / "detections")


def timeline(project: Project) -> list[Span]:
    """The stretches of an undisturbed run from where the project stands."""
    run = Run(project)
    seen = [("before index", 0.0)]
    while run.dvc.poll() is None:
        place = run.place()
        if place != seen[-1][0]:
            seen.append((place, time.monotonic() - run.began_s))
        time.sleep(_POLL_S)
    assert run.finish() == 0, run.said
    ends = [*(began_s for _, began_s in seen[1:]), time.monotonic() - run.began_s]
    return [Span(place=place, began_s=began_s, ended_s=end) for (place, began_s), end in zip(seen, ends, strict=True)]


def disturbed(
    project: Project, reference: Reference, spans: Sequence[Span], shots: Sequence[Shot], moments: random.Random
) -> Outcome:
    """Runs once a shot, each from where the one before was struck, then once to the end; looks at everything.

    Args:
        project: where it stands at the beginning of `spans`.
        reference: of an undisturbed run.
        spans: of an undisturbed run, in which the shots' moments are shares.
        shots: in order.
        moments: chooses among workers.
    """
    outcome, finished = Outcome(), _identities(project)
    for shot in [*shots, None]:
        if shot is not None:
            outcome.places.append(_shoot(project, spans, shot, moments))
        else:
            outcome.finished, run = len(finished), Run(project)
            if run.finish():
                outcome.problems.append(f"the next run failed: {run.said}")
        before, finished = finished, _identities(project)
        outcome.problems += [f"made again: {path}" for path in before if finished.get(path) != before[path]]
        outcome.problems += [f"orphan: {command}" for command in _orphans(project.folder)]
        outcome.problems += _wrong(project, reference)
        outcome.mended += mend_dvc(project.folder)
    outcome.problems += _missing(project, reference)
    return outcome


def _shoot(project: Project, spans: Sequence[Span], shot: Shot, moments: random.Random) -> str:
    """Runs to the moment, sends the signal, waits for the end of dvc; where it struck."""
    ended_s = spans[-1].began_s if shot.victim in ("stage", "worker") else spans[-1].ended_s
    at_s = shot.share * ended_s  # after the last stage there is nobody but dvc
    span = next(span for span in reversed(spans) if span.began_s <= at_s)
    run = Run(project)
    while run.dvc.poll() is None and PLACES.index(run.place()) < PLACES.index(span.place):
        time.sleep(_POLL_S)
    due_s = time.monotonic() + at_s - span.began_s
    while run.dvc.poll() is None and time.monotonic() < due_s and run.place() == span.place:
        time.sleep(_POLL_S)  # a stretch that is over sooner than it was is struck as it ends
    while run.dvc.poll() is None:
        place = run.place()
        targets = {"stage": [run.stage] if run.stage else [], "worker": run.workers()}.get(shot.victim, [run.dvc])
        if targets:
            with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
                if shot.victim == "group":
                    os.killpg(run.dvc.pid, shot.number)
                else:
                    moments.choice(targets).send_signal(shot.number)
                run.finish()
                return place
        time.sleep(_POLL_S)  # no such process yet
    return "nowhere"


def mend_dvc(folder: Path) -> list[str]:
    """DVC writes these two in place: a kill at that very moment leaves them cut off, and the next run refuses them."""
    mended = []
    for name in (".dvc/tmp/rwlock", "dvc.lock"):
        path = folder / name
        try:
            whole = not path.exists() or YAML(typ="safe").load(path.read_text()) is not None
        except YAMLError:
            whole = False
        if not whole:
            mended.append(name)
            path.unlink()
    return mended


def _orphans(folder: Path) -> list[str]:
    """Command lines of processes that still work in the folder after a while; they are killed."""
    give_up_s = time.monotonic() + _PARTING_S
    while (left := processes_in(folder)) and time.monotonic() < give_up_s:
        time.sleep(_POLL_S)
    commands = []
    for process in left:
        with contextlib.suppress(psutil.Error):
            commands.append(" ".join(process.cmdline()))
            process.kill()
    return commands


def processes_in(folder: Path) -> list[psutil.Process]:
    """Living processes whose working folder this is."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.cwd() == str(folder) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def digests(project: Project, folders: Sequence[str]) -> Digests:
    """SHA-256 of every file below, but for those of hidden names (work under way, leftovers), and for the listings of
    store entries, which hold times."""
    return {
        str(path.relative_to(project.folder)): digest_file(path)
        for folder in folders
        for path in _files(project.folder / folder)
        if path.name != LISTING and not any(part.startswith(".") for part in path.relative_to(project.folder).parts)
    }


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and "unfinished" not in path.parts)


def _identities(project: Project) -> dict[str, tuple[int, int]]:
    """Inode and time of change of every file of a finished entry of the work store."""
    stats = {path: path.stat() for path in _files(project.folder / STORE) if path.suffix != ".lock"}
    return {str(path): (stat.st_ino, stat.st_mtime_ns) for path, stat in stats.items()}


def _wrong(project: Project, reference: Reference) -> list[str]:
    """Whatever has a final name is complete, or absent."""
    found = digests(project, [*OUTPUTS, STORE])
    expected = reference.outputs | reference.store
    unsealed = [
        entry.folder for entry in WorkStore(project.folder / STORE).entries() if damage(entry.folder, thorough=True)
    ]
    return [f"damaged: {folder}" for folder in unsealed] + [
        f"half-written or foreign: {path}" for path in found if found[path] != expected.get(path)
    ]


def _missing(project: Project, reference: Reference) -> list[str]:
    """After a good run: nothing is missing, dvc.lock is as it was, and no temporary file is left."""
    found = digests(project, [*OUTPUTS, STORE])
    problems = [f"missing: {path}" for path in {**reference.outputs, **reference.store} if path not in found]
    if (project.folder / "dvc.lock").read_text() != reference.lock:
        problems.append("dvc.lock differs")
    hidden = [path for folder in ("data", "results") for path in (project.folder / folder).rglob(".*")]
    hidden += (project.folder / STORE / "unfinished").glob("*")
    return problems + [f"left over: {path}" for path in hidden if path.name != ".gitignore"]
