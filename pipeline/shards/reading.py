"""Single samples of a shard set, by position."""

from pathlib import Path

from pipeline import tables
from pipeline.contract import SAMPLE_COLUMNS, UserError
from pipeline.images import DamagedPictureError, decode_jpeg
from pipeline.shards.manifest import SAMPLES
from pipeline.shards.opened import PictureFiles
from pipeline.video import Image


class ShardReader:
    """Reads single samples of one split by position in its sample table. Safe to send to worker processes."""

    def __init__(self, folder: Path, split: str) -> None:
        """Loads the sample table of `split`, in stored order; the shards are opened when first read."""
        repeated = ("split", "trial", "video", "subject", "shard")
        table = tables.read_table(folder / SAMPLES, SAMPLE_COLUMNS, categories=repeated)
        self.folder = folder
        self.samples = table[table["split"] == split].reset_index(drop=True)
        for name in repeated:
            self.samples[name] = self.samples[name].cat.remove_unused_categories()
        self._names = list(self.samples["shard"].cat.categories)
        self._shards = self.samples["shard"].cat.codes.to_numpy()
        self._offsets, self._sizes = (self.samples[name].to_numpy() for name in ("offset", "size"))
        self._files = PictureFiles(folder)

    def __len__(self) -> int:
        return len(self.samples)

    def key(self, position: int) -> str:
        """The sample's key."""
        return str(self.samples["key"].array[position])

    def jpeg(self, position: int) -> bytes:
        """The stored bytes of one picture; raises `UserError` naming shard and sample if they are not there."""
        name = self._names[self._shards[position]]
        try:
            return self._files.jpeg(name, int(self._offsets[position]), int(self._sizes[position]))
        except DamagedPictureError as error:
            raise self._damaged(position, error) from None

    def picture(self, position: int) -> Image:
        """One face as RGB; raises `UserError` naming shard and sample if it cannot be decoded."""
        content = self.jpeg(position)
        try:
            return decode_jpeg(content)
        except DamagedPictureError as error:
            raise self._damaged(position, error) from None

    def _damaged(self, position: int, error: DamagedPictureError) -> UserError:
        path = self.folder / self._names[self._shards[position]]
        return UserError(f"{path}: sample {self.key(position)}: {error}; run `cct verify {self.folder}`")
