"""Faces of a video: following them against facenet-pytorch's search of every frame, in one run with as many threads.

    python benchmarks/align.py                     # a demo clip at 640 x 360 and 1920 x 1080, and the demo's truth
    python benchmarks/align.py --video MY.mp4      # your own
    python benchmarks/align.py --parts             # also where the time of following goes
    python benchmarks/align.py --only-truth        # errors against the truth of all clips of the demo set

Both sides decode the same file and write the same crop of every face that they are sure of, with the real set's
parameters. Time is the processor's: on one thread and an idle machine the same as the clock's. The search of every
frame is slow: of long clips it is done for `--reference` frames, spread over the clip, and its time is scaled to all of
them (that of decoding is not: all are decoded). The two sides take turns, `ROUNDS` times. Some three minutes.
"""

import argparse
import cProfile
import csv
import pstats
import tempfile
import time
import warnings
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import av
import cv2
import numpy as np
import torch
from facenet_pytorch import MTCNN
from numpy.typing import NDArray

from pipeline import tables, tar
from pipeline.contract import POINT_COLUMNS
from pipeline.faces import FrameSize, crop_face
from pipeline.geometry import interocular
from pipeline.images import Image
from pipeline.one_video import COLUMNS, LANDMARKS, faces_of_video
from pipeline.params import AlignParams, load_params
from pipeline.sources import Video
from pipeline.video import read_frames

ROOT = Path(__file__).parent.parent
DEMO = ROOT / "data" / "demo"
CLIP = "demo-014"
SURE = 0.95
FRAMES = {640: 300, 1920: 300}
"""Frames of a demo clip by its width."""
REFERENCE, ROUNDS = 90, 3
"""Frames of a clip that are searched at most by default, and turns that they are searched in."""
TRUTH_STEP = 6
"""Every sixth frame is compared with the truth: the reference is slow."""
TRUTH_POINTS = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")

Found = dict[int, list[tuple[float, NDArray[np.float64]]]]
"""Frame index to the probabilities and landmarks of its faces, the largest first."""


def main() -> None:
    """Prints two Markdown tables: speed and agreement a video, and errors against the demo's truth."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--video", type=Path, action="append", default=[])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--reference", type=int, default=REFERENCE, help="frames of a clip that are searched at most")
    parser.add_argument("--skip-truth", action="store_true")
    parser.add_argument("--only-truth", action="store_true")
    parser.add_argument("--parts", action="store_true")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(arguments.threads)
    cv2.setNumThreads(arguments.threads)
    params = load_params(ROOT / "params" / "affwild2.yaml").align
    with tempfile.TemporaryDirectory() as folder:
        videos = [] if arguments.only_truth else arguments.video or [enlarged(Path(folder), width) for width in FRAMES]
        if videos:
            print(f"{arguments.threads} thread(s); frames per second of processor time\n")
            print("| video | frames (searched) | every frame | followed | ratio | decode only | subject | distance |")
            print("|---|---|---|---|---|---|---|---|")
        for video in videos:
            compare_speed(video, Path(folder) / video.stem, params, arguments.reference)
        if arguments.parts:
            for video in videos:
                show_parts(video, Path(folder) / f"{video.stem} parts", params)
        if not arguments.skip_truth:
            compare_truth(Path(folder) / "truth", params)


def enlarged(folder: Path, width: int) -> Path:
    """A demo clip, back and forth, at another size, in H.264."""
    pictures = [picture for _, picture in read_frames(DEMO / f"raw/videos/batch1/{CLIP}.mp4") if picture is not None]
    swing = pictures + pictures[-2:0:-1]
    size = (width, round(width * pictures[0].shape[0] / pictures[0].shape[1]) // 2 * 2)
    path = folder / f"{CLIP} at {size[0]} x {size[1]}.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        for index in range(FRAMES[width]):
            picture = cv2.resize(swing[index % len(swing)], size, interpolation=cv2.INTER_CUBIC)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def compare_speed(video: Path, out: Path, params: AlignParams, most: int) -> None:
    """Prints a row of the first table."""
    reference = EveryFrame(params=params, out=out.with_suffix(".tar"))
    count = sum(1 for _ in plain_frames(video))
    searched = np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int)).tolist()
    decoded = decode_s = followed_s = 0.0
    for turn in range(ROUNDS):
        began = time.process_time()
        decoded += sum(1 for _ in read_frames(video))
        between = time.process_time()
        faces_of_video(Video(video), out.with_name(f"{out.name} {turn}"), params)
        decode_s, followed_s = decode_s + between - began, followed_s + time.process_time() - between
        reference.search(video, frozenset(searched[turn::ROUNDS]))
    share, distance = agreement(reference.found, followed_in(out.with_name(f"{out.name} 0")))
    reference_s = reference.decode_s / (ROUNDS * count) + reference.search_s / len(searched)  # a frame
    rates = (1 / reference_s, ROUNDS * count / followed_s, decoded / decode_s)
    print(
        f"| {video.stem} | {count} ({len(searched)}) | {rates[0]:.1f} | {rates[1]:.0f} | {rates[1] / rates[0]:.1f} "
        f"| {rates[2]:.0f} | {share:.2%} | {distance:.2%} |",
        flush=True,
    )


PARTS = {
    "decoding": ("read_frames", "<method 'grab' of 'cv2.VideoCapture' objects>"),
    "conversion to BGR": ("read_frames", "<method 'retrieve' of 'cv2.VideoCapture' objects>"),
    "search of the whole frame": ("_found_in", "search"),
    "known faces: R-Net and O-Net": ("", ""),
    "known faces: patches and means": ("_refind", "refine"),
    "shot cuts": ("_is_cut", "_glance"),
    "cutting out, JPEG, measures": ("add", "crop_face"),
}
"""Parts of following: a function, and one that it calls. The nets' share of `refine` is that over all its calls."""


