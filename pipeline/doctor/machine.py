"""Python, its packages, cores and memory. Standard library only: told even where nothing else can be loaded."""

import os
import platform
import re
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from pipeline.doctor.limits import Limits, available_memory
from pipeline.findings import Finding, fail, ok, warn

PROJECT = "cct-affwild2"
_OLDEST = (3, 11)
_LOCKED = re.compile(r"^([A-Za-z0-9._-]+)==([^ \\;]+) *(;?)", re.MULTILINE)
_NAMED = 4
"""Packages that are named; more are counted."""

_WORKER_GB = 1.1
"""What a process holds that finds faces in 1920 x 1080 pictures, its libraries counted in (docs/performance.md)."""


def python() -> list[Finding]:
    """The interpreter, and whether it is a virtual environment's."""
    told = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    if sys.version_info < _OLDEST:
        return [fail("python", f"{told}; 3.11 or newer is needed", "make setup PYTHON=python3.12")]
    if sys.platform != "linux":
        return [fail("python", f"{told}; the project runs on Linux", "use a Linux machine, or WSL on Windows")]
    if sys.prefix == sys.base_prefix:
        return [warn("python", f"{told}, not in a virtual environment", "make setup && source .venv/bin/activate")]
    return [ok("python", f"{told}, environment {sys.prefix}")]


def packages(lock: Path) -> list[Finding]:
    """The packages of the lock file against the installed ones."""
    try:
        locked = _locked(lock.read_text(encoding="utf-8"))
    except OSError:
        return [warn("packages", f"no {lock.name} to compare with", "git checkout requirements.lock")]
    found = {name: _installed(name) for name in locked}
    absent = [name for name, (_, always) in locked.items() if found[name] is None and always]
    needed = sorted(set(absent) & _runtime())
    if needed:
        return [fail("packages", f"not installed: {_some(needed)}", "make setup")]
    others = {name: has for name, has in found.items() if has is not None and has not in locked[name][0]}
    problems = []
    if absent:
        problems.append(f"not installed, needed by tests or optional parts: {_some(absent)}")
    if others:
        listed = [f"{name} {has} (locked {' or '.join(sorted(locked[name][0]))})" for name, has in others.items()]
        problems.append(f"other versions than locked, so that shards may get other bytes: {_some(listed)}")
    if problems:
        return [warn("packages", problem, "make setup") for problem in problems]
    return [ok("packages", f"{sum(has is not None for has in found.values())} packages, all as locked")]


def cores(limits: Limits, asked: Mapping[str, int]) -> list[Finding]:
    """Cores that this process may use, and how many processes are asked for.

    Args:
        limits: of this process.
        asked: processes by the parameter that asks for them; 0 of `engine.workers` is one a core.
    """
    usable = len(os.sched_getaffinity(0))
    told = f"{usable} of {os.cpu_count()} cores may be used"
    if limits.cores is not None and limits.cores < usable:
        told += f", of which this container is given {limits.cores:g}"
        usable = max(1, int(limits.cores))
        if asked.get("engine.workers") == 0:
            return [warn("cores", f"{told}; engine.workers 0 starts more", f"set engine.workers to {usable}")]
    many = {key: count for key, count in asked.items() if count > usable}
    if many:
        key, count = next(iter(many.items()))
        return [warn("cores", f"{told}; {key} is {count}", f"set {key} to {usable} or less")]
    return [ok("cores", told)]


def memory(limits: Limits, *, workers: int) -> list[Finding]:
    """Memory that is free, against what so many worker processes hold."""
    free, whole = available_memory()
    if limits.memory is not None and limits.memory < whole:
        free, whole = min(free, limits.memory), limits.memory
    needed = (1 + workers) * _WORKER_GB * 1e9
    told = f"{free / 1e9:.1f} of {whole / 1e9:.1f} GB can be had"
    if free < needed:
        fewer = max(1, int(free / 1e9 / _WORKER_GB) - 1)
        text = f"{told}; {workers} workers that find faces take up to {needed / 1e9:.1f} GB"
        return [warn("memory", text, f"set engine.workers to {fewer}, or end other programs")]
    return [ok("memory", told)]


def _locked(text: str) -> dict[str, tuple[set[str], bool]]:
    """Versions by package, and whether it is locked for every system; else it need not be here."""
    found: dict[str, tuple[set[str], bool]] = {}
    for name, locked, marker in _LOCKED.findall(text):
        versions, always = found.get(name, (set(), False))
        found[name] = (versions | {locked}, always or not marker)
    return found


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _runtime() -> set[str]:
    """What the project itself imports outside of tests and optional parts."""
    try:
        lines = requires(PROJECT) or []
    except PackageNotFoundError:
        return set()
    return {match[0] for line in lines if "extra ==" not in line and (match := re.match(r"[A-Za-z0-9._-]+", line))}


def _some(names: list[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
