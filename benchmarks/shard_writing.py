"""Writing shards against `cp` of the same bytes: one file system, files synced on both sides, sources in memory.

    python benchmarks/shard_writing.py                    # 40,000 faces of 12 to 20 kB in shards of 10,000
    python benchmarks/shard_writing.py --samples 100000 --folder /where/the/shards/will/be

The faces are read from 100 tars in shuffled order, as in the stage; starting the processes is not counted.
"""

import argparse
import multiprocessing
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from pipeline.contract import FACE_SIZE
from pipeline.engine import worker_count
from pipeline.images import encode_jpeg
from pipeline.params import Params, load_params
from pipeline.shards.placing import shard_tasks, shuffled
from pipeline.shards.writing import PLACED_COLUMNS, sample_keys, write_shard
from pipeline.tar import TarWriter

ROOT = Path(__file__).parent.parent
VIDEOS = 100
SMALLEST, LARGEST = 12_000, 20_000
"""Bytes of a face."""


def main() -> None:
    """Prints a Markdown table: seconds, megabytes and samples a second, and the share of cp's speed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=40_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where to work (default: the system's temporary folder)")
    arguments = parser.parse_args()
    params = load_params(ROOT / "params/affwild2.yaml")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        samples = write_faces(folder / "faces", arguments.samples)
        with pool(1) as one, pool(worker_count(0)) as many:
            ways: dict[str, Callable[[Path], object]] = {
                "cp": lambda target: copy(folder / "reference", target),
                "1 worker": lambda target: write(one, params, samples, target, folder / "faces"),
                f"{worker_count(0)} workers": lambda target: write(many, params, samples, target, folder / "faces"),
            }
            (folder / "reference").mkdir()
            for way in list(ways)[:0:-1]:  # processes started, sources in the page cache, and something to copy
                ways[way](folder / "reference")
            report(ways, measured(ways, folder / "target", arguments.repeats), folder / "reference", len(samples))


def pool(processes: int) -> ProcessPoolExecutor:
    """Worker processes as the engine starts them."""
    return ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"))


def write(workers: ProcessPoolExecutor, params: Params, samples: pd.DataFrame, target: Path, faces: Path) -> None:
    """What the stage does between its tables and the manifest."""
    list(workers.map(write_shard, shard_tasks(params, samples, target, faces)))


def copy(reference: Path, target: Path) -> None:
    """Copies with cp; sync because a written shard is synced too."""
    names = sorted(path.name for path in reference.iterdir())
    subprocess.run(["cp", *(reference / name for name in names), target], check=True)
    subprocess.run(["sync", *(target / name for name in names)], check=True)


def measured(ways: dict[str, Callable[[Path], object]], target: Path, repeats: int) -> dict[str, list[float]]:
    """Seconds that each way takes, one way after another, again and again."""
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(repeats):
        for way, run in ways.items():
            target.mkdir()
            os.sync()
            began = time.perf_counter()
            run(target)
            seconds[way].append(time.perf_counter() - began)
            shutil.rmtree(target)
    return seconds


def report(
    ways: dict[str, Callable[[Path], object]], seconds: dict[str, list[float]], written: Path, samples: int
) -> None:
    """Prints the table."""
    size = sum(path.stat().st_size for path in written.iterdir())
    print(f"{samples} samples, {size / 1e6:.0f} MB in {len(list(written.iterdir()))} shards\n")
    print("| | seconds (median) | MB/s | samples/s | share of cp's speed (median, lowest, highest) |")
    print("|---|---|---|---|---|")
    for way in ways:
        median = statistics.median(seconds[way])
        shares = [copied / taken for copied, taken in zip(seconds["cp"], seconds[way], strict=True)]
        told = f"{statistics.median(shares):.2f}, {min(shares):.2f}, {max(shares):.2f}"
        print(f"| {way} | {median:.2f} | {size / median / 1e6:.0f} | {samples / median:.0f} | {told} |")


def write_faces(folder: Path, count: int) -> pd.DataFrame:
    """Tars of faces, and the samples in them as the stage places them."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    pictures = list(faces(generator))
    chosen = generator.integers(len(pictures), size=count)
    samples = pd.DataFrame(
        {"frame_index": np.arange(count) // VIDEOS, "video": [f"10-60-1280x720_{i % VIDEOS}" for i in range(count)]}
    )
    samples["trial"], samples["tar"] = samples["video"] + "_left", samples["video"] + ".tar"
    samples["size"] = [len(pictures[number]) for number in chosen]
    for tar, rows in samples.groupby("tar").indices.items():
        with (folder / str(tar)).open("wb") as stream:
            writer = TarWriter(stream)
            samples.loc[rows, "offset"] = [writer.add(f"{row}.jpg", pictures[chosen[row]]) for row in rows]
            writer.close()
    samples = samples.assign(subject="left", split="train", label=chosen % 7, track=0, interpolated=False)
    for name, kind in PLACED_COLUMNS.items():
        if name not in samples:
            samples[name] = generator.integers(0, 2**16, count) / 64
        samples[name] = samples[name].astype({"string": "category", "double": "float64"}.get(kind, kind))
    return samples.iloc[shuffled(sample_keys(samples), 0)].reset_index(drop=True)[list(PLACED_COLUMNS)]


def faces(generator: np.random.Generator) -> Iterator[bytes]:
    """JPEGs of noise on soft patches, in the sizes of real faces."""
    for strength in np.linspace(4, 16, 200):
        patches = generator.integers(60, 200, (9, 9, 3), dtype=np.uint8)
        soft = cv2.resize(patches, (FACE_SIZE, FACE_SIZE), interpolation=cv2.INTER_CUBIC)
        noisy = np.clip(generator.normal(soft, strength), 0, 255).astype(np.uint8)
        content = encode_jpeg(noisy, 90)
        if SMALLEST <= len(content) <= LARGEST:
            yield content


if __name__ == "__main__":
    main()
