"""What many tests share: the demo set, real videos, a small raw set, the committed parameters, the real detector."""

import csv
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import cv2
import hypothesis
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.images import Image
from pipeline.params import Params, load_params
from tests.shard_sets import SIZES, write_shard_set

if TYPE_CHECKING:
    from pipeline.detector import Detector

hypothesis.settings.register_profile("here", database=None, deadline=None, derandomize=True, max_examples=60)
hypothesis.settings.load_profile("here")

# A shell starts background jobs with Ctrl-C ignored, and children inherit that: tests that send it would wait.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).parent.parent
TRUTH_POINTS = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")
NUMBER_BITS = 8
SMALL_ROWS = 20

Truth = dict[tuple[str, int, str], NDArray[np.float64]]
"""(video, frame, subject) to the five landmarks of data/demo/truth.csv, for faces fully in the frame."""


class MakeVideo(Protocol):
    """Writes a video file; returns its path."""

    def __call__(self, path: Path, frames: Sequence[Image] | int, *, fps: float = 10, fourcc: str = "mp4v") -> Path: ...


@pytest.fixture(scope="session")
def demo() -> Path:
    """The embedded demo set. Read only: tests never write into the repository."""
    return ROOT / "data" / "demo"


@pytest.fixture(scope="session")
def params() -> Params:
    """The committed params.yaml."""
    return load_params(ROOT / "params.yaml")


@pytest.fixture(scope="session")
def make_video() -> MakeVideo:
    """Encodes RGB pictures, or so many numbered frames, into a real file. Codecs at hand: mp4v, MJPG, XVID, FFV1."""
    return _write_video


@pytest.fixture(scope="session")
def truth(demo: Path) -> Truth:
    """Landmarks of the demo set's faces in pixels, projected from the meshes they were drawn from."""
    found: Truth = {}
    with (demo / "truth.csv").open() as stream:
        for row in csv.DictReader(stream):
            if row["x_nose"]:
                points = [[float(row[f"{axis}_{name}"]) for axis in "xy"] for name in TRUTH_POINTS]
                found[row["video"], int(row["frame"]), row["subject"]] = np.array(points)
    return found


@pytest.fixture(scope="session")
def detector() -> "Detector":
    """MTCNN with its real weights, on the CPU."""
    from pipeline.detector import Detector

    return Detector(min_face=40, device="cpu")


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shard set that is only read: two training shards and one to validate."""
    return write_shard_set(tmp_path_factory.mktemp("whole"), SIZES, samples_per_shard=5)


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """A copy of it that may be damaged."""
    return shutil.copytree(whole, tmp_path / "shards")


@pytest.fixture
def small_raw(demo: Path, tmp_path: Path) -> Path:
    """A raw Aff-Wild2 set of five demo clips: two for training, one with two people, one to validate, one to test.

    Annotations are cut to a header and 20 rows, so that few frames are ever decoded to pictures.
    """
    return write_small_raw(demo, tmp_path / "raw")


def write_small_raw(demo: Path, raw: Path) -> Path:
    """What `small_raw` is, in a folder of choice."""
    (raw / "videos" / "batch1").mkdir(parents=True)
    for name in ("demo-001.mp4", "demo-003.avi", "demo-012.mp4", "demo-029.mp4", "demo-041.mp4"):
        shutil.copyfile(demo / "raw/videos/batch1" / name, raw / "videos/batch1" / name)
    for split, trials in {
        "Train_Set": ("demo-001", "demo-003", "demo-012_left", "demo-012_right"),
        "Validation_Set": ("demo-029",),
    }.items():
        folder = Path("annotations/EXPR_Set") / split
        (raw / folder).mkdir(parents=True)
        for trial in trials:
            lines = (demo / "raw" / folder / f"{trial}.txt").read_text().splitlines()
            (raw / folder / f"{trial}.txt").write_text("\n".join(lines[: SMALL_ROWS + 1]) + "\n")
    (raw / "annotations/EXPR_Set/Test_Set").mkdir()
    (raw / "annotations/EXPR_Set/Test_Set/test_set.txt").write_text("demo-041\n")
    return raw


def numbered_frame(number: int, *, width: int = 128, height: int = 64) -> Image:
    """A picture that tells its number after any encoding: eight black or white bars, the lowest bit on the left."""
    bits = np.array([number >> bit & 1 for bit in range(NUMBER_BITS)], dtype=np.uint8)
    bars = 255 * bits[np.arange(width) * NUMBER_BITS // width]
    return np.broadcast_to(bars[None, :, None], (height, width, 3)).copy()


def number_of(picture: Image) -> int:
    """The number that `numbered_frame` drew."""
    bars = np.array_split(picture.mean(axis=(0, 2)), NUMBER_BITS)
    return sum(1 << bit for bit, bar in enumerate(bars) if bar.mean() > 127)


def _write_video(path: Path, frames: Sequence[Image] | int, *, fps: float = 10, fourcc: str = "mp4v") -> Path:
    pictures = [numbered_frame(number) for number in range(frames)] if isinstance(frames, int) else frames
    height, width = pictures[0].shape[:2]
    code = cv2.VideoWriter.fourcc(*fourcc)
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, code, fps, (width, height))
    assert writer.isOpened(), f"this OpenCV cannot write {fourcc}"
    for picture in pictures:
        writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    writer.release()
    return path
