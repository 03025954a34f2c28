"""What every replica is: a folder, the parameters it is read with, and the truth about it."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.contract import Drop


@dataclass(kw_only=True)
class Replica:
    """A raw set in `raw`, and what must come of it."""

    layout: str
    raw: Path
    annotations: str
    changes: dict[str, Any] = field(default_factory=dict)
    """Parameters (dotted) besides layout, raw and annotations."""
    samples: Counter[tuple[str, int]] = field(default_factory=Counter)
    """How many samples there must be of each split and class."""
    drops: Counter[str] = field(default_factory=Counter)
    """How many labelled frames must be listed with each reason; entries without frames count 0."""
    told: list[str] = field(default_factory=list)
    """Texts that must stand in quarantine.csv or mismatch.csv: one or more for each oddity."""

    def sample(self, split: str, label: int) -> None:
        """Expects a sample."""
        self.samples[split, label] += 1

    def drop(self, reason: Drop, *told: str, frames: int = 1) -> None:
        """Expects frames to be left out, and what is said of it."""
        self.drops[str(reason)] += frames
        self.told += told

    def write(self, name: str, content: bytes | str) -> None:
        """Writes a file of the set."""
        path = self.raw / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
