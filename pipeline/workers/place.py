"""What a worker on another machine must find before it may work, and how it works: in a process like those here.

Runs on both sides: `shared_place` here, `run_there` in a Dask worker, `_problem` in the process that it starts.
"""

import contextlib
import hashlib
import os
import pickle
import platform
import secrets
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pipeline
from pipeline.contract import UserError
from pipeline.libraries import PACKAGES
from pipeline.store import work_store
from pipeline.workers.limits import Limits
from pipeline.workers.processes import Processes

_CODE = "this project's code,"


class NobodyWorksError(UserError):
    """There is nobody to do the work, or not as it must be done: going on would be useless."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """The project's folder, files with a secret text in the folders that must be shared, what must be the same, and
    what a task may use."""

    folder: Path
    marks: tuple[tuple[Path, str], ...]
    versions: tuple[tuple[str, str], ...]
    limits: Limits


@contextlib.contextmanager
def shared_place(limits: Limits) -> Iterator[Place]:
    """The place as it is here; marks the project and the work store for as long as the block lasts."""
    folder = Path.cwd()
    secret = secrets.token_hex(16)
    with contextlib.ExitStack() as stack:
        marks = []
        for shared in (folder / "data", folder / work_store().root):
            shared.mkdir(parents=True, exist_ok=True)
            mark = stack.enter_context(tempfile.NamedTemporaryFile("w", dir=shared, prefix=".shared-"))
            mark.write(secret)
            mark.flush()
            Path(mark.name).chmod(0o644)  # workers may be somebody else's
            marks.append((Path(mark.name), secret))
        yield Place(folder=folder, marks=tuple(marks), versions=tuple(_versions().items()), limits=limits)


_thread = threading.local()
"""Each thread of a Dask worker keeps a process of ours, for as long as the place is the same."""


def run_there(place: Place, task: bytes) -> Any:
    """Runs a pickled (function, arguments, keywords) in a process of ours beside this Dask worker: isolated, limited,
    and with the code as it is now. It is unpickled there, and neither here nor by Dask's scheduler.

    Raises:
        NobodyWorksError: if the place here is not what it is where the run was started.
        Exception: what `Processes` hands on.
    """
    if getattr(_thread, "place", None) != place:
        _thread.place = None
        with contextlib.suppress(AttributeError):
            _thread.processes.shutdown()
        if not place.folder.is_dir():
            raise NobodyWorksError(_unfit(f"there is no folder {place.folder}; the project's must be shared"))
        _thread.processes = Processes(1, limits=place.limits, folder=place.folder)
        problem = _thread.processes.submit(_problem, place).result()
        if problem is not None:
            raise NobodyWorksError(_unfit(problem))
        _thread.place = place
    return _thread.processes.submit(_run, task).result()


def _run(task: bytes) -> Any:
    function, arguments, keywords = pickle.loads(task)
    return function(*arguments, **keywords)


def _unfit(problem: str) -> str:
    return f"the worker on {platform.node()} cannot take part: {problem}; see docs/cluster.md"


def _problem(place: Place) -> str | None:
    """What differs here, in words; None if nothing does."""
    for mark, secret in place.marks:
        try:
            same = mark.read_text() == secret
        except OSError:
            same = False
        if not same:
            return f"{mark.parent} is another folder there; it must be shared"
        if not os.access(mark.parent, os.W_OK):
            return f"it may not write in {mark.parent}"
    found = _versions()
    different = [(name, expected) for name, expected in place.versions if found.get(name) != expected]
    return ", ".join(f"it has {name} {found.get(name)} instead of {expected}" for name, expected in different) or None


def _versions() -> dict[str, str]:
    """What results depend on: the code by its digest, Python, libraries."""
    code = hashlib.sha256()
    root = Path(pipeline.__file__).parent
    for path in sorted(root.rglob("*.py")):
        code.update(f"{path.relative_to(root)}\0{path.stat().st_size}\0".encode() + path.read_bytes())
    found = {_CODE: code.hexdigest()[:12], "Python": platform.python_version()}
    for library in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[library] = version(library)
    return found
