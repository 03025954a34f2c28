"""Deterministic tar archives: USTAR, fixed owner, mode and time, members in the order they are added."""

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from pipeline.contract import UserError

_MODE = 0o444


class TarWriter:
    """Appends members to an open binary stream whose bytes depend on the members alone."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def add(self, name: str, content: bytes) -> int:
        """Writes one member and returns the offset of its first byte of content.

        Raises:
            ValueError: if the name does not fit USTAR's header.
        """
        header = tarfile.TarInfo(name)
        header.size = len(content)
        header.mode = _MODE
        self._stream.write(header.tobuf(tarfile.USTAR_FORMAT))
        offset = self._stream.tell()
        self._stream.write(content)
        self._stream.write(b"\0" * (-len(content) % tarfile.BLOCKSIZE))
        return offset

    def close(self) -> None:
        """Ends the archive (two empty blocks, padded to a whole record); the stream stays open."""
        self._stream.write(b"\0" * (2 * tarfile.BLOCKSIZE))
        self._stream.write(b"\0" * (-self._stream.tell() % tarfile.RECORDSIZE))


def read_members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Names and contents of an archive's regular files, in order.

    Raises:
        UserError: naming the file, if it is damaged or holds anything but regular files.
    """
    try:
        with path.open("rb") as stream, tarfile.open(fileobj=stream, mode="r:") as archive:
            for member in archive:
                content = archive.extractfile(member) if member.isreg() else None
                if content is None:
                    raise UserError(f"{path}: member {member.name!r} is not a regular file")
                yield member.name, content.read()
            stream.seek(archive.offset)  # tarfile takes a damaged header, or a cut between members, for the end
            if stream.read(2 * tarfile.BLOCKSIZE) != bytes(2 * tarfile.BLOCKSIZE):
                raise tarfile.ReadError("no end mark after its last readable member")
    except FileNotFoundError:
        raise UserError(f"{path} not found; run `dvc repro`") from None
    except (tarfile.TarError, EOFError, OSError) as error:
        raise UserError(f"{path} is a damaged tar ({error}); delete it and run `dvc repro`") from None
