"""What a container or a batch job gives a process: cores and memory by its control groups (versions 1 and 2)."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_GROUPS, _OWN, _MEMORY = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup"), Path("/proc/meminfo")
_UNLIMITED = 1 << 60
"""Version 1 writes a number near 2 ** 63 where there is no limit."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Cores (a fraction is possible) and bytes of memory; None where there is no limit."""

    cores: float | None
    memory: int | None


def limits(groups: Path = _GROUPS, own: Path = _OWN) -> Limits:
    """The tightest limits of this process's groups and the ones around them."""
    cores: list[float] = []
    memory: list[int] = []
    for folder in _folders(groups, own):
        quota, *period = (_text(folder / "cpu.max") or _text(folder / "cpu.cfs_quota_us")).split()[:2] or ["max"]
        length = int(period[0] if period else _text(folder / "cpu.cfs_period_us") or 100_000)
        if quota.isdigit():
            cores.append(int(quota) / length)
        most = _text(folder / "memory.max") or _text(folder / "memory.limit_in_bytes")
        if most.isdigit() and int(most) < _UNLIMITED:
            memory.append(int(most))
    return Limits(cores=min(cores, default=None), memory=min(memory, default=None))


def available_memory(path: Path = _MEMORY) -> tuple[int, int]:
    """Bytes that programs can have now, and all."""
    lines = dict(line.split(":", 1) for line in _text(path).splitlines() if ":" in line)
    free, whole = (int(lines.get(name, "0 kB").split()[0]) * 1024 for name in ("MemAvailable", "MemTotal"))
    return free, whole


def _folders(groups: Path, own: Path) -> Iterator[Path]:
    """The folders of this process's groups and of those around them; inside a container some are not there."""
    for line in _text(own).splitlines():
        _, controllers, path = line.split(":", 2)
        root = groups / controllers if controllers else groups
        folder = root / path.lstrip("/")
        while folder.is_relative_to(root):
            yield folder
            folder = folder.parent


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
