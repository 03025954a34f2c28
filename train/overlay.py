"""Predictions drawn into the pictures they are about, as a video to look at."""

import contextlib
import os
import sys
from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pandas as pd

from pipeline import disk
from pipeline.contract import UserError
from pipeline.images import Image
from pipeline.sources import Source

CODECS = {".mp4": "mp4v", ".webm": "VP80", ".avi": "MJPG", ".mkv": "VP80"}
"""Encoders that OpenCV's wheels carry, by suffix; browsers play `.webm`."""

_COLOURS = ((123, 168, 242), (240, 161, 90), (85, 197, 166), (221, 139, 198), (210, 190, 88), (165, 180, 196))
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_INK, _FAINT, _BAR, _SHADE = (255, 255, 255), (190, 198, 208), (47, 92, 158), (24, 30, 39)
_PANEL, _ROW = 96, 15
"""Width of the bars beside a face and height of one, in pixels of a picture 540 pixels high."""
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
    corners = ("x0", "y0", "x1", "y1")
    boxes = [_Box(*(round((face[name] + 0.5) * factor) for name in corners)) for face in faces]
    words = [f"{face['person']}: {face['prediction']} {face['confidence']:.2f}" for face in faces]
    captions = [_caption_place(canvas, line, box, unit) for line, box in zip(words, boxes, strict=True)]
    taken = [*boxes, *captions]
    for face, box in zip(faces, boxes, strict=True):
        panel = _panel_place(canvas, box, unit, len(classes), taken)
        if panel is not None:
            taken.append(panel)
            _bars(canvas, [face[name] for name in classes], classes, panel, unit)
    for face, box, line, caption in zip(faces, boxes, words, captions, strict=True):
        colour = _COLOURS[face["person"] % len(_COLOURS)]
        cv2.rectangle(canvas, box[:2], box[2:], colour, round(2 * unit), cv2.LINE_AA)
        cv2.rectangle(canvas, caption[:2], caption[2:], _SHADE, cv2.FILLED)
        at, thick = (caption.x0, caption.y1 - round(6 * unit)), max(1, round(unit))
        cv2.putText(canvas, line, at, _FONT, 0.55 * unit, colour, thick, cv2.LINE_AA)
    return canvas


class _Box(NamedTuple):
    """A rectangle of the canvas, in pixels."""

    x0: int
    y0: int
    x1: int
    y1: int

    def meets(self, other: "_Box") -> bool:
        return self.x0 < other.x1 and other.x0 < self.x1 and self.y0 < other.y1 and other.y0 < self.y1


def _caption_place(canvas: Image, words: str, face: _Box, unit: float) -> _Box:
    """Above the face, inside the picture."""
    (width, height), base = cv2.getTextSize(words, _FONT, 0.55 * unit, max(1, round(unit)))
    x = max(0, min(face.x0, canvas.shape[1] - width))
    bottom = max(height + 2 * base, face.y0 - round(unit))
    return _Box(x, bottom - height - 2 * base, x + width, bottom)


def _panel_place(canvas: Image, face: _Box, unit: float, rows: int, taken: Sequence[_Box]) -> _Box | None:
    """Beside the face or below it, where no other face is hidden; of a single face over the picture, if need be.

    None where there is no room: among many people the caption has to do.
    """
    wide, high, gap = round(_PANEL * unit), round(_ROW * unit) * rows, round(6 * unit)
    right, bottom = canvas.shape[1] - wide, canvas.shape[0] - high
    top = max(0, min(face.y0, bottom))
    below = (max(0, min(face.x0, right)), face.y1 + gap)
    for x, y in ((face.x1 + gap, top), (face.x0 - gap - wide, top), below):
        place = _Box(x, y, x + wide, y + high)
        if 0 <= x <= right and 0 <= y <= bottom and not any(place.meets(other) for other in taken):
            return place
    if len(taken) > 2 or bottom < 0:
        return None
    return _Box(max(0, right), top, max(0, right) + wide, top + high)


def _bars(canvas: Image, shares: Sequence[float], classes: Sequence[str], panel: _Box, unit: float) -> None:
    """The probability of each class."""
    high, wide = (panel.y1 - panel.y0) // len(classes), panel.x1 - panel.x0
    best = int(np.argmax(shares))
    for row, (name, share) in enumerate(zip(classes, shares, strict=True)):
        top = panel.y0 + row * high
        cv2.rectangle(canvas, (panel.x0, top), (panel.x1, top + high - 1), _SHADE, cv2.FILLED)
        cv2.rectangle(canvas, (panel.x0, top), (panel.x0 + round(wide * share), top + high - 1), _BAR, cv2.FILLED)
        ink, at = _INK if row == best else _FAINT, (panel.x0 + 3, top + high - round(4 * unit))
        cv2.putText(canvas, name, at, _FONT, 0.38 * unit, ink, max(1, round(0.6 * unit)), cv2.LINE_AA)


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
