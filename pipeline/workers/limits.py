"""What one task may use: memory, and time without progress. Judged from outside, by what Linux tells of a process."""

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE")
_GB = 1e9


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds for each task; None means no bound.

    Progress is any byte read or written, by which a decoder that is stuck differs from a video of many hours.
    """

    timeout_s: float | None
    memory_gb: float | None


@dataclass(kw_only=True)
class Watch:
    """Judges one process while it works on one task."""

    pid: int
    limits: Limits
    _moved: int | None = field(init=False, default=None)
    _since_s: float = field(init=False, default_factory=time.monotonic)

    def exceeded(self) -> str | None:
        """Which limit the process exceeds, in words; None if it keeps to them or has ended."""
        try:
            return self._memory() or self._standstill()
        except (OSError, IndexError, ValueError):
            return None

    def _memory(self) -> str | None:
        limit = self.limits.memory_gb
        if limit is None:
            return None
        _, resident, shared, *_ = Path(f"/proc/{self.pid}/statm").read_text().split()
        own = (int(resident) - int(shared)) * _PAGE  # without the libraries, which processes share
        return f"took more memory than engine.memory_gb = {limit:g} allows" if own > limit * _GB else None

    def _standstill(self) -> str | None:
        limit, now_s = self.limits.timeout_s, time.monotonic()
        if limit is None:
            return None
        lines = Path(f"/proc/{self.pid}/io").read_text().splitlines()
        moved = sum(int(line.split()[1]) for line in lines[:2])  # rchar and wchar: all that passed through calls
        if moved != self._moved:
            self._moved, self._since_s = moved, now_s
        if now_s - self._since_s <= limit:
            return None
        return f"read and wrote nothing for longer than engine.timeout_s = {limit:g} allows"
