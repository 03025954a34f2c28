"""What another processor changes: the preparation with instruction sets left out, against the same with all of them.

    python -m benchmarks.instruction_sets                                  # the demo set's every sixth clip
    python -m benchmarks.instruction_sets --steps                          # the same for other steps of rounding
    python -m benchmarks.instruction_sets --emulate qemu-x86_64-static     # pictures on whole processors, emulated

Each line is a process of its own in which libraries were told what not to use. Crops are cut from the landmarks of the
first line, as a team cuts them from the landmark table that it shares. Prints Markdown: how many frames differ.
"""

import argparse
import atexit
import ctypes
import functools
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from pipeline import geometry, images
from pipeline.alignment import FrameSize
from pipeline.contract import LANDMARK_STEP
from pipeline.faces import crop_face
from pipeline.images import Image
from pipeline.params import load_params
from pipeline.video import read_frames

ROOT = Path(__file__).parent.parent
CLIPS = sorted((ROOT / "data/demo/raw/videos/batch1").iterdir())[::6]
STRIDE = 3
CODECS = {
    "H.264.mp4": ("libx264", "yuv420p", (640, 360)),
    "H.264, odd size.mkv": ("libx264", "yuv422p", (638, 357)),
    "H.264, 10 bit.mkv": ("libx264", "yuv420p10le", (640, 360)),
    "HEVC, 10 bit.mp4": ("libx265", "yuv420p10le", (642, 362)),
    "VP9.webm": ("libvpx-vp9", "yuv420p", (640, 360)),
    "AV1, 10 bit.mp4": ("libsvtav1", "yuv420p10le", (640, 360)),
    "MPEG-4.avi": ("mpeg4", "yuv420p", (640, 360)),
    "MJPEG.avi": ("mjpeg", "yuvj422p", (640, 360)),
    "ProRes.mov": ("prores", "yuv422p10le", (640, 360)),
}
"""Further videos that are only decoded: encoder, pixel format and size of each."""

STEPS = (2.0**-20, 1 / 1024, 1 / 256, 1 / 64, 1 / 16, 1 / 4, 1.0)

NO_AVX512 = {
    "OPENCV_CPU_DISABLE": "AVX512-SKX",
    "OPENCV_IPP": "avx2",
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
    "OPENBLAS_CORETYPE": "Haswell",
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
}
NO_AVX = {
    "OPENCV_CPU_DISABLE": "AVX512-SKX,AVX2,FP16,AVX",
    "OPENCV_IPP": "sse42",
    "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR",
    "OPENBLAS_CORETYPE": "Nehalem",
    "ATEN_CPU_CAPABILITY": "default",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
    "JSIMD_FORCESSE2": "1",
    "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX2,-AVX,-FMA,-FMA4",
}
SETTINGS: dict[str, dict[str, str]] = {
    "OpenCV without AVX-512": {"OPENCV_CPU_DISABLE": "AVX512-SKX"},
    "OpenCV without AVX2": {"OPENCV_CPU_DISABLE": "AVX512-SKX,AVX2,FP16"},
    "OpenCV without SSE4.1": {"OPENCV_CPU_DISABLE": "AVX512-SKX,AVX2,FP16,AVX,SSE4.2,SSE4.1"},
    "OpenCV without IPP": {"OPENCV_IPP": "disabled"},
    "FFmpeg in plain C (on no x86-64 processor)": {"FFMPEG_CPU_FLAGS": "0"},
    "libjpeg-turbo in plain C": {"JSIMD_FORCENONE": "1"},
    "numpy without AVX2": {
        "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR",
        "OPENBLAS_CORETYPE": "Nehalem",
    },
    "PyTorch `avx2`": {"ATEN_CPU_CAPABILITY": "avx2"},
    "PyTorch `default`": {"ATEN_CPU_CAPABILITY": "default"},
    "oneDNN `AVX2`": {"ONEDNN_MAX_CPU_ISA": "AVX2"},
    "oneDNN `SSE41`": {"ONEDNN_MAX_CPU_ISA": "SSE41"},
    "MKL `AVX2`": {"MKL_ENABLE_INSTRUCTIONS": "AVX2"},
    "all without AVX-512 (as on Haswell, Zen 2)": NO_AVX512,
    "all without AVX (as on Nehalem)": NO_AVX,
}
PROCESSORS = ("Nehalem-v1", "SandyBridge-v1", "Haswell-v2", "EPYC-v1")
"""What QEMU emulates: without AVX, without AVX2, with AVX2 and FMA from either maker. It has no AVX-512."""


