"""How often frames behind damage have another frame's number, against two plain OpenCV loops.

    python -m benchmarks.frame_numbers                      # about six minutes

Every frame shows its own number. One place of each file is damaged: the header, all, half or one bit of a frame's
bytes, the sector where they begin, or noise over their beginning; in half of the files together with the eight bytes
before them, which are the container's. A file is wrong if its last three frames, which refer to nothing that was
damaged, have other frames' numbers; silent if frames are missing and neither a gap nor the expected number of
frames tells. Right frames are those that have their own number, of all.
"""

import argparse
import os
import random
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.contract import UserError
from pipeline.video import expected_frames, frame_times, probe, read_frames
from tests.conftest import number_of
from tests.encoding import encode, payload_of

FRAMES, GROUP, FIRST, LAST, CLEAN = 250, 12, 20, 120, 200
"""Frames of a video and of a group; between which one is damaged; from which on the others are judged."""

SECTOR, HEAD, PATIENCE = 512, 16, 100
BEFORE = 8
"""Bytes before a frame's own; its header in Matroska, the end of another frame in mp4."""

KINDS = {
    "libx264": ("mp4", "mov", "mkv", "avi"),
    "libx265": ("mp4", "mkv"),
    "libsvtav1": ("mp4", "mkv"),
    "libvpx": ("webm",),
    "libvpx-vp9": ("webm", "mp4"),
    "mpeg4": ("mp4", "mkv", "avi"),
    "mjpeg": ("avi",),
    "mpeg2video": ("mpg",),
    "wmv2": ("wmv",),
}
Numbers = list[tuple[int, int]]
"""Index and drawn number of each frame that was decoded."""


def main() -> None:
    """Prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=30, help="damaged ones of each kind")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    print(
        "| codec | container | wrong: goes on | stops | pipeline | silent | right frames: goes on | stops | pipeline |"
    )
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    for codec, suffixes in KINDS.items():
        for suffix in suffixes:
            print(row(codec, suffix, files=arguments.files, seed=arguments.seed), flush=True)


def row(codec: str, suffix: str, *, files: int, seed: int) -> str:
    """One line of the table."""
    generator = random.Random(f"{seed} {codec} {suffix}")
    wrong, kept, silent = [0, 0, 0], [0, 0, 0], 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a.{suffix}"
        pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        encode(path, noisy(), codec, pixels, **({} if codec == "mjpeg" else {"g": str(GROUP)}))
        whole = path.read_bytes()
        for _ in range(files):
            path.write_bytes(whole)
            path.write_bytes(damaged(path, generator))
            found, told = ours(path)
            silent += len(found) < FRAMES and not told
            for reader, numbers in enumerate((plain(path, PATIENCE), plain(path, 0), found)):
                wrong[reader] += moved(numbers)
                kept[reader] += sum(index == number for index, number in numbers)
    shares = [f"{count / files / FRAMES:.0%}" for count in kept]
    return f"| {codec} | {suffix} | {' | '.join(map(str, wrong))} | {silent} | {' | '.join(shares)} |"


def moved(numbers: Numbers) -> bool:
    """Whether the last frames have other frames' numbers. Pictures nearer to the damage may be ruined and show any."""
    if len(numbers) < 3:
        return False
    (index, number), (_, after), (_, last) = numbers[-3:]
    return CLEAN <= number == after - 1 == last - 2 and index != number


def noisy() -> list[NDArray[np.uint8]]:
    """Frames that show their numbers, of a few kilobytes each."""
    bits = np.arange(8)
    generator = np.random.default_rng(0)
    bars = [np.kron(number >> bits & 1, np.ones((64, 16)))[..., None] * 160 + 48 for number in range(FRAMES)]
    return [np.clip(bar + generator.integers(-40, 40, (64, 128, 3)), 0, 255).astype(np.uint8) for bar in bars]


def damaged(path: Path, generator: random.Random) -> bytes:
    """The bytes of a video with one place of one frame damaged."""
    begin, length = payload_of(path, generator.randrange(FIRST, LAST))
    content = bytearray(path.read_bytes())
    if generator.random() < 0.5:
        begin, length = begin - BEFORE, length + BEFORE
    sector = begin // SECTOR * SECTOR
    match generator.choice(("head", "all", "half", "bit", "sector", "noise")):
        case "head":
            content[begin : begin + HEAD] = bytes(HEAD)
        case "all":
            content[begin : begin + length] = bytes(length)
        case "half":
            content[begin + length // 2 : begin + length] = bytes(length - length // 2)
        case "bit":
            content[begin + generator.randrange(HEAD)] ^= 1 << generator.randrange(8)
        case "sector":
            content[sector : sector + SECTOR] = bytes(SECTOR)
        case _:
            content[begin : begin + HEAD] = generator.randbytes(HEAD)
    return bytes(content)


def ours(path: Path) -> tuple[Numbers, bool]:
    """What `read_frames` gives, and whether a loss is told."""
    try:
        found = [(index, number_of(picture)) for index, picture in read_frames(path) if picture is not None]
        expected = expected_frames(path, frame_times(path)) or probe(path).declared_frames
    except UserError:
        return [], True
    gaps = bool(found) and found[-1][0] >= len(found)
    return found, gaps or expected > len(found)


def plain(path: Path, patience: int) -> Numbers:
    """What an OpenCV loop counts that ends after more failures in a row than this."""
    return [(index, number_of(picture)) for index, picture in enumerate(_read(path, patience))]


def _read(path: Path, patience: int) -> Iterator[NDArray[np.uint8]]:
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    read: Callable[[], tuple[bool, NDArray[np.uint8]]] = capture.read
    failures = 0
    while failures <= patience:
        decoded, picture = read()
        failures = 0 if decoded else failures + 1
        if decoded:
            yield picture


if __name__ == "__main__":
    main()
