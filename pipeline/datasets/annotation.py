"""One file of expression annotations: a header line of class names, then one integer a frame."""

import codecs
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.contract import CLASSES, Drop, UserError
from pipeline.datasets.base import NO_LABEL, Labels
from pipeline.files import walk

IGNORE = -1

_CLASS_OF = {name.lower(): index for index, name in enumerate(CLASSES)}
_INTEGER = re.compile(r"([+-]?[0-9]+)(\.0*)?")
_LINE_END = re.compile(r"\r+\n|\r|\n")
"""`\\r\\r\\n` is what text mode makes of CRLF on Windows."""
_MOST_BYTES = 1 << 24
"""More than two days of video have rows."""


@dataclass(frozen=True, kw_only=True)
class Annotation:
    """One annotation file: a label a row, how many were left out for which reason, and what was odd about it."""

    labels: Labels
    dropped: Counter[Drop]
    note: str = ""


def texts(folder: Path) -> list[Path]:
    """What is called a text below a folder, at any depth and in upper or lower case, sorted."""
    return sorted(path for path in walk(folder) if path.suffix.lower() == ".txt")


def read_annotation(path: Path, classes: int) -> Annotation:
    """Reads a header line of class names, then one integer a frame; −1 means ignore.

    Tolerates CRLF, CR, CRCRLF, blanks, blank lines before the header, whole numbers with decimals (`3.0`), a missing
    header (Aff-Wild2's order is assumed) and bytes that are not UTF-8, and says so.

    Raises:
        UserError: if the file cannot be read, has no row, or names a class that is not one of `CLASSES`.
    """
    text, note = read_text(path)
    lines = lines_of(text)
    blank = next((index for index, line in enumerate(lines) if line), 0)
    if blank and _as_int(lines[blank]) is None:
        del lines[:blank]
        note = "; ".join(filter(None, [note, "blank lines before the header"]))
    order: list[int] | None = None
    if lines and _as_int(lines[0]) is None:
        order = _header_order(path, lines.pop(0))
    elif lines:
        note = "; ".join(filter(None, [note, "no header line; Aff-Wild2's class order assumed"]))
    if not lines:
        raise UserError(f"{path.name}: no rows")
    order = order or list(range(len(CLASSES)))
    meaning = {line: _label(line, order, classes) for line in set(lines)}
    if any("." in line and label is not Drop.LABEL_UNREADABLE for line, label in meaning.items()):
        note = "; ".join(filter(None, [note, "labels with decimals"]))
    dropped = Counter(label for label in map(meaning.__getitem__, lines) if isinstance(label, Drop))
    usable = {line: NO_LABEL if isinstance(label, Drop) else label for line, label in meaning.items()}
    labels = np.fromiter(map(usable.__getitem__, lines), dtype=np.int8, count=len(lines))
    return Annotation(labels=labels, dropped=dropped, note=note)


def read_text(path: Path) -> tuple[str, str]:
    """A small text file in whatever encoding, and a note if that is not UTF-8.

    Raises:
        UserError: if it is not a regular file, is too large for an annotation, or cannot be read.
    """
    try:
        if not path.is_file():
            raise UserError(f"{path.name}: not a regular file")
        if path.stat().st_size > _MOST_BYTES:
            raise UserError(f"{path.name}: larger than any annotation ({path.stat().st_size} bytes)")
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path.name}: cannot be read ({error.strerror})") from None
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) and len(content) % 2 == 0:
        return content.decode("utf-16", errors="replace"), "UTF-16"
    try:
        return content.decode("utf-8-sig"), ""
    except UnicodeDecodeError:
        return content.decode("latin-1"), "not UTF-8, read as Latin-1"


def lines_of(text: str) -> list[str]:
    """Its rows without blanks around them; blank ones at the end are none, one in between is a row."""
    stripped = text.rstrip()
    return [line.strip() for line in _LINE_END.split(stripped)] if stripped else []


def are_rows(lines: Sequence[str]) -> bool:
    """Whether lines look like an annotation: a header of class names first, or nothing but numbers of classes."""
    if lines and {name.strip().lower() for name in lines[0].split(",")} <= _CLASS_OF.keys():
        return True
    return all(_as_int(line) in range(IGNORE, len(CLASSES)) for line in set(lines))


def _as_int(text: str) -> int | None:
    """Decimal digits with an optional sign, or `3.0`; `int` alone would take `1_0` and the digits of every script."""
    try:
        return int(whole[1]) if (whole := _INTEGER.fullmatch(text)) else None
    except ValueError:  # more digits than Python converts
        return None


def _header_order(path: Path, header: str) -> list[int]:
    names = [name.strip().lower() for name in header.split(",")]
    unknown = [name for name in names if name not in _CLASS_OF]
    if unknown:
        raise UserError(f"{path.name}: header names {unknown[0][:40]!r}, which is none of {', '.join(CLASSES)}")
    if len(set(names)) < len(names):
        raise UserError(f"{path.name}: header names a class twice")
    return [_CLASS_OF[name] for name in names]


def _label(line: str, order: list[int], classes: int) -> int | Drop:
    value = _as_int(line)
    if value is None:
        return Drop.LABEL_UNREADABLE
    if value == IGNORE:
        return Drop.LABEL_IGNORED
    if not 0 <= value < len(order):
        return Drop.LABEL_OUT_OF_RANGE
    return order[value] if order[value] < classes else Drop.CLASS_EXCLUDED
