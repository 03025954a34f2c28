"""A shard set as training asks for it: the folder that is there, or streamed."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.shards.mixed import other_sets
from pipeline.shards.naming import require_named
from pipeline.shards.verification import require_verified
from pipeline.streaming.feed import Feed, feeding
from pipeline.train_params import TrainParams


@dataclass(frozen=True, kw_only=True)
class OpenedSet:
    """Where a set's manifest and tables are, and what brings its shards if they are not there too.

    Attributes:
        others: folders of the sets that were opened with it, by name.
    """

    folder: Path
    feed: Feed | None
    others: Mapping[str, Path] = field(default_factory=dict)

    def require_verified(self) -> None:
        """Refuses a folder that does not verify; what is streamed is verified as it comes."""
        if self.feed is None:
            require_verified(self.folder)


@contextlib.contextmanager
def opened(params: TrainParams, folder: Path, *, mix: Iterable[str] = ()) -> Iterator[OpenedSet]:
    """The shard set of a folder, as `params.stream` says, for the block's length.

    Args:
        params: of the run.
        folder: of the set in the project.
        mix: names of sets that are read together with it.

    Raises:
        UserError: if it is not the set that is named beside the folder, or cannot be streamed.
    """
    others = other_sets(folder, mix)
    if params.stream == "remote":
        with feeding(folder, others=others, remote=params.stream_remote, cache_gb=params.stream_cache_gb) as feed:
            require_named(folder, feed.folder)
            for name, streamed in feed.others.items():
                require_named(others[name], streamed.folder)
            folders = {name: streamed.folder for name, streamed in feed.others.items()}
            yield OpenedSet(folder=feed.folder, feed=feed, others=folders)
    else:
        for each in (folder, *others.values()):
            require_named(each)
        yield OpenedSet(folder=folder, feed=None, others=others)
