"""`cct predict` against the loop that most people would write: MTCNN on every frame, then the networks face by face.

    python -m benchmarks.predict --model models/demo [--parts] [VIDEO ...]

Both get the same video, the same three networks and as many threads; both go through the whole video once to warm
up and are then timed in turns, without the time to load libraries and weights. Without a VIDEO, a demo clip is taken as
it is and enlarged to 1920 x 1080. `--parts` prints where our time goes. Figures: docs/performance.md.
"""

import argparse
import cProfile
import pstats
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from facenet_pytorch import MTCNN

from pipeline.commands.faces import silence_decoder
from pipeline.params import load_params
from pipeline.sources import Video
from train.checkpoint import load_networks
from train.compute import MEAN, STD
from train.predict import Session

CLIP = Path("data/demo/raw/videos/batch1/demo-014.mp4")


def plain(path: Path, mtcnn: MTCNN, networks: torch.nn.ModuleList, side: int) -> int:
    """What a first version looks like: every frame searched, boxes cut out, one face at a time. Returns the faces."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    capture, faces = cv2.VideoCapture(str(path)), 0
    with torch.no_grad():
        while True:
            read, frame = capture.read()
            if not read:
                return faces
            picture = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
            boxes, probabilities = mtcnn.detect(picture)
            for box, probability in zip(boxes if boxes is not None else [], probabilities, strict=False):
                x0, y0, x1, y1 = np.maximum(box, 0).astype(int)
                if probability < 0.9 or x1 <= x0 or y1 <= y0:
                    continue
                face = cv2.resize(picture[y0:y1, x0:x1], (side, side))
                shown = ((torch.from_numpy(face).permute(2, 0, 1).float() / 255 - mean) / std)[None]
                torch.stack([network(shown).softmax(-1) for network in networks]).mean(0).argmax()
                faces += 1


def enlarged(path: Path, out: Path, size: tuple[int, int]) -> Path:
    """The same video in another size, MPEG-4."""
    writer = cv2.VideoWriter(str(out), cv2.VideoWriter.fourcc(*"mp4v"), 25, size)
    for _, picture in Video(path).frames():
        if picture is not None:
            writer.write(cv2.cvtColor(cv2.resize(picture, size), cv2.COLOR_RGB2BGR))
    writer.release()
    return out


def seconds(action: Callable[[], object]) -> float:
    """How long one call takes."""
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def compare(path: Path, session: Session, mtcnn: MTCNN, networks: torch.nn.ModuleList, turns: int) -> None:
    """One line of the table."""
    source, side = Video(path), session.predictor.image_size
    done = session.predict(source)
    faces = plain(path, mtcnn, networks, side)
    ours = [seconds(lambda: session.predict(source)) for _ in range(turns)]
    theirs = [seconds(lambda: plain(path, mtcnn, networks, side)) for _ in range(turns)]
    frames, mine, other = done.frames, statistics.median(ours), statistics.median(theirs)
    print(
        f"| {path.stem} | {frames} | {len(done.table)} | {faces} | {frames / mine:.0f} | {frames / other:.1f} | "
        f"{other / mine:.1f} |",
        flush=True,
    )


def main() -> None:
    """Prints a table, or a profile."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", nargs="*", type=Path)
    parser.add_argument("--model", type=Path, default=Path("models/demo"))
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--parts", action="store_true")
    asked = parser.parse_args()
    silence_decoder()
    align = load_params().align
    session = Session.load(asked.model, align, weights="last", student=False, device="cpu", smoothing=0)
    networks = load_networks(asked.model, "last")[0].networks.eval()
    mtcnn = MTCNN(keep_all=True, min_face_size=align.min_face, device="cpu")
    with tempfile.TemporaryDirectory() as folder:
        large = Path(folder) / "demo-014-1080p.mp4"
        videos = asked.videos or [CLIP, enlarged(CLIP, large, (1920, 1080))]
        if asked.parts:
            session.predict(Video(videos[0]))
            with cProfile.Profile() as profile:
                session.predict(Video(videos[0]))
            pstats.Stats(profile).sort_stats("tottime").print_stats(25)
            return
        print(
            "| video | frames | faces, `cct predict` | faces, loop | frames/s | frames/s, loop | ratio |\n|"
            + "---|" * 7
        )
        for path in videos:
            compare(path, session, mtcnn, networks, asked.turns)


if __name__ == "__main__":
    main()
