"""Pictures a second that one core decodes and augments at 224 px, in the ways in which people do it.

    python -m benchmarks.loader                       # 1,000 faces; two minutes
    python -m benchmarks.loader --shards data/shards/demo    # the faces of a real set

- folder: files of a folder, PIL and torchvision's transforms (flip, colour jitter, to float, normalise): what the
  published code does;
- webdataset: its `.decode("pil")` pipeline with the same transforms, from the same shards;
- here: `train.stream`, with the bytes normalised batch by batch as `train.compute` does it on a CPU;
- albumentations: here, but with its flip and jitter instead of our own.

All have the same pictures, one thread, flip and jitter of the same strength; the ways take turns.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import cv2
import numpy as np
import torch
import webdataset as wds
from PIL import Image
from torchvision import transforms

from pipeline.shards.reading import ShardReader
from tests.shard_sets import write_shard_set
from train.augment import JITTER, Augment
from train.compute import MEAN, STD, Compute
from train.stream import Faces, Stream, epoch_order, split_batches

BATCH = 64
Way = Callable[[], Iterator[int]]


def main() -> None:
    """Prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=Path, help="a shard set (default: made-up faces)")
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as name:
        shards = arguments.shards or made_up(Path(name), arguments.pictures)
        reader = ShardReader(shards, "train")
        files = folder_of_files(Path(name) / "files", reader)
        ways: dict[str, Way] = {
            "folder, PIL and torchvision": lambda: folder(files),
            'webdataset, .decode("pil") and torchvision': lambda: webdataset(shards),
            "here, with albumentations": lambda: here(reader, Albumentations()),
            "here": lambda: here(reader, Augment(original=False)),
            "here, not normalised": lambda: here(reader, Augment(original=False), normalised=False),
            "here, decoding alone": lambda: here(reader, None, normalised=False),
        }
        size = np.mean([path.stat().st_size for path in files])
        print(f"{len(files)} pictures of {size / 1000:.1f} kB, one thread\n")
        report(ways, arguments.repeats)


def report(ways: dict[str, Way], repeats: int) -> None:
    """Lets the ways take turns, and prints the median of each."""
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            began = time.perf_counter()
            count = sum(way())
            rates[name].append(count / (time.perf_counter() - began))
    print("| | pictures/s (median) | lowest, highest | times the folder's (median of the turns) |")
    print("|---|---|---|---|")
    first = next(iter(rates.values()))
    for name, each in rates.items():
        times = statistics.median(one / base for one, base in zip(each, first, strict=True))
        print(f"| {name} | {statistics.median(each):.0f} | {min(each):.0f}, {max(each):.0f} | {times:.2f} |")


def torchvisions() -> transforms.Compose:
    """The paper's augmentation as most people write it."""
    return transforms.Compose(
        [
            transforms.RandomHorizontalFlip(),
            transforms.ColorJitter(JITTER, JITTER, JITTER),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )


def folder(files: list[Path]) -> Iterator[int]:
    """Files one by one, in batches of float tensors."""
    transform = torchvisions()
    for begin in range(0, len(files), BATCH):
        batch = files[begin : begin + BATCH]
        yield len(torch.stack([transform(Image.open(path).convert("RGB")) for path in batch]))


def webdataset(shards: Path) -> Iterator[int]:
    """The stock pipeline."""
    urls = sorted(str(path) for path in shards.glob("train-*.tar"))
    transform = torchvisions()
    pipeline = wds.WebDataset(urls, shardshuffle=False).decode("pil").to_tuple("jpg", "cls")
    for pictures, _ in pipeline.map_tuple(transform).batched(BATCH):
        yield len(pictures)


def here(reader: ShardReader, augment: Augment | None, *, normalised: bool = True) -> Iterator[int]:
    """This project's stream, in the training process itself."""
    labels = reader.samples["label"].to_numpy(np.int64)
    stream = Stream(Faces(reader=reader, labels=labels, image_size=224, seed=0, augment=augment), workers=0)
    order = epoch_order(reader.samples["shard"].to_numpy(object), seed=0, epoch=0)
    compute = Compute(devices=(torch.device("cpu"),))
    for batch in stream.batches(0, split_batches(order, batch_size=BATCH, iterations=None)):
        yield len(compute.inputs(batch.pictures_bchw) if normalised else batch.pictures_bchw)


class Albumentations(Augment):
    """Flip and jitter as albumentations does them."""

    def __init__(self) -> None:
        import albumentations as A  # noqa: N812

        jitter = (1 - JITTER, 1 + JITTER)
        colour = A.ColorJitter(brightness=jitter, contrast=jitter, saturation=jitter, hue=(0, 0), p=1.0)
        self._compose = A.Compose([A.HorizontalFlip(p=0.5), colour])

    def __call__(self, picture: np.ndarray, seed: int) -> np.ndarray:
        """A changed copy."""
        self._compose.set_random_seed(seed)
        return np.ascontiguousarray(self._compose(image=picture)["image"])


def folder_of_files(target: Path, reader: ShardReader) -> list[Path]:
    """The same bytes as files."""
    target.mkdir()
    paths = []
    for position in range(len(reader)):
        paths.append(target / f"{reader.key(position)}.jpg")
        paths[-1].write_bytes(reader.jpeg(position))
    return paths


def made_up(root: Path, count: int) -> Path:
    """A shard set of pictures that take as many bytes as faces."""
    return write_shard_set(root, {"train": count, "val": 8}, samples_per_shard=500, noise=5)


if __name__ == "__main__":
    main()
