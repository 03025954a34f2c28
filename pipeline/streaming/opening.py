"""A shard set as training asks for it: the folder that is there, or streamed."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.contract import UserError
from pipeline.shards.naming import require_named
from pipeline.shards.verification import require_verified
from pipeline.streaming.feed import Feed, feeding
from pipeline.train_params import TrainParams


@dataclass(frozen=True, kw_only=True)
class OpenedSet:
    """Where a set's manifest and tables are, and what brings its shards if they are not there too."""

    folder: Path
    feed: Feed | None

    def require_verified(self) -> None:
        """Refuses a folder that does not verify; what is streamed is verified as it comes."""
        if self.feed is None:
            require_verified(self.folder)


@contextlib.contextmanager
def opened(params: TrainParams, folder: Path) -> Iterator[OpenedSet]:
    """The shard set of a folder, as `params.stream` says, for the block's length.

    Raises:
        UserError: if it is not the set that is named beside the folder, or cannot be streamed.
    """
    if params.stream == "remote" and params.mix:
        raise UserError("mix reads its sets from this machine's disk; set stream to local, or mix to {}")
    if params.stream == "remote":
        with feeding(folder, remote=params.stream_remote, cache_gb=params.stream_cache_gb) as feed:
            require_named(folder, feed.folder)
            yield OpenedSet(folder=feed.folder, feed=feed)
    else:
        require_named(folder)
        yield OpenedSet(folder=folder, feed=None)
