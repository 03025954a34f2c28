"""How well prints tell stored pictures apart, and how long looking for twins takes.

python -m benchmarks.prints data/shards/demo              # distances between videos, recall of changed pictures
python -m benchmarks.prints --scale 2600000 300000      # twins of so many drawn prints, unevenly distributed
"""

import argparse
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from pipeline.images import Image, decode_jpeg, encode_jpeg
from pipeline.shards.prints import print_of
from pipeline.shards.reading import ShardReader
from pipeline.shards.twins import NONE, near_twins


def changed(face: Image) -> Iterator[tuple[str, Image]]:
    """A face as another set may have it."""
    side = len(face)
    yield "JPEG of quality 40", decode_jpeg(encode_jpeg(face, 40))
    small = cv2.resize(face, (48, 48), interpolation=cv2.INTER_AREA)
    yield "48 pixels and back", cv2.resize(small, (side, side)).astype(np.uint8)
    yield "brighter by 20 % and 10", np.clip(face * 1.2 + 10, 0, 255).astype(np.uint8)
    for name, matrix in (
        ("moved by 2 and 1 pixels", np.array([[1, 0, 2], [0, 1, 1]], float)),
        ("turned by 2 degrees, 3 % larger", cv2.getRotationMatrix2D((side / 2, side / 2), 2, 1.03)),
    ):
        yield name, cv2.warpAffine(face, matrix, (side, side), borderMode=cv2.BORDER_REPLICATE).astype(np.uint8)


def bits_of(content: bytes) -> np.ndarray:
    """A print as 128 zeros and ones."""
    return np.unpackbits(print_of(content)[0]).astype(np.int64)


def tell_apart(folder: Path) -> None:
    """Distances between videos, and of changed pictures from themselves."""
    prints, videos, moved = [], [], {}
    for split in ("train", "val"):
        reader = ShardReader(folder, split)
        for position in range(len(reader)):
            prints.append(own := bits_of(reader.jpeg(position)))
            videos.append(reader.samples["video"].iloc[position])
            if position % 5 == 0:
                for name, face in changed(reader.picture(position)):
                    moved.setdefault(name, []).append(np.abs(bits_of(encode_jpeg(face, 95)) - own).sum())
    table, names = np.array(prints), np.array(videos)
    apart = table @ (1 - table).T + (1 - table) @ table.T
    between = apart[np.triu(names[:, None] != names[None])]
    within = {limit: int((between <= limit).sum()) for limit in (7, 15, 20)}
    print(f"{len(table)} faces of {len(set(videos))} videos, {len(between)} pairs of different videos")
    print(f"least distance {between.min()}; pairs within so many bits: {within}")
    for name, bits in moved.items():
        recalls = ", ".join(f"{np.mean(np.array(bits) <= limit):.1%} within {limit}" for limit in (7, 15))
        print(f"{name}: {recalls} ({len(bits)} faces)")


def scale(left: int, right: int, distance: int) -> None:
    """Time and memory of a search among prints whose bits are as uneven as those of aligned faces: 1 with p from a beta
    distribution."""
    generator = np.random.default_rng(0)
    chances = generator.beta(2, 2, 128)
    made = [
        np.concatenate([np.packbits(generator.random((len(part), 128)) < chances, axis=1) for part in parts])
        for parts in (np.array_split(np.arange(count), -(-count // 100_000)) for count in (left, right))
    ]
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    place, _ = near_twins(made[0].view(np.uint64), made[1].view(np.uint64), distance)
    took = time.perf_counter() - began
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"{left} x {right} within {distance}: {took:.0f} s, {peak:.0f} MB more; {(place != NONE).sum()} have a twin")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--scale", nargs=2, type=int, metavar=("LEFT", "RIGHT"))
    parser.add_argument("--distance", type=int, default=7)
    asked = parser.parse_args()
    if asked.folder:
        tell_apart(asked.folder)
    if asked.scale:
        scale(*asked.scale, asked.distance)
