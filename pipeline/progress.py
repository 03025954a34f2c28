"""Progress with rate and time left: a bar on a terminal, a quiet line now and then elsewhere."""

import sys
import time
from types import TracebackType
from typing import NoReturn, Self

from tqdm import tqdm

_LINE_EVERY_S = 10.0


class Progress:
    """Counts finished items of a total, 0 if it is not known; use as a context manager."""

    def __init__(self, label: str, total: int, *, unit: str, silent: bool = False) -> None:
        self._label, self._total, self._unit = label, total, unit
        self._done, self._said = 0, -1
        self._note = ""
        self._began = self._spoke = time.monotonic()
        self._silent = silent
        self._bar: tqdm[NoReturn] | None = None
        if not silent and sys.stderr.isatty():
            self._bar = tqdm(total=total or None, desc=label, unit=f" {unit}", dynamic_ncols=True, leave=True)

    def step(self, count: int = 1, *, note: str = "") -> None:
        """Counts `count` more items; `note` (failures, a loss) is shown at the end of the line."""
        self._done += count
        self._note = note
        if self._bar is not None:
            self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(count)
        elif time.monotonic() - self._spoke >= _LINE_EVERY_S and self._done != self._total:
            self._say()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
        elif kind is None and self._said != self._done:
            self._say()

    def _say(self) -> None:
        if self._silent:
            return
        self._spoke, self._said = time.monotonic(), self._done
        elapsed_s = self._spoke - self._began
        rate = self._done / elapsed_s if elapsed_s > 0 else 0.0
        left_s = (self._total - self._done) / rate if rate > 0 else 0.0
        of_all = f"/{self._total}" if self._total else ""
        parts = [f"{self._label}: {self._done}{of_all} {self._unit}", f"{rate:.1f}/s"]
        parts.append(f"{duration(left_s)} left" if self._done < self._total else f"took {duration(elapsed_s)}")
        print(", ".join(parts + [self._note] * bool(self._note)), file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """Seconds in words: `47 s`, `12 min 05 s`, `3 h 20 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
