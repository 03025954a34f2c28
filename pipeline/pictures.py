"""Single pictures of a raw set, as files or as rows of a table of pixels: bytes, digests, sizes, and what is stored."""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline import images
from pipeline.contract import Drop
from pipeline.images import DamagedPictureError

TABLE_SIDE = 48
"""Side of a picture whose pixels stand in a table, as grey values in decimal (FER2013)."""

_LONGEST_ROW = 4 * TABLE_SIDE**2
_VALUES = re.compile(rb"[0-9 ]*")
_MOST_BYTES = 1 << 28


class Place(NamedTuple):
    """Where a picture is: a file below the raw set's folder, or the pixels that begin at an offset of such a file."""

    name: str
    offset: int = -1


@dataclass(frozen=True, kw_only=True, eq=False)
class Measured:
    """The pictures of some rows: M that could be read, and why others could not. Arrays, for there may be millions."""

    rows: NDArray[np.int64]
    """M, rising."""
    sizes: NDArray[np.int32]
    """Width and height in pixels, M x 2."""
    digests: NDArray[np.uint8]
    """SHA-256 of their bytes, M x 32."""
    failed: dict[int, tuple[Drop, str]]

    @property
    def digest(self) -> str:
        """Of all pictures and their rows."""
        return hashlib.sha256(self.rows.tobytes() + self.digests.tobytes()).hexdigest()


class MissingPictureError(Exception):
    """There is no such file, or the system does not give out its bytes."""


def measure(raw: Path, places: Sequence[Place], rows: Iterable[int]) -> Measured:
    """Reads and digests the pictures of these rows, in rising order."""
    read: list[int] = []
    sizes: list[tuple[int, int]] = []
    digests = bytearray()
    failed: dict[int, tuple[Drop, str]] = {}
    for row in rows:
        try:
            content = _content(raw, places[row])
            size = (TABLE_SIDE, TABLE_SIDE) if places[row].offset >= 0 else images.still_size(content)
        except MissingPictureError as error:
            failed[row] = (Drop.PICTURE_MISSING, str(error))
        except DamagedPictureError as error:
            failed[row] = (Drop.PICTURE_UNREADABLE, f"{places[row].name}: {error}")
        else:
            read.append(row)
            sizes.append(size)
            digests += hashlib.sha256(content).digest()
    return Measured(
        rows=np.array(read, dtype=np.int64),
        sizes=np.array(sizes, dtype=np.int32).reshape(-1, 2),
        digests=np.frombuffer(digests, dtype=np.uint8).reshape(-1, 32),
        failed=failed,
    )


def stored_jpeg(raw: Path, place: Place, *, max_side: int, quality: int) -> bytes:
    """The picture as JPEG. One that is a JPEG and small enough is taken as it is: it is not compressed twice.

    Raises:
        DamagedPictureError: if it cannot be decoded whole.
        MissingPictureError: if it is not there.
    """
    content = _content(raw, place)
    if place.offset >= 0:
        grey = np.frombuffer(content, np.uint8).reshape(TABLE_SIDE, TABLE_SIDE, 1)
        return images.encode_jpeg(np.repeat(grey, 3, axis=2), quality)
    picture = images.decode_still(content)
    if images.jpeg_size(content) is not None and max(picture.shape[:2]) <= max_side:
        return content
    return images.encode_jpeg(images.shrink(picture, max_side), quality)


def _content(raw: Path, place: Place) -> bytes:
    """A file's bytes, or the grey values of a table's row, one byte each."""
    parts = PurePosixPath(place.name)
    if not place.name or parts.is_absolute() or ".." in parts.parts:
        raise MissingPictureError(f"{place.name!r} is not a file below index.raw")
    try:
        with (raw / parts).open("rb") as stream:
            if place.offset < 0:
                content = stream.read(_MOST_BYTES + 1)
            else:
                stream.seek(place.offset)
                content = stream.read(_LONGEST_ROW)
    except (FileNotFoundError, NotADirectoryError):
        raise MissingPictureError(f"no file {place.name}") from None
    except (OSError, ValueError) as error:
        raise MissingPictureError(f"{place.name} cannot be read ({error})") from None
    if len(content) > _MOST_BYTES:
        raise DamagedPictureError(f"larger than {_MOST_BYTES} bytes")
    return content if place.offset < 0 else _grey_values(content)


def _grey_values(row: bytes) -> bytes:
    match = _VALUES.match(row)
    values = match[0].split() if match else []
    try:
        content = bytes(map(int, values))
    except ValueError:
        raise DamagedPictureError("a pixel is more than 255") from None
    if len(content) != TABLE_SIDE**2:
        raise DamagedPictureError(f"{len(content)} pixels instead of {TABLE_SIDE} x {TABLE_SIDE}")
    return content
