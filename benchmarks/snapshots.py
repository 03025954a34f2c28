"""What a snapshot of three ResNet-18 costs to take and to go on from.

python -m benchmarks.snapshots                    # half a minute
python -m benchmarks.snapshots --folder /where/the/work/store/is
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from pipeline.store import WorkStore
from tests.shard_sets import params, write_shard_set
from train.fit import fit
from train.interruption import Interruption
from train.run import prepare
from train.snapshots import Position, Snapshots


def main() -> None:
    """Prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where the snapshots are (default: the system's temporary folder)")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        shards = write_shard_set(Path(name), {"train": 16, "val": 8})
        settings = params(networks=3, epochs=1, batch_size=8, image_size=64, workers=0, device="cpu")
        run = prepare(settings, shards)
        fit(run, Path(name) / "models", interruption=Interruption())
        kept = Snapshots(WorkStore(Path(name) / "work"), "ab" * 32)
        learner = run.learner
        state = {"networks": learner.networks.state_dict(), "optimizer": learner.optimizer.state_dict()}
        taken, read = [], []
        for batch in range(arguments.repeats):
            began = time.perf_counter()
            kept.save(Position(batch=batch), state)
            taken.append(time.perf_counter() - began)
            began = time.perf_counter()
            found = kept.newest()
            assert found is not None
            learner.networks.load_state_dict(found.state["networks"])
            learner.optimizer.load_state_dict(found.state["optimizer"])
            read.append(time.perf_counter() - began)
        size = max(entry.size_bytes for entry in kept.store.entries())
    print(f"{size / 1e6:.0f} MB\n\n| | seconds (median) | lowest, highest |\n|---|---|---|")
    for what, seconds in (("taken, durably", taken), ("found, digested and loaded", read)):
        print(f"| {what} | {statistics.median(seconds):.2f} | {min(seconds):.2f}, {max(seconds):.2f} |")


if __name__ == "__main__":
    main()
