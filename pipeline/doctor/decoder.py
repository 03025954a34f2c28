"""Whether this machine's decoder opens what videos come in: a clip of two frames of each kind, really decoded."""

from importlib.resources import as_file, files

import numpy as np

from pipeline import video
from pipeline.contract import UserError
from pipeline.findings import Finding, ok, warn

CODECS = {
    "h264.mp4": "H.264",
    "hevc.mp4": "HEVC",
    "vp9.webm": "VP9",
    "av1.mp4": "AV1",
    "mpeg4.avi": "MPEG-4",
    "mjpeg.avi": "Motion JPEG",
}
"""Clips beside this file (64 x 64 pixels; red and green over blue and grey), and what they are coded in."""

_QUARTERS = np.array([[[200, 40, 40], [40, 200, 40]], [[40, 40, 200], [128, 128, 128]]])
_NEAR = 24


def decoder() -> list[Finding]:
    """Opens every clip and compares its last picture with what was encoded."""
    problems = {told: problem for name, told in CODECS.items() if (problem := _problem(name))}
    if not problems:
        return [ok("decoder", f"decodes {', '.join(CODECS.values())}")]
    mend = (
        "make setup (the locked OpenCV decodes all); or convert such videos: ffmpeg -i IN -c:v libx264 -crf 17 OUT.mp4"
    )
    return [warn("decoder", f"{told} is not decoded: {problem}", mend) for told, problem in problems.items()]


def _problem(name: str) -> str:
    with as_file(files("pipeline.doctor") / "probes" / name) as path:
        try:
            pictures = [picture for _, picture in video.read_frames(path) if picture is not None]
        except UserError as error:
            return str(error)
    if not pictures:
        return "no frame came out"
    middles = pictures[-1][16:64:32, 16:64:32].astype(int)
    return "" if np.abs(middles - _QUARTERS).max() <= _NEAR else "its colours came out wrong"
