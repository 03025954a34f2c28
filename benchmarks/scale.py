"""Indexes, shuffles and shards as many samples as Aff-Wild2 has; time and peak memory of every step.

    python benchmarks/scale.py                          # 2.6 million samples, 12 GB of disk, cleaned up afterwards
    python benchmarks/scale.py --samples 260000 --folder /where/there/is/room

Real: the annotation files and the (tiny) videos that the stage index reads, the stages index and shard, the planning
of extract and align, verification. Made up: what decoding and detection would find; pictures have a few hundred bytes.
"""

import argparse
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import psutil
from numpy.typing import NDArray

from pipeline import tables
from pipeline.contract import (
    BOX_COLUMNS,
    CLASSES,
    DROP_COLUMNS,
    FACE_COLUMNS,
    LANDMARK_COLUMNS,
    MISMATCH_COLUMNS,
    POINT_COLUMNS,
    TRIAL_COLUMNS,
    Paths,
    escape,
    sample_key,
)
from pipeline.mismatch import Decoded, compare, usable
from pipeline.params import Params, load_params
from pipeline.plan import align_tasks, extract_tasks, read_frames
from pipeline.shards.reading import ShardReader
from pipeline.shards.verification import require_verified
from pipeline.stages.index import build_index
from pipeline.stages.shard import shard_all
from pipeline.tar import TarWriter

ROOT = Path(__file__).parent.parent
CLIP = ROOT / "data/demo/raw/videos/batch1/demo-001.mp4"
TRIALS, VIDEOS = 545, 539
SAMPLES = 2_600_000
PATHS = Paths(dataset="scale")
MEASURES = [column for column, kind in (LANDMARK_COLUMNS | FACE_COLUMNS).items() if kind == "double"]
EVERY_S = 0.05
MEGABYTE = 1e6


@dataclass(frozen=True, kw_only=True)
class Peak:
    """Memory of a process and its children, in bytes: the largest sums seen, and the largest single process."""

    shared_once: int
    resident: int
    largest: int


def main() -> None:
    """Runs every step in a process of its own and prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=SAMPLES)
    parser.add_argument("--folder", type=Path, help="where to work (default: the system's temporary folder)")
    parser.add_argument("--workers", type=int, default=0, help="processes, 0 for one a core")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        os.chdir(folder)
        write_raw(arguments.samples)
        print(f"{arguments.samples} samples of {TRIALS} annotations, {arguments.workers or os.cpu_count()} workers\n")
        print("Memory in MB: of all processes together, shared pages counted once or in each, and of the largest one\n")
        print("| step | seconds | samples/s | together | shared in each | largest |")
        print("|---|---|---|---|---|---|")
        for name, step in STEPS.items():
            seconds, peak = watched(step, params(arguments.workers))
            sizes = " | ".join(f"{size / MEGABYTE:.0f}" for size in (peak.shared_once, peak.resident, peak.largest))
            print(f"| {name} | {seconds:.1f} | {arguments.samples / seconds:,.0f} | {sizes} |", flush=True)


def params(workers: int) -> Params:
    """The real set's parameters, in the current folder."""
    real = load_params(ROOT / "params/affwild2.yaml")
    index = real.index.model_copy(update={"raw": "raw"})
    engine = real.engine.model_copy(update={"workers": workers})
    return real.model_copy(update={"dataset": PATHS.dataset, "index": index, "engine": engine})


def watched(step: Callable[[Params], None], params: Params) -> tuple[float, Peak]:
    """Runs a step in a new process; returns its seconds, and the memory of it and its workers."""
    process = multiprocessing.get_context("spawn").Process(target=step, args=(params,))
    began = time.perf_counter()
    process.start()
    peaks = []
    while process.is_alive():
        peaks.append(memory(process.pid or 0))
        process.join(EVERY_S)
    if process.exitcode:
        raise SystemExit(f"{step.__name__} failed with exit code {process.exitcode}")
    columns = zip(*((peak.shared_once, peak.resident, peak.largest) for peak in peaks), strict=True)
    shared_once, resident, largest = map(max, columns)
    return time.perf_counter() - began, Peak(shared_once=shared_once, resident=resident, largest=largest)


