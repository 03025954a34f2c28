"""How a build scales: two workers against one, one more video against that video alone, and nothing to do.

    python benchmarks/build.py workers    # the demo's 46 clips: stages index, extract, align and shard, 1 and 2 workers
    python benchmarks/build.py workers --longer 10    # each clip ten times over, a minute instead of five seconds
    python benchmarks/build.py adding     # 100 videos built, then one added; that video alone
    python benchmarks/build.py nothing    # `dvc repro` right after `dvc repro`

Every build is of the committed parameters, in a fresh folder with an empty work store, by the same commands as DVC's.
The 101 videos are the demo's clips with some bytes added at their ends, which no decoder reads.
"""

import argparse
import io
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from tests.projects import Project, copy_project, environment  # noqa: E402

STAGES = ("index", "extract", "align", "shard")
Changes = dict[str, int]
VIDEOS = 100
ANNOTATIONS = Path("annotations/EXPR_Set/Train_Set")


def main() -> None:
    """Prints a Markdown table of seconds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["workers", *MEASURES])
    parser.add_argument("--stride", type=int, help="of the frames (default: that of params.yaml)")
    parser.add_argument("--longer", type=int, default=1, help="workers: repeat each clip and its labels so many times")
    parser.add_argument("--folder", type=Path, help="where to work (default: the system's temporary folder)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        changes = {"extract.stride": arguments.stride} if arguments.stride else {}
        if arguments.what == "workers":
            measure_workers(Path(folder), changes, arguments.longer)
        else:
            MEASURES[arguments.what](Path(folder), changes)


def measure_workers(folder: Path, changes: Changes, longer: int) -> None:
    """One worker and two, on everything; the shards must be the same."""
    seconds = {}
    projects = {}
    for workers in (1, 2):
        projects[workers] = project(folder / str(workers), {"engine.workers": workers} | changes)
        if longer > 1:
            lengthen(projects[workers].folder / "data/demo/raw", longer)
        seconds[workers] = build(projects[workers])
    assert shards(projects[1]) == shards(projects[2])
    print("| stage | 1 worker, s | 2 workers, s | ratio |\n|---|---|---|---|")
    for stage in STAGES:
        one, two = (seconds[workers][stage] for workers in (1, 2))
        print(f"| {stage} | {one:.1f} | {two:.1f} | {one / two:.2f} |")
    one, two = (sum(seconds[workers].values()) for workers in (1, 2))
    print(f"| all | {one:.1f} | {two:.1f} | {one / two:.2f} |")


def measure_adding(folder: Path, changes: Changes) -> None:
    """The build of 100 videos, then of 101; and of the last one alone."""
    many, alone = (raw_project(folder / name, changes) for name in ("many", "alone"))
    for number in range(VIDEOS):
        add_video(many, number)
    add_video(alone, VIDEOS)
    rows = {f"{VIDEOS} videos": build(many)}
    add_video(many, VIDEOS)
    rows["one more"] = build(many)
    rows["that one alone"] = build(alone)
    print(f"| | {' | '.join(STAGES)} | all, s |\n|---|{'---|' * (len(STAGES) + 1)}")
    for name, seconds in rows.items():
        print(f"| {name} | {' | '.join(f'{each:.1f}' for each in seconds.values())} | {sum(seconds.values()):.1f} |")


def measure_nothing(folder: Path, changes: Changes) -> None:
    """`dvc repro shard`, twice."""
    whole = project(folder / "whole", changes)
    for name in ("everything", "nothing"):
        began = time.perf_counter()
        whole.dvc("repro", "shard")
        print(f"{name} to do: {time.perf_counter() - began:.1f} s", flush=True)


def project(folder: Path, changes: Changes) -> Project:
    """The project with the demo set."""
    made = copy_project(folder, clips=None)
    made.set_params(changes)
    return made


def lengthen(raw: Path, times: int) -> None:
    """Repeats every clip, as it is encoded, and the rows of every annotation."""
    for path in raw.glob("videos/*/*"):
        content = repeated(path, times)
        path.write_bytes(content)
    for path in raw.glob("annotations/*/*/*.txt"):
        header, *rows = path.read_text().splitlines()
        path.write_text("\n".join([header, *rows * times]) + "\n")


def repeated(path: Path, times: int) -> bytes:
    """The same packets again and again, each time later."""
    written = io.BytesIO()
    with av.open(written, "w", format=path.suffix[1:]) as target:
        with av.open(str(path)) as source:
            stream = target.add_stream_from_template(source.streams.video[0])
        length = 0
        for _ in range(times):
            ends = []
            with av.open(str(path)) as source:
                for packet in source.demux(video=0):
                    if packet.dts is not None and packet.pts is not None and packet.duration:
                        packet.dts, packet.pts = packet.dts + length, packet.pts + length
                        ends.append(packet.pts + packet.duration)
                        packet.stream = stream
                        target.mux(packet)
            length = max(ends)
    return written.getvalue()


def raw_project(folder: Path, changes: Changes) -> Project:
    """The project with an empty raw set."""
    made = project(folder, changes)
    shutil.rmtree(folder / "data/demo/raw")
    (folder / "data/demo/raw" / ANNOTATIONS).mkdir(parents=True)
    return made


def add_video(target: Project, number: int) -> None:
    """A copy of a demo clip with its annotation, under a new name and with its own bytes: a `free` box at the end."""
    raw = ROOT / "data/demo/raw"
    annotations = sorted(path for path in (raw / ANNOTATIONS).glob("demo-*.txt") if "_" not in path.stem)
    chosen = [path for path in annotations if (raw / f"videos/batch1/{path.stem}.mp4").exists()]
    annotation = chosen[number % len(chosen)]
    content = (raw / f"videos/batch1/{annotation.stem}.mp4").read_bytes()
    name = f"video-{number:03d}"
    own = target.folder / "data/demo/raw"
    (own / f"{name}.mp4").write_bytes(content + b"\0\0\0\x10free" + number.to_bytes(8, "big"))
    shutil.copyfile(annotation, own / ANNOTATIONS / f"{name}.txt")


def build(target: Project) -> dict[str, float]:
    """Seconds of each stage, run as DVC runs it."""
    seconds = {}
    for stage in STAGES:
        command = [sys.executable, "-m", f"pipeline.stages.{stage}"]
        began = time.perf_counter()
        with quiet(target.folder / f"{stage}.log") as log:
            subprocess.run(command, cwd=target.folder, env=environment(), check=True, stderr=log)
        seconds[stage] = time.perf_counter() - began
    return seconds


@contextmanager
def quiet(path: Path) -> Iterator[int]:
    """A file for what a stage says; shown if the stage fails."""
    with path.open("w") as stream:
        try:
            yield stream.fileno()
        except subprocess.CalledProcessError:
            print(path.read_text(), file=sys.stderr)
            raise


def shards(target: Project) -> dict[str, bytes]:
    """The files of the shard set."""
    return {path.name: path.read_bytes() for path in (target.folder / "data/shards/demo").iterdir()}


MEASURES = {"adding": measure_adding, "nothing": measure_nothing}


if __name__ == "__main__":
    main()