@dataclass(kw_only=True)
class Findings:
    """What one process saw, by frame: digests of what was decoded, stored and cropped; faces as numbers. By video:
    digests of the further videos' frames."""

    codecs: dict[str, str] = field(default_factory=dict)
    decoded: dict[str, str] = field(default_factory=dict)
    stored: dict[str, str] = field(default_factory=dict)
    crops: dict[str, str] = field(default_factory=dict)
    faces: dict[str, list[list[float]]] = field(default_factory=dict)


def main() -> None:
    """Prints one of the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", action="store_true")
    parser.add_argument("--emulate", metavar="QEMU", help="a QEMU user-mode emulator for x86-64")
    parser.add_argument("--work", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        work(**arguments.work)
    elif arguments.emulate:
        emulated(arguments.emulate)
    elif arguments.steps:
        steps()
    else:
        limited()


def limited() -> None:
    """A line a library and instruction set."""
    first = look({})
    print(f"{len(first.decoded)} frames of {len(CLIPS)} clips; {cv2.getCPUFeaturesLine()}\n")
    print("| | other codecs | decoded | stored | crops from the same landmarks | landmarks | largest shift (pixels) |")
    print("|---|---|---|---|---|---|---|")
    for name, variables in SETTINGS.items():
        other = look(variables, landmarks=first.faces)
        shifts = shifted(first, other)
        print(f"| {name} | {pictures(first, other)} | {len(shifts)} | {told(shifts)} |", flush=True)


def emulated(emulator: str) -> None:
    """A line a processor. PyTorch takes minutes to start in an emulator, so landmarks are left out."""
    first = look({}, clips=2)
    print(f"{len(first.decoded)} frames of 2 clips\n\n| | codecs | decoded | stored | crops |\n|---|---|---|---|---|")
    for processor in PROCESSORS:
        other = look({}, landmarks=first.faces, clips=2, prefix=[emulator, "-cpu", processor], detect=False)
        print(f"| {processor} | {pictures(first, other)} |", flush=True)


def steps() -> None:
    """A line a step of rounding: frames whose landmarks differ between instruction sets, if they are rounded to it."""
    print("| step (pixels) | without AVX-512 | largest shift | without AVX | largest shift |\n|---|---|---|---|---|")
    for step in STEPS:
        first = look({}, step=step)
        cells = []
        for variables in (NO_AVX512, NO_AVX):
            shifts = shifted(first, look(variables, step=step))
            cells += [f"{len(shifts)} of {len(first.faces)}", told(shifts)]
        print(f"| {step:.6f} | {' | '.join(cells)} |", flush=True)


def look(
    variables: dict[str, str],
    *,
    landmarks: dict[str, list[list[float]]] | None = None,
    step: float = LANDMARK_STEP,
    clips: int = len(CLIPS),
    prefix: list[str] | None = None,
    detect: bool = True,
) -> Findings:
    """Prepares the clips in a process with these variables, and crops by `landmarks`, or by those that it finds."""
    with tempfile.TemporaryDirectory() as folder:
        given, out = Path(folder) / "given.json", Path(folder) / "out.json"
        given.write_text(json.dumps(landmarks))
        task = {"given": str(given), "out": str(out), "codecs": str(codecs())}
        task |= {"step": step, "clips": clips, "detect": detect}
        command = [*(prefix or []), sys.executable, "-m", "benchmarks.instruction_sets", "--work", json.dumps(task)]
        threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        done = subprocess.run(command, cwd=ROOT, env=os.environ | threads | variables, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{variables}: {done.stderr}")
        return Findings(**json.loads(out.read_text()))


@functools.cache
def codecs() -> Path:
    """A folder with the further videos: eight frames of a demo clip each."""
    folder = Path(tempfile.mkdtemp(prefix="codecs"))
    atexit.register(shutil.rmtree, folder)
    frames = [picture for _, picture in zip(range(8), read_frames(CLIPS[0]), strict=False)]
    for name, (encoder, pixels, size) in CODECS.items():
        with av.open(str(folder / name), "w") as container:
            stream = container.add_stream(encoder, rate=25)
            stream.width, stream.height = size
            stream.pix_fmt = pixels
            for _, picture in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(cv2.resize(picture, size), format="rgb24")))
            container.mux(stream.encode(None))
    return folder


def work(*, given: str, out: str, codecs: str, step: float, clips: int, detect: bool) -> None:
    """What the started process does."""
    limit_ffmpeg()
    cv2.setNumThreads(1)
    geometry.LANDMARK_STEP = step
    findings, landmarks = Findings(), json.loads(Path(given).read_text())
    for video in sorted(Path(codecs).iterdir()):
        findings.codecs[video.name] = digest(*(picture.tobytes() for _, picture in read_frames(video)))
    for clip in CLIPS[:clips]:
        pictures = list(stored_frames(clip, findings))
        if detect:
            findings.faces |= {f"{clip.name} {index}": faces for index, faces in found(pictures)}
        for index, picture in pictures:
            name = f"{clip.name} {index}"
            findings.crops[name] = digest(*cropped(picture, (landmarks or findings.faces)[name]))
    Path(out).write_text(json.dumps(vars(findings)))


def limit_ffmpeg() -> None:
    """FFmpeg takes no variable: its own function is called, in the library that OpenCV has loaded."""
    flags = os.environ.get("FFMPEG_CPU_FLAGS")
    if flags is not None:
        (library,) = (Path(cv2.__file__).parent.parent / "opencv_python_headless.libs").glob("libavutil-*")
        ctypes.CDLL(str(library)).av_force_cpu_flags(int(flags))


def stored_frames(clip: Path, findings: Findings) -> Iterator[tuple[int, Image]]:
    """Every third frame as the stage align sees it: stored as JPEG, decoded. Notes digests on the way."""
    for index, picture in read_frames(clip):
        if picture is not None and index % STRIDE == 0:
            name, jpeg = f"{clip.name} {index}", images.encode_jpeg(images.shrink(picture, 600), 95)
            findings.decoded[name], findings.stored[name] = digest(picture.tobytes()), digest(jpeg)
            yield index, images.decode_jpeg(jpeg)


def found(pictures: list[tuple[int, Image]]) -> Iterator[tuple[int, list[list[float]]]]:
    """Faces a frame, followed as the stage align does: five landmarks, box, probability."""
    from pipeline.detector import Detector
    from pipeline.follow import Follower

    align = load_params(ROOT / "params.yaml").align
    detector = Detector(min_face=align.min_face, device="cpu", working_side=align.working_side)
    follower = Follower(finder=detector, search_every=align.search_every, max_gap=align.max_gap)
    for frame in follower.follow(iter(pictures)):
        sure = [face for face in frame.faces if face.probability >= align.min_confidence]
        yield frame.frame_index, [[*face.points.reshape(-1), *face.box, face.probability] for face in sure]


def cropped(picture: Image, faces: list[list[float]]) -> Iterator[bytes]:
    """The faces of a frame as they would be stored, with their measures and pose; at three scales of the template."""
    size = FrameSize(width=picture.shape[1], height=picture.shape[0])
    for face in faces:
        points = np.array(face[:10]).reshape(5, 2)
        for scale in (1.0, 0.7, 0.4):
            crop = crop_face(picture, points, size, template_scale=scale, quality=95)
            yield crop.jpeg + repr((crop.brightness, crop.sharpness, geometry.pose(points))).encode()


def digest(*parts: bytes) -> str:
    """SHA-256 of all parts."""
    return hashlib.sha256(b"".join(parts)).hexdigest()


def pictures(one: Findings, other: Findings) -> str:
    """Cells of the table: how many videos or frames differ."""
    kinds = ("codecs", "decoded", "stored", "crops")
    return " | ".join(str(differing(getattr(one, kind), getattr(other, kind))) for kind in kinds)


def differing(one: dict[str, Any], other: dict[str, Any]) -> int:
    """How many frames differ."""
    return sum(one.get(name) != other.get(name) for name in one.keys() | other.keys())


def shifted(one: Findings, other: Findings) -> list[float]:
    """Of the frames whose faces differ: the largest distance of a landmark or a box's side; infinite if faces lack."""
    shifts = []
    for name, faces in one.faces.items():
        if faces != other.faces[name]:
            here, there = (np.array(sorted(each)) for each in (faces, other.faces[name]))
            shifts.append(float(np.abs(here - there).max()) if here.shape == there.shape else np.inf)
    return shifts


def told(shifts: list[float]) -> str:
    """The largest shift."""
    return f"{max(shifts):.3g}" if shifts else "0"


if __name__ == "__main__":
    main()