def memory(root: int) -> Peak:
    """What a process and its children hold now; `largest` is what any of them has held so far (VmHWM)."""
    shared_once = resident = largest = 0
    try:
        processes = [psutil.Process(root), *psutil.Process(root).children(recursive=True)]
    except psutil.NoSuchProcess:
        processes = []
    for process in processes:
        try:
            held = process.memory_full_info()
            status = Path(f"/proc/{process.pid}/status").read_text()
        except (psutil.Error, OSError):
            continue  # it has just ended
        shared_once, resident = shared_once + held.pss, resident + held.rss
        marks = [int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")]
        largest = max([largest, *(1024 * mark for mark in marks)])
    return Peak(shared_once=shared_once, resident=resident, largest=largest)


def write_raw(samples: int) -> None:
    """Annotation files with runs of one label, and a video for each that differs from the others in its last bytes."""
    generator = np.random.default_rng(0)
    clip, videos = CLIP.read_bytes(), Path("raw/videos")
    videos.mkdir(parents=True)
    for number in range(TRIALS):
        twice = TRIALS - VIDEOS
        video = f"{number // 2 if number < 2 * twice else number - twice}-30-1280x720"
        trial = video + ("", f"_{('left', 'right')[number % 2]}")[number < 2 * twice]
        folder = Path("raw/annotations/EXPR_Set") / (
            "Validation_Set" if number % 5 == 4 and number > 20 else "Train_Set"
        )
        folder.mkdir(parents=True, exist_ok=True)
        rows = samples * (number + 1) // TRIALS - samples * number // TRIALS
        labels = np.repeat(generator.integers(0, 7, rows // 25 + 1), 25)[:rows]
        (folder / f"{trial}.txt").write_text("\n".join([",".join(CLASSES[:7]), *map(str, labels)]) + "\n")
        (videos / f"{video}.mp4").write_bytes(clip + b"\0\0\0\x10free" + number.to_bytes(8, "big"))


def plan(params: Params) -> None:
    """The tables that extract and align read, their tasks, and the comparison of rows with frames."""
    frames = read_frames(PATHS, {"file": "string", "offset": "int64"})
    trials = tables.read_table(PATHS.trials, TRIAL_COLUMNS)
    extract = extract_tasks(params, frames, trials)
    decoded = {str(video): Decoded(frames=int(rows)) for video, rows in trials.groupby("video")["rows"].max().items()}
    compared, _ = compare(frames, trials, decoded, {}, policy="trim", tolerance=1, stride=1)
    report = tables.table(compared, MISMATCH_COLUMNS)
    videos = pd.DataFrame({"video": [task.video for task in extract], "key": "", "width": 1280, "height": 720})
    tasks = align_tasks(params, PATHS, usable(frames, report, stride=1), videos)
    if sum(len(trial.frame_indices) for task in tasks for trial in task.trials) != len(frames):
        raise SystemExit("some frames are in no task")
    tables.write_table(PATHS.faces / "trials.parquet", report, MISMATCH_COLUMNS)
    tables.write_table(PATHS.faces / "drops.parquet", tables.read_table(PATHS.index_drops, DROP_COLUMNS), DROP_COLUMNS)


def make_faces(_params: Params) -> None:
    """Faces, landmarks and measures of every frame, in tables as the stage align writes them.

    The faces of a video share a few pictures in its tar.
    """
    generator = np.random.default_rng(0)
    frames = read_frames(PATHS)
    landmarks = tables.TableWriter(PATHS.landmarks, LANDMARK_COLUMNS)
    faces = tables.TableWriter(PATHS.faces / "faces.parquet", FACE_COLUMNS)
    pictures = [face(generator) for _ in range(64)]
    sizes = np.array([len(picture) for picture in pictures])
    with landmarks, faces:
        for video, group in frames.groupby("video", observed=True):
            name = f"{escape(str(video))}.tar"
            offsets = write_tar(PATHS.faces / name, pictures)
            drawn = generator.integers(len(pictures), size=len(group))
            numbers = {column: measures(generator, column, len(group)) for column in MEASURES}
            rows = group.assign(**numbers, track=0, interpolated=False, tar=name)
            rows["key"] = list(map(sample_key, rows["trial"], rows["frame_index"]))
            rows["offset"], rows["size"] = offsets[drawn], sizes[drawn]
            landmarks.add(rows)
            faces.add(rows)


def measures(generator: np.random.Generator, column: str, count: int) -> NDArray[np.float64]:
    """Pixels in 64ths, as the stage rounds boxes and landmarks, or fractions that no such rounding shortens."""
    is_place = column in (*BOX_COLUMNS, *POINT_COLUMNS)
    return generator.integers(0, 2**16, count) / 64 if is_place else generator.random(count).round(6)


def face(generator: np.random.Generator) -> bytes:
    """A real JPEG of few bytes: a grey face of one of many shades."""
    grey = np.full((224, 224), generator.integers(256), np.uint8)
    options = [cv2.IMWRITE_JPEG_QUALITY, 50, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
    return cv2.imencode(".jpg", grey, options)[1].tobytes()


def write_tar(path: Path, pictures: list[bytes]) -> NDArray[np.int64]:
    """Packs pictures; returns where they begin."""
    with path.open("wb") as stream:
        writer = TarWriter(stream)
        offsets = [writer.add(f"{number}.jpg", picture) for number, picture in enumerate(pictures)]
        writer.close()
    return np.array(offsets)


def verify(_params: Params) -> None:
    """What training does first."""
    require_verified(PATHS.shards)


def open_reader(_params: Params) -> None:
    """What a process that loads pictures for training holds (torch apart), with one picture a shard read."""
    reader = ShardReader(PATHS.shards, "train")
    for position in range(0, len(reader), 5000):
        reader.picture(position)


STEPS: dict[str, Callable[[Params], None]] = {
    "index": build_index,
    "plan extract and align": plan,
    "(make up faces)": make_faces,
    "shuffle and shard": shard_all,
    "verify": verify,
    "verify again, stamped": verify,
    "open for reading": open_reader,
}


if __name__ == "__main__":
    main()
