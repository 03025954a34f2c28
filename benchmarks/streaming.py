"""Samples a second of streamed shards beside the same shards on the disk, from an S3 server (moto) on loopback.

    python -m benchmarks.streaming                       # 24 shards of 250 made-up faces, several minutes
    python -m benchmarks.streaming --step-ms 20          # with so long a step of training after each batch

- disk: the folder, verified before;
- remote, cold: an empty cache that holds the set, so that every shard is fetched, verified and written once;
- remote, warm: the same once more, nothing is fetched;
- remote, small: a cache of half of the set, two epochs, so that shards are fetched again in the second.

The pictures are decoded and augmented in this process. The server, the process that fetches and this one share the
machine's cores, which makes the ratio a low one. All ways must show the same samples: their digests are compared.
The start (tables, connection: the first shard) is a column of its own.
"""

import argparse
import hashlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch

from pipeline.shards.naming import tell_name
from pipeline.shards.reading import ShardReader
from pipeline.streaming.feed import Feed, feeding
from tests.servers import Server, s3_server
from tests.shard_sets import write_shard_set
from train.augment import Augment
from train.stream import Faces, Stream, epoch_order, split_batches

BATCH, SEED, SIDE = 64, 0, 112
SHARDS = Path("data/shards/demo")


def main() -> None:
    """Prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, default=24)
    parser.add_argument("--samples", type=int, default=250, help="of a shard")
    parser.add_argument("--step-ms", type=float, default=0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.serve:
        serve()
        return
    with tempfile.TemporaryDirectory() as name, served() as remote:
        root = Path(name)
        made = write_shard_set(
            root / "made",
            {"train": arguments.shards * arguments.samples, "val": 10},
            samples_per_shard=arguments.samples,
            noise=5,
        )
        size_gb = sum(path.stat().st_size for path in made.iterdir()) / 1e9
        print(f"{arguments.shards} shards of {arguments.samples} samples, {1000 * size_gb:.0f} MB\n")
        project(root, made, remote)
        compare(root, made, size_gb, arguments)


def compare(root: Path, made: Path, size_gb: float, arguments: argparse.Namespace) -> None:
    """Lets the ways take turns, prints medians, and fails if any showed other samples."""
    cache = root / "cache"
    os.environ["CCT_STREAM_CACHE"] = str(cache)

    def streamed(limit_gb: float, *, empty: bool) -> AbstractContextManager[Feed]:
        if empty:
            shutil.rmtree(cache, ignore_errors=True)
        return feeding(SHARDS, remote=None, cache_gb=limit_gb)

    ways: dict[str, Callable[[], AbstractContextManager[Feed | None]]] = {
        "disk": nullcontext,
        "remote, cold": lambda: streamed(2 * size_gb, empty=True),
        "remote, warm": lambda: streamed(2 * size_gb, empty=False),
        "remote, small": lambda: streamed(size_gb / 2, empty=True),
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    starts: dict[str, list[float]] = {name: [] for name in ways}
    digests = set()
    for _ in range(arguments.repeats):
        for name, way in ways.items():
            began = time.perf_counter()
            with way() as feed:
                shown = batches(made, feed, step_s=arguments.step_ms / 1000)
                first = next(shown)
                starts[name].append(time.perf_counter() - began)
                began, count, total = time.perf_counter(), 0, hashlib.sha256(first)
                for each in shown:
                    total.update(each)
                    count += BATCH
                rates[name].append(count / (time.perf_counter() - began))
            digests.add(total.hexdigest())
    print("| | samples/s (median) | lowest, highest | times the disk's | seconds to the first batch |")
    print("|---|---|---|---|---|")
    for name, each in rates.items():
        times = statistics.median(one / base for one, base in zip(each, rates["disk"], strict=True))
        start = statistics.median(starts[name])
        print(
            f"| {name} | {statistics.median(each):.0f} | {min(each):.0f}, {max(each):.0f} | {times:.2f} | {start:.1f} |"
        )
    if len(digests) != 1:
        sys.exit("the ways showed different samples")


def batches(made: Path, feed: Feed | None, *, step_s: float) -> Iterator[bytes]:
    """Two epochs of batches; the digest of each."""
    reader = ShardReader(feed.folder if feed else made, "train", places=feed.places if feed else None)
    labels = reader.samples["label"].to_numpy(np.int64)
    faces = Faces(reader=reader, labels=labels, image_size=SIDE, seed=SEED, augment=Augment(original=False))
    stream = Stream(faces, workers=0, feed=feed)
    for epoch in range(2):
        order = epoch_order(reader.samples["shard"].to_numpy(object), seed=SEED, epoch=epoch)
        for batch in stream.batches(epoch, split_batches(order, batch_size=BATCH, iterations=None)):
            time.sleep(step_s)
            pictures = batch.pictures_bchw.permute(0, 2, 3, 1).numpy()
            yield hashlib.blake2b(pictures.tobytes() + batch.positions_b.numpy().tobytes()).digest()


def project(root: Path, made: Path, remote: Server) -> None:
    """A DVC project in `root`, the set on the remote alone; it becomes the folder of work."""
    shutil.copytree(made, root / SHARDS)
    os.chdir(root)
    tell_name(SHARDS)
    for command in (
        ("init", "--no-scm"),
        ("remote", "add", "--default", "team", remote.url),
        *(("remote", "modify", "--local", "team", *each) for each in (remote.options | remote.secrets).items()),
        ("add", str(SHARDS)),
        ("push",),
    ):
        subprocess.run([Path(sys.executable).with_name("dvc"), *command], check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(SHARDS)
    shutil.rmtree(".dvc/cache")


@contextmanager
def served() -> Iterator[Server]:
    """An S3 server in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.streaming", "--serve"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield Server(
            url="s3://team/cct",
            options={"endpointurl": process.stdout.readline().strip(), "region": "us-east-1"},
            secrets={"access_key_id": "test", "secret_access_key": "test"},
        )


def serve() -> None:
    """Until the parent closes its end."""
    with s3_server() as server:
        server.remote("team")
        print(server.endpoint, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
