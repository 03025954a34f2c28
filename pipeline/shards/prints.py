"""Prints of stored pictures: the digest of their bytes, and 128 bits that survive saving a picture anew.

The bits are the signs of the 128 lowest frequencies, without the mean, of a discrete cosine transform of the picture's
brightness at 32 x 32 pixels (after Zauner, Implementation and Benchmarking of Perceptual Image Hash Functions, 2010). A
change of brightness, contrast, size or JPEG quality hardly moves them. How well they tell pictures apart:
docs/decisions/046.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.contract import UserError
from pipeline.files import digest_file, digest_of
from pipeline.images import DamagedPictureError
from pipeline.progress import Progress
from pipeline.shards.manifest import MANIFEST
from pipeline.shards.reading import ShardReader
from pipeline.store import WorkStore
from pipeline.streaming.feed import Feed

BITS = 128
_VERSION = 1
"""Of what is stored. Raise it when a print of the same picture changes."""

_KIND = "prints"
_SIDE = 32
_FLATTEST = 2.0
"""Standard deviation, in levels of grey, below which a picture has nothing but noise to tell it from another."""

_CHUNK = 2048

Words = NDArray[np.uint64]


@dataclass(frozen=True, kw_only=True)
class Prints:
    """Of N pictures in stored order: `digests_n4` are SHA-256 as four words, `bits_n2` the print as two.

    `flat_n` tells pictures that are nearly of one colour: their bits say nothing.
    """

    digests_n4: Words
    bits_n2: Words
    flat_n: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.flat_n)


def print_of(jpeg: bytes) -> tuple[NDArray[np.uint8], bool]:
    """A picture's print, 16 bytes, and whether the picture is flat; raises `DamagedPictureError` if it is none."""
    grey = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_GRAYSCALE)
    if grey is None:
        raise DamagedPictureError("not a picture")
    small = cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    signs = cv2.dct(small)[_LOWEST] > 0
    return np.packbits(signs), bool(small.std() < _FLATTEST)


def _lowest_frequencies() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns of the lowest frequencies, the mean left out, dealt out so that each sixteen bits have some of
    the lowest and of the highest ones: pieces of a print are then about equally telling."""
    rows, columns = np.indices((_SIDE, _SIDE)).reshape(2, -1)
    order = np.lexsort((rows, rows + columns))[1 : BITS + 1]
    dealt = order.reshape(16, BITS // 16).T.reshape(-1)
    return rows[dealt], columns[dealt]


_LOWEST = _lowest_frequencies()


def prints_of(folder: Path, split: str, store: WorkStore, *, feed: Feed | None = None) -> Prints:
    """The prints of a split of a verified shard set; kept in the work store under the digest of the manifest.

    Args:
        folder: of the set.
        split: of it.
        store: keeps the prints.
        feed: what brings the shards, if they are streamed.

    Raises:
        UserError: naming shard and sample of a picture that cannot be decoded.
    """
    key = digest_of(_VERSION, digest_file(folder / MANIFEST), split)
    entry = store.find(_KIND, key)
    if entry is None:
        made = _made(ShardReader(folder, split, places=feed.places if feed else None), feed)
        with store.building(_KIND, key) as building:
            np.save(building / "digests.npy", made.digests_n4)
            np.save(building / "bits.npy", made.bits_n2)
            np.save(building / "flat.npy", made.flat_n)
        return made
    digests, bits, flat = (np.load(entry / f"{name}.npy") for name in ("digests", "bits", "flat"))
    return Prints(digests_n4=digests, bits_n2=bits, flat_n=flat)


def _made(reader: ShardReader, feed: Feed | None) -> Prints:
    count = len(reader)
    chunks = [np.arange(begin, min(begin + _CHUNK, count)) for begin in range(0, count, _CHUNK)]
    digests, bits, flat = np.empty((count, 32), np.uint8), np.empty((count, 16), np.uint8), np.zeros(count, bool)
    # decoding and digesting leave the interpreter free for other threads; a reader serves one
    with (
        ThreadPoolExecutor(os.cpu_count()) as pool,
        Progress(f"prints {reader.split}", count, unit="faces") as progress,
    ):
        for turn in feed.each([reader.shards(chunk) for chunk in chunks]) if feed else range(len(chunks)):
            chunk = chunks[turn].tolist()
            for position, told in zip(chunk, pool.map(_printed, [reader.jpeg(each) for each in chunk]), strict=True):
                if told is None:
                    raise UserError(f"{reader.folder}: sample {reader.key(position)} is no picture")
                digests[position], bits[position], flat[position] = told
            progress.step(len(chunk))
            reader.rest()
    return Prints(digests_n4=digests.view(np.uint64), bits_n2=bits.view(np.uint64), flat_n=flat)


def _printed(jpeg: bytes) -> tuple[NDArray[np.uint8], NDArray[np.uint8], bool] | None:
    try:
        told, is_flat = print_of(jpeg)
    except DamagedPictureError:
        return None
    return np.frombuffer(sha256(jpeg).digest(), np.uint8), told, is_flat
