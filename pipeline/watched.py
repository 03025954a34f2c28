"""A source that tells how far it has been gone through."""

from collections.abc import Iterator, Set
from dataclasses import dataclass

from pipeline.images import Image
from pipeline.progress import Progress
from pipeline.sources import Source


@dataclass(frozen=True)
class Watched:
    """Shows progress, under a label, while its frames are taken."""

    source: Source
    label: str

    @property
    def name(self) -> str:
        """The source's."""
        return self.source.name

    @property
    def fps(self) -> float:
        """The source's."""
        return self.source.fps

    def frames(self, wanted: Set[int] | None = None) -> Iterator[tuple[int, Image | None]]:
        """The source's, each counted when the next one is asked for."""
        with Progress(self.label, self.expected(), unit="frames") as progress:
            for each in self.source.frames(wanted):
                yield each
                progress.step()

    def expected(self) -> int:
        """The source's."""
        return self.source.expected()
