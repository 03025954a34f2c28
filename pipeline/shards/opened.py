"""Pictures out of tars by their place, however many tars there are."""

from collections import OrderedDict
from collections.abc import Mapping
from io import FileIO
from os import pread
from pathlib import Path
from typing import Any

from pipeline.images import DamagedPictureError

_MOST_OPEN = 200
"""Files kept open; systems allow a process 1,024 and more."""

JPEG_BEGINS, JPEG_ENDS = b"\xff\xd8", b"\xff\xd9"


class PictureFiles:
    """Reads stretches of the files of one folder; those used last are kept open. Safe to send to another process.

    Args:
        folder: of the files.
        places: where files are that are elsewhere, by name.
    """

    def __init__(self, folder: Path, places: Mapping[str, Path] | None = None) -> None:
        self.folder, self._places = folder, places or {}
        self._open: OrderedDict[str, FileIO] = OrderedDict()

    def jpeg(self, name: str, offset: int, size: int) -> bytes:
        """The picture in these bytes of a file.

        Raises:
            DamagedPictureError: if the file is not there or too short, or if no JPEG begins and ends there.
        """
        content = self.stretch(name, offset, size)
        if len(content) < size:
            raise DamagedPictureError(f"ends after {len(content)} of {size} bytes")
        if not (content.startswith(JPEG_BEGINS) and content.endswith(JPEG_ENDS)):
            raise DamagedPictureError("not a JPEG")
        return content

    def stretch(self, name: str, offset: int, size: int) -> bytes:
        """These bytes of a file, fewer where it ends; raises `DamagedPictureError` if it cannot be read."""
        try:
            return pread(self._opened(name).fileno(), size, offset)
        except OSError as error:
            raise DamagedPictureError(error.strerror or str(error)) from None

    def close(self) -> None:
        """Closes every file; the next read opens its file again."""
        while self._open:
            self._open.popitem()[1].close()

    def _opened(self, name: str) -> FileIO:
        if name in self._open:
            self._open.move_to_end(name)
        else:
            if len(self._open) >= _MOST_OPEN:
                self._open.popitem(last=False)[1].close()
            self._open[name] = FileIO(self._places.get(name, self.folder / name))
        return self._open[name]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_open": OrderedDict()}