def show_parts(video: Path, out: Path, params: AlignParams) -> None:
    """Prints the milliseconds a frame of each part of following, by the profiler, which takes a few per cent."""
    with cProfile.Profile(time.process_time) as profile:
        frames = faces_of_video(Video(video), out, params).frames
    stats = pstats.Stats(profile)
    seconds = {
        (caller[2], callee[2]): time[3] for callee, told in stats.stats.items() for caller, time in told[4].items()
    }
    spent = {part: seconds.get(pair, 0.0) for part, pair in PARTS.items()}
    refined = sum(told[3] for function, told in stats.stats.items() if function[2] == "refine")
    in_nets = spent["known faces: patches and means"] * seconds["_measured_near", "_run"] / refined
    spent["known faces: R-Net and O-Net"] += in_nets
    spent["known faces: patches and means"] -= in_nets
    spent["the rest"] = stats.total_tt - sum(spent.values())
    print(f"\n{video.stem}, milliseconds a frame:\n\n| part | ms |\n|---|---|")
    for part, its in spent.items():
        print(f"| {part} | {1000 * its / frames:.2f} |", flush=True)


def compare_truth(out: Path, params: AlignParams) -> None:
    """Prints the second table: mean distance from the demo's exact landmarks, over faces that both sides find."""
    truth: dict[str, dict[int, NDArray[np.float64]]] = {}
    with (DEMO / "truth.csv").open() as stream:
        for row in csv.DictReader(stream):
            if row["x_nose"] and not row["subject"]:
                points = np.array([[float(row[f"{axis}_{name}"]) for axis in "xy"] for name in TRUTH_POINTS])
                truth.setdefault(row["video"], {})[int(row["frame"])] = points
    errors: dict[str, list[float]] = {"every frame": [], "followed": []}
    for name, exact in truth.items():
        video = next((DEMO / "raw/videos").rglob(f"{name}.*"))
        faces_of_video(Video(video), out / name, params)
        reference, followed = EveryFrame(params=params, out=out / f"{name}.tar"), followed_in(out / name)
        reference.search(video, range(0, 1 << 20, TRUTH_STEP))
        for index in exact.keys() & {i for i, faces in reference.found.items() if faces and followed.get(i)}:
            for side, found in (("every frame", reference.found), ("followed", followed)):
                points = found[index][0][1]
                errors[side].append(distance_of(points, exact[index]))
    print(f"\nMean landmark error over {len(errors['followed'])} faces of the demo set, in interocular distances:\n")
    print("| every frame | followed |\n|---|---|")
    print(f"| {np.mean(errors['every frame']):.4f} | {np.mean(errors['followed']):.4f} |")


