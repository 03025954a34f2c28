"""Pictures: warping, JPEG with header checks, and measures of quality. Works on arrays and bytes, never on paths."""

import functools
import io
import math
import struct
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import UnidentifiedImageError
from PIL.ImageFile import ImageFile

from pipeline.contract import FACE_SIZE
from pipeline.geometry import Similarity

Image = NDArray[np.uint8]
"""RGB picture, height x width x 3; may be a view of BGR in memory (`channels_alike`)."""

MAX_PIXELS = 64_000_000
"""Largest JPEG that is decoded; a small file can claim gigabytes."""

_MAX_MAGNIFICATION = 8


_STILL_FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP")


P = ParamSpec("P")


class DamagedPictureError(Exception):
    """Bytes that are no picture, or one that is too large to decode."""


def channels_alike(change: Callable[Concatenate[Image, P], Image]) -> Callable[Concatenate[Image, P], Image]:
    """For functions that do the same to each channel: a view of a decoder's BGR goes through them as it is in memory.

    OpenCV would copy the view, element by element, which takes longer than most of what is done here.
    """

    @functools.wraps(change)
    def changed(picture: Image, /, *args: P.args, **kwargs: P.kwargs) -> Image:
        if _is_reversed(picture):
            return change(picture[..., ::-1], *args, **kwargs)[..., ::-1]
        return change(picture, *args, **kwargs)

    return changed


def contiguous(picture: Image) -> Image:
    """The same picture with RGB in memory too."""
    if _is_reversed(picture):
        return cv2.cvtColor(picture[..., ::-1], cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)
    return picture


def luma(picture: Image) -> NDArray[np.uint8]:
    """Height x width levels of grey (BT.601), as OpenCV weighs red, green and blue."""
    reverse = _is_reversed(picture)
    grey = (
        cv2.cvtColor(picture[..., ::-1], cv2.COLOR_BGR2GRAY) if reverse else cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    )
    return grey.astype(np.uint8, copy=False)


def _is_reversed(picture: Image) -> bool:
    return picture.strides[2] < 0


