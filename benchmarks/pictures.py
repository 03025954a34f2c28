"""How fast pictures go through the preparation: `python benchmarks/pictures.py [--pictures 20000]`.

Makes a set in RAF-DB's layout of so many pictures of 100 x 100 pixels (the demo set's faces, each file different) in a
temporary folder and runs the stages index, extract, align (crops as they are) and shard on all cores. Prints a line a
stage: seconds, pictures a second, and the most memory that the stage's own process held. Needs 10 kB of disk a picture.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
STAGES = ("index", "extract", "align", "shard")


def main() -> None:
    """Runs it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=20_000)
    pictures = parser.parse_args().pictures
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_set(folder / "data/raw/rafdb", pictures)
        (folder / "params.yaml").write_bytes((ROOT / "params/rafdb.yaml").read_bytes())
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        for stage in STAGES:
            begin = time.monotonic()
            command = [sys.executable, "-m", f"pipeline.stages.{stage}"]
            subprocess.run(command, cwd=folder, env=environment, check=True, stderr=subprocess.DEVNULL)
            seconds = time.monotonic() - begin
            peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
            print(f"{stage}: {seconds:.1f} s, {pictures / seconds:.0f} pictures/s, at most {peak:.0f} MB so far")
        entries = sum(1 for path in (folder / "data/work").rglob("entry.json"))
        print(f"{entries} entries in the work store")


def make_set(raw: Path, pictures: int) -> None:
    """A hundredth of the pictures is the test split."""
    sys.path.insert(0, str(ROOT))
    from tests.replicas.faces import demo_faces

    jpegs = [face.jpeg(100) for face in demo_faces()]
    (raw / "Image/aligned").mkdir(parents=True)
    (raw / "EmoLabel").mkdir()
    with (raw / "EmoLabel/list_patition_label.txt").open("w") as labels:
        for number in range(pictures):
            stem = f"test_{number:04d}" if number < pictures // 100 else f"train_{number:05d}"
            content = jpegs[number % len(jpegs)] + number.to_bytes(4, "big")  # behind the end: no decoder minds
            (raw / f"Image/aligned/{stem}_aligned.jpg").write_bytes(content)
            labels.write(f"{stem}.jpg {number % 7 + 1}\n")


if __name__ == "__main__":
    main()
