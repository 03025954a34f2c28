"""Pictures: JPEG there and back, bytes that must be refused, and measures against plain numpy."""

import io
import struct
import time

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as PillowImage

from pipeline import images
from pipeline.geometry import Similarity
from pipeline.images import DamagedPictureError, Image
from pipeline.patches import patch, square_around

START_OF_FRAME = b"\xff\xc0"


def smooth(height: int = 120, width: int = 160) -> Image:
    """Colour gradients, which JPEG keeps well."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 / width, y * 255 / height, (x + y) * 255 / (width + height)], axis=2).astype(np.uint8)


def noise(seed: int = 0, height: int = 64, width: int = 80) -> Image:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def claiming(width: int, height: int) -> bytes:
    """A small JPEG whose header lies about its size."""
    content = images.encode_jpeg(np.zeros((16, 16, 3), np.uint8), 90)
    place = content.index(START_OF_FRAME) + 5
    return content[:place] + struct.pack(">HH", height, width) + content[place + 4 :]


def as_format(name: str) -> bytes:
    stream = io.BytesIO()
    PillowImage.fromarray(smooth()).save(stream, name)
    return stream.getvalue()


def luma(picture: Image) -> NDArray[np.float64]:
    """ITU-R BT.601, in floating point."""
    weighted: NDArray[np.float64] = picture.astype(np.float64) @ [0.299, 0.587, 0.114]
    return weighted


def test_a_jpeg_comes_back_as_it_was_seen() -> None:
    picture = smooth()
    back = images.decode_jpeg(images.encode_jpeg(picture, 95))
    assert back.shape == picture.shape
    assert back.dtype == np.uint8
    assert np.abs(back.astype(int) - picture).mean() < 2


def test_channels_are_red_green_blue_for_other_readers_too() -> None:
    picture = np.zeros((32, 32, 3), np.uint8)
    picture[...] = (200, 100, 30)
    content = images.encode_jpeg(picture, 95)
    with PillowImage.open(io.BytesIO(content)) as other:
        assert other.format == "JPEG"
        assert np.abs(np.array(other.convert("RGB")).astype(int) - (200, 100, 30)).max() <= 3
    assert np.abs(images.decode_jpeg(content).astype(int) - (200, 100, 30)).max() <= 3


def test_a_jpeg_is_baseline_with_halved_colour_and_the_same_bytes_every_time() -> None:
    content = images.encode_jpeg(noise(), 95)
    place = content.index(START_OF_FRAME)
    components = content[place + 10 : place + 19]
    assert [components[1], components[4], components[7]] == [0x22, 0x11, 0x11]
    assert images.encode_jpeg(noise(), 95) == content
    assert len(images.encode_jpeg(noise(), 60)) < len(content)


@pytest.mark.parametrize("size", [(30_000, 30_000), (65_535, 65_535), (12_000, 12_000), (8001, 8000), (65_535, 977)])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_bomb_is_refused_before_it_is_decoded(size: tuple[int, int]) -> None:
    content = claiming(*size)
    assert len(content) < 1000
    began = time.perf_counter()
    with pytest.raises(DamagedPictureError, match="pixels"):
        images.decode_jpeg(content)
    assert time.perf_counter() - began < 1


@pytest.mark.parametrize("content", [b"", b"\xff\xd8", b"\xff\xd8\xff\xe0", b"garbage" * 100, bytes(1000)])
def test_garbage_is_refused(content: bytes) -> None:
    with pytest.raises(DamagedPictureError, match="not a JPEG"):
        images.decode_jpeg(content)


@pytest.mark.parametrize("name", ["PNG", "WEBP", "BMP", "GIF"])
def test_other_formats_are_refused(name: str) -> None:
    with pytest.raises(DamagedPictureError, match="not a JPEG"):
        images.decode_jpeg(as_format(name))


@pytest.mark.parametrize("share", [0.01, 0.1, 0.3, 0.6, 0.9, 0.999])
def test_a_cut_jpeg_is_refused_and_never_half_grey(share: float) -> None:
    content = images.encode_jpeg(noise(), 90)
    with pytest.raises(DamagedPictureError):
        images.decode_jpeg(content[: int(len(content) * share)])


def test_damage_never_raises_anything_else() -> None:
    """Whatever bytes are changed: a picture, or the one error that callers catch."""
    content, luck = images.encode_jpeg(noise(), 90), np.random.default_rng(1)
    for _ in range(300):
        damaged = bytearray(content)
        for place in luck.integers(0, min(len(content), 700), 3):
            damaged[place] = luck.integers(256)
        try:
            assert images.decode_jpeg(bytes(damaged)).ndim == 3
        except DamagedPictureError:
            continue


def test_grey_and_oriented_jpegs_become_plain_rgb() -> None:
    stream = io.BytesIO()
    orientation = PillowImage.Exif()
    orientation[0x0112] = 6
    PillowImage.fromarray(smooth()[..., 0]).save(stream, "JPEG", exif=orientation)
    assert images.decode_jpeg(stream.getvalue()).shape == (120, 160, 3)


@pytest.mark.parametrize("picture", [smooth(), noise(), np.zeros((9, 9, 3), np.uint8), noise(2) // 8])
def test_brightness_is_mean_luma(picture: Image) -> None:
    assert images.brightness(picture) == pytest.approx(luma(picture).mean(), abs=0.5)


def test_brightness_spans_black_to_white() -> None:
    assert images.brightness(np.zeros((8, 8, 3), np.uint8)) == 0
    assert images.brightness(np.full((8, 8, 3), 255, np.uint8)) == 255


@pytest.mark.parametrize("picture", [smooth(), noise(), noise(1) // 4])
def test_sharpness_is_the_variance_of_the_laplacian(picture: Image) -> None:
    grey = np.pad(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float64), 1, mode="reflect")
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    assert images.sharpness(picture) == pytest.approx((around - 4 * grey[1:-1, 1:-1]).var(), abs=1e-3)


def test_blur_lowers_sharpness() -> None:
    blurred = [cv2.GaussianBlur(noise(), (0, 0), sigma).astype(np.uint8) for sigma in (0.5, 1, 2, 4)]
    levels = [images.sharpness(picture) for picture in (noise(), *blurred)]
    assert levels == sorted(levels, reverse=True)
    assert images.sharpness(np.full((9, 9, 3), 77, np.uint8)) == 0


@pytest.mark.parametrize(
    ("size", "max_side", "expected"),
    [
        ((1080, 1920), 1280, (720, 1280)),
        ((1920, 1080), 1280, (1280, 720)),
        ((480, 480), 64, (64, 64)),
        ((241, 427), 200, (113, 200)),
        ((3, 4000), 100, (1, 100)),
    ],
)
def test_shrinking_keeps_the_shape(size: tuple[int, int], max_side: int, expected: tuple[int, int]) -> None:
    assert images.shrink(np.zeros((*size, 3), np.uint8), max_side).shape == (*expected, 3)


@pytest.mark.parametrize("max_side", [160, 161, 4096])
def test_nothing_is_enlarged(max_side: int) -> None:
    assert np.array_equal(images.shrink(smooth(), max_side), smooth())


def test_shrinking_averages() -> None:
    halved = images.shrink(noise(), 40).astype(np.float64)
    np.testing.assert_allclose(halved, noise().reshape(32, 2, 40, 2, 3).mean((1, 3)), atol=0.51)


def reversed_view(picture: Image) -> Image:
    """The same picture as a decoder leaves it: BGR in memory."""
    return np.ascontiguousarray(picture[..., ::-1])[..., ::-1]


@pytest.mark.parametrize("size", [(64, 80), (601, 1103), (7, 5)])
def test_a_view_of_bgr_is_treated_like_the_same_picture_in_rgb(size: tuple[int, int]) -> None:
    picture = noise(1, *size)
    view = reversed_view(picture)
    square = square_around(np.array([-3.0, 2.0, size[1] - 2, size[0] + 4]))
    for scale in (0.09, 0.4, 0.8, 2.0):
        transform = Similarity(scale, 0.1 * scale, 3.0, -5.0)
        warped = images.warp_face(view, transform)
        assert np.array_equal(warped, images.warp_face(picture, transform))
        assert images.encode_jpeg(warped, 95) == images.encode_jpeg(np.ascontiguousarray(warped), 95)
        assert images.sharpness(warped) == images.sharpness(np.ascontiguousarray(warped))
    changes = (images.halved, images.luma, images.contiguous, lambda each: images.shrink(each, 50))
    for change in (*changes, lambda each: patch(each, square, 24), lambda each: images.resized(each, 33, 20)):
        assert np.array_equal(change(view), change(picture))
    assert images.contiguous(view).flags.c_contiguous and images.contiguous(picture) is picture
    assert images.encode_jpeg(view, 95) == images.encode_jpeg(picture, 95)
    assert images.brightness(view) == images.brightness(picture)