@channels_alike
def warp_face(picture: Image, transform: Similarity) -> Image:
    """Cuts the aligned face, 224 x 224 x 3, in one interpolation.

    A face larger than the template is averaged down, by halving the picture and then by sampling it on a finer grid, so
    that it does not alias. The edge of the frame is repeated outward.
    """
    picture, transform = _window(picture, transform)
    while transform.scale <= 0.5 and min(picture.shape[:2]) >= 2:
        picture, transform = halved(picture), transform.from_halved()
    factor = min(_MAX_MAGNIFICATION, max(1, math.ceil(1 / transform.scale - 1e-9)))
    side = FACE_SIZE * factor
    warped: NDArray[Any] = cv2.warpAffine(
        picture,
        transform.magnified(factor).matrix(),
        (side, side),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    if factor > 1:
        warped = cv2.resize(warped, (FACE_SIZE, FACE_SIZE), interpolation=cv2.INTER_AREA)
    return warped.astype(np.uint8, copy=False)


@channels_alike
def resized(picture: Image, width: int, height: int, interpolation: int = cv2.INTER_AREA) -> Image:
    """The picture in another size; by default each pixel is the mean of those that it covers."""
    return cv2.resize(picture, (width, height), interpolation=interpolation).astype(np.uint8, copy=False)


def _window(picture: Image, transform: Similarity) -> tuple[Image, Similarity]:
    """The part of a picture that a face is averaged down from: halving it gives the pixels that halving the whole
    picture would give there, for a fraction of the time."""
    grid = 1 << max(0, math.frexp(1 / transform.scale)[1] - 1)  # so many pixels become one
    height, width = picture.shape[:2]
    if grid == 1 or min(height, width) < 4 * grid:
        return picture, transform
    outer = FACE_SIZE - 0.5
    corners = transform.inverted(np.array([(-0.5, -0.5), (outer, -0.5), (-0.5, outer), (outer, outer)]))
    # two pixels of the halved picture more on each side, so that nothing is interpolated beyond the window's edge
    last = np.array([width, height]) // grid - 2
    left, top = (np.clip(corners.min(axis=0) // grid - 2, 0, last).astype(int) * grid).tolist()
    right, bottom = (np.clip(corners.max(axis=0) // grid + 3, 2, last + 3).astype(int) * grid).tolist()
    return picture[top:bottom, left:right], transform.from_window(left, top)


def halved(picture: Image) -> Image:
    """The picture at half its size, each pixel the mean of four; an odd last row or column falls away."""
    height, width = picture.shape[0] // 2, picture.shape[1] // 2
    return resized(picture[: 2 * height, : 2 * width], width, height)


def shrink(picture: Image, max_side: int) -> Image:
    """The picture with its longer side at most `max_side` pixels; never enlarged."""
    height, width = picture.shape[:2]
    longest = max(height, width)
    if longest <= max_side:
        return picture
    return resized(picture, max(1, round(width * max_side / longest)), max(1, round(height * max_side / longest)))


def encode_jpeg(picture: Image, quality: int) -> bytes:
    """Baseline JPEG, 4:2:0."""
    bgr = picture[..., ::-1] if _is_reversed(picture) else cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    encoded, content = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not encoded:
        raise DamagedPictureError(f"cannot encode a picture of shape {picture.shape}")
    return content.tobytes()


def decode_jpeg(content: bytes) -> Image:
    """Decodes a JPEG to RGB as it is stored, after its header was checked.

    Raises:
        DamagedPictureError: if it is no JPEG, cannot be decoded, or claims more than `MAX_PIXELS`.
    """
    _opened(content, ("JPEG",))
    return _decoded(content)


def still_size(content: bytes) -> tuple[int, int]:
    """Width and height that a still picture's header claims; raises like `decode_still`."""
    return _opened(content, _STILL_FORMATS).size


def decode_still(content: bytes, *, upright: bool = False) -> Image:
    """Decodes a JPEG, PNG, BMP, TIFF or WebP to RGB.

    Args:
        content: of the file.
        upright: turned as its EXIF orientation says; else as it is stored.

    Raises:
        DamagedPictureError: if it is none of these, is cut short, or claims more than `MAX_PIXELS`.
    """
    opened = _opened(content, _STILL_FORMATS)
    try:
        opened.load()  # OpenCV would fill up what is missing with grey
    except (OSError, ValueError, SyntaxError) as error:
        raise DamagedPictureError(" ".join(str(error).split())) from None
    return _decoded(content, upright=upright)


def _opened(content: bytes, formats: tuple[str, ...]) -> ImageFile:
    """A picture whose header was read and found to be of one of these formats, and not too large."""
    try:
        opened = PillowImage.open(io.BytesIO(content), formats=formats)
    except PillowImage.DecompressionBombError as error:
        raise DamagedPictureError(str(error)) from None
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError):
        raise DamagedPictureError(f"not a {' or '.join(formats)}") from None
    width, height = opened.size
    if width * height > MAX_PIXELS:
        raise DamagedPictureError(f"claims {width} x {height} pixels, more than {MAX_PIXELS}")
    return opened


def _decoded(content: bytes, *, upright: bool = False) -> Image:
    flags = cv2.IMREAD_COLOR_RGB | (0 if upright else cv2.IMREAD_IGNORE_ORIENTATION)
    picture = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    if picture is None:
        raise DamagedPictureError("a picture that cannot be decoded")
    return picture.astype(np.uint8, copy=False)


def jpeg_size(content: bytes) -> tuple[int, int] | None:
    """Width and height that a JPEG's frame header claims, without decoding; None if there is no such header."""
    if not content.startswith(b"\xff\xd8"):
        return None
    position = 2
    while position + 9 <= len(content) and content[position] == 0xFF:
        marker = content[position + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # a start of frame, not a table
            height, width = struct.unpack_from(">HH", content, position + 5)
            return width, height
        position += 2 + int.from_bytes(content[position + 2 : position + 4])
    return None


def brightness(face: Image) -> float:
    """Mean luma in [0, 255], from whole-number sums."""
    grey = luma(face)
    return round(int(grey.sum(dtype=np.int64)) / grey.size, 3)


def sharpness(face: Image) -> float:
    """Variance of the Laplacian of luma (the usual focus measure), from whole-number sums."""
    edges = cv2.Laplacian(luma(face), cv2.CV_16S).astype(np.int32)  # at most 1,020: its square has room
    mean_square, mean = (
        int((edges * edges).sum(dtype=np.int64)) / edges.size,
        int(edges.sum(dtype=np.int64)) / edges.size,
    )
    return round(mean_square - mean * mean, 3)
