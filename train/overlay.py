"""Predictions drawn into the pictures they are about, as a video to look at."""

import contextlib
import os
import sys
from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from pipeline import disk
from pipeline.contract import UserError
from pipeline.sources import Source
from pipeline.video import Image

CODECS = {".mp4": "mp4v", ".webm": "VP80", ".avi": "MJPG", ".mkv": "VP80"}
"""Encoders that OpenCV's wheels carry, by suffix; browsers play `.webm`."""

_COLOURS = ((123, 168, 242), (240, 161, 90), (85, 197, 166), (221, 139, 198), (210, 190, 88), (165, 180, 196))
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_INK, _FAINT, _SHADE = (255, 255, 255), (155, 166, 181), (24, 30, 39)
_SMALLEST_SIDE = 360
"""Smaller pictures are enlarged so far: words need room."""


def write_overlay(path: Path, source: Source, table: pd.DataFrame, classes: Sequence[str]) -> None:
    """Draws every face's box, person, class and probabilities into the frames of `source`.

    Frames of another size than the first (pictures of a folder) are fitted into it.

    Args:
        path: of the video; its suffix chooses the codec.
        source: what was predicted.
        table: as `predict_people` returns it.
        classes: names in order.

    Raises:
        UserError: if the suffix is none of `CODECS`, or the video cannot be written.
    """
    if path.suffix.lower() not in CODECS:
        raise UserError(f"{path}: the overlay's suffix must be one of {', '.join(CODECS)}")
    by_frame = {index: rows.to_dict("records") for index, rows in table.groupby("frame_index")}
    partial = path.with_name(f".partial-{path.name}")
    path.parent.mkdir(parents=True, exist_ok=True)
    writer, size = cv2.VideoWriter(), (0, 0)
    try:
        for index, picture in source.frames():
            if picture is None:
                continue
            drawn = _drawn(picture, by_frame.get(index, []), classes)
            if not writer.isOpened():
                size = (drawn.shape[1] // 2 * 2, drawn.shape[0] // 2 * 2)
                code = cv2.VideoWriter.fourcc(*CODECS[path.suffix.lower()])
                with disk.naming(path), _silenced():
                    if not writer.open(str(partial.absolute()), cv2.CAP_FFMPEG, code, source.fps, size):
                        raise UserError(f"{path}: cannot be written; see to it that the folder may be written")
            writer.write(cv2.cvtColor(_fitted(drawn, size), cv2.COLOR_RGB2BGR))
        writer.release()
        partial.replace(path)
    finally:
        writer.release()
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """Nothing goes to stderr meanwhile: OpenCV prints a tag's substitute there, past its own log level."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:  # noqa: PTH123
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _drawn(picture: Image, faces: Sequence[dict[Hashable, Any]], classes: Sequence[str]) -> Image:
    factor = max(1.0, _SMALLEST_SIDE / min(picture.shape[:2]))
    canvas: Image = cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC).astype(np.uint8)
    unit = max(1.0, min(canvas.shape[:2]) / 540)
    for face in faces:
        box = [round((face[name] + 0.5) * factor) for name in ("x0", "y0", "x1", "y1")]
        colour = _COLOURS[face["person"] % len(_COLOURS)]
        cv2.rectangle(canvas, box[:2], box[2:], colour, round(2 * unit), cv2.LINE_AA)
        words = f"{face['person']}: {face['prediction']} {face['confidence']:.2f}"
        _caption(canvas, words, (box[0], box[1] - round(6 * unit)), unit, colour)
        _bars(canvas, [face[name] for name in classes], classes, (box[2] + round(6 * unit), box[1]), unit)
    return canvas


def _caption(canvas: Image, words: str, at: tuple[int, int], unit: float, colour: tuple[int, int, int]) -> None:
    (width, height), base = cv2.getTextSize(words, _FONT, 0.55 * unit, max(1, round(unit)))
    x, y = max(0, min(at[0], canvas.shape[1] - width)), max(height + base, at[1])
    cv2.rectangle(canvas, (x, y - height - base), (x + width, y + base), _SHADE, cv2.FILLED)
    cv2.putText(canvas, words, (x, y), _FONT, 0.55 * unit, colour, max(1, round(unit)), cv2.LINE_AA)


def _bars(canvas: Image, shares: Sequence[float], classes: Sequence[str], at: tuple[int, int], unit: float) -> None:
    """The probability of each class beside the face, or on it where the picture ends."""
    high, wide = round(15 * unit), round(96 * unit)
    x = min(at[0], canvas.shape[1] - wide)
    y = max(0, min(at[1], canvas.shape[0] - high * len(classes)))
    best = int(np.argmax(shares))
    for row, (name, share) in enumerate(zip(classes, shares, strict=True)):
        top = y + row * high
        cv2.rectangle(canvas, (x, top), (x + wide, top + high - 1), _SHADE, cv2.FILLED)
        cv2.rectangle(canvas, (x, top), (x + round(wide * share), top + high - 1), _COLOURS[0], cv2.FILLED)
        ink = _INK if row == best else _FAINT
        cv2.putText(canvas, name, (x + 3, top + high - round(4 * unit)), _FONT, 0.38 * unit, ink, 1, cv2.LINE_AA)


def _fitted(picture: Image, size: tuple[int, int]) -> Image:
    """The picture in the video's size (width, height), not stretched, on black."""
    width, height = size
    if picture.shape[0] - height in (0, 1) and picture.shape[1] - width in (0, 1):
        return picture[:height, :width]
    factor = min(width / picture.shape[1], height / picture.shape[0])
    small = cv2.resize(picture, (max(1, int(picture.shape[1] * factor)), max(1, int(picture.shape[0] * factor))))
    canvas = np.zeros((height, width, 3), np.uint8)
    canvas[: small.shape[0], : small.shape[1]] = small
    return canvas