@dataclass(kw_only=True)
class EveryFrame:
    """The loop that most people write: OpenCV, MTCNN on each frame, the crop of every sure face written to a tar."""

    params: AlignParams
    out: Path
    found: Found = field(default_factory=dict)
    decode_s: float = 0.0
    search_s: float = 0.0

    def search(self, video: Path, wanted: Container[int]) -> None:
        """Decodes all frames and searches some; the processor's time for both is added up."""
        mtcnn = MTCNN(keep_all=True)
        self.out.parent.mkdir(parents=True, exist_ok=True)
        with self.out.open("wb") as stream:
            writer, before = tar.TarWriter(stream), time.process_time()
            for index, picture in plain_frames(video):
                decoded = time.process_time()
                self.decode_s += decoded - before
                if index in wanted:
                    self._search_one(mtcnn, index, picture, writer)
                before = time.process_time()
                self.search_s += before - decoded
            writer.close()

    def _search_one(self, mtcnn: MTCNN, index: int, picture: Image, writer: tar.TarWriter) -> None:
        boxes, probabilities, points = mtcnn.detect(picture, landmarks=True)
        faces = zip(boxes, probabilities, points, strict=True) if boxes is not None else ()
        sure = [(box, float(p), five.astype(np.float64)) for box, p, five in faces if p >= self.params.min_confidence]
        sure.sort(key=lambda face: -area(face[0]))
        self.found[index] = [(p, five) for _, p, five in sure]
        size = FrameSize(width=picture.shape[1], height=picture.shape[0])
        scale, quality = self.params.template_scale, self.params.quality
        for place, (_, _, five) in enumerate(sure):
            face = crop_face(picture, five, size, template_scale=scale, quality=quality)
            writer.add(f"{place:04d}_{index:06d}.jpg", face.jpeg)


def followed_in(out: Path) -> Found:
    """What `faces_of_video` wrote, without faces that were interpolated."""
    found: dict[int, list[tuple[float, float, NDArray[np.float64]]]] = {}
    table = tables.read_table(out / LANDMARKS, COLUMNS)
    for row in table[~table["interpolated"]].to_dict("records"):
        points = np.array([row[column] for column in POINT_COLUMNS]).reshape(5, 2)
        box = np.array([row[column] for column in ("x0", "y0", "x1", "y1")])
        found.setdefault(int(row["frame_index"]), []).append((-area(box), float(row["probability"]), points))
    return {index: [face[1:] for face in sorted(faces, key=lambda face: face[0])] for index, faces in found.items()}


def agreement(reference: Found, followed: Found) -> tuple[float, float]:
    """How well what was followed agrees with the reference on its largest face.

    Returns:
        The share of frames with a reference face of p >= SURE in which it was followed too, and the median distance of
        the landmarks in interocular distances.
    """
    distances = []
    sure = {index: faces[0][1] for index, faces in reference.items() if faces and faces[0][0] >= SURE}
    for index, points in sure.items():
        near = min((distance_of(other, points) for _, other in followed.get(index, [])), default=np.inf)
        distances.append(near)
    found = [distance for distance in distances if distance < 0.5]
    return len(found) / max(1, len(sure)), float(np.median(found)) if found else np.nan


def distance_of(points: NDArray[np.float64], exact: NDArray[np.float64]) -> float:
    """Mean distance of five landmarks as a share of the interocular distance."""
    return float(np.linalg.norm(points - exact, axis=1).mean() / interocular(exact))


def area(box: NDArray[np.floating]) -> float:
    """Area of a box in square pixels."""
    return float((box[2] - box[0]) * (box[3] - box[1]))


def plain_frames(video: Path) -> Iterator[tuple[int, Image]]:
    """Frames of a video as RGB, as most people read them."""
    capture = cv2.VideoCapture(str(video), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, max(1, cv2.getNumThreads())])
    index = 0
    while (frame := capture.read())[0]:
        yield index, cv2.cvtColor(frame[1], cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)
        index += 1


if __name__ == "__main__":
    main()
