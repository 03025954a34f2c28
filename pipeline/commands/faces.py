"""`cct faces`: the faces of one video, outside DVC."""

import os
import sys
import time
from pathlib import Path
from typing import Annotated

import cv2
import typer

import pipeline
from pipeline.contract import UserError
from pipeline.params import PARAMS_FILE, AlignParams, load_params
from pipeline.sources import source, told_lost
from pipeline.watched import Watched


def faces(
    video: Annotated[Path, typer.Argument(help="A video file, or a picture.")],
    out: Annotated[Path, typer.Option(help="A new folder for landmarks.parquet and faces.tar.")],
    params: Annotated[
        Path | None,
        typer.Option(help="Where the group `align` is read from; default: params.yaml here or the project's."),
    ] = None,
) -> None:
    """Finds, follows and cuts out every face of one video, upright, 224 x 224.

    Example: cct faces data/demo/raw/videos/batch1/demo-001.mp4 --out /tmp/demo-001
    """
    if not video.is_file():
        raise UserError(f"{video} is not a file; name a video")
    align = align_params(params)
    silence_decoder()
    from pipeline.one_video import faces_of_video  # loads torch, for seconds

    began = time.monotonic()
    pictures = source(video)
    found = faces_of_video(Watched(pictures, "faces"), out, align)
    seconds = time.monotonic() - began
    if lost := told_lost(pictures, found.frames):
        print(lost, file=sys.stderr)
    print(
        f"{out}: {found.faces} faces in {found.tracks} tracks; the main person in {found.frames_with_main} of "
        f"{found.frames} frames; {found.frames / seconds:.0f} frames/s"
    )


def align_params(path: Path | None) -> AlignParams:
    """The group `align` of a parameter file: the one that is named, else that of this folder or of the project."""
    beside = Path(pipeline.__file__).parent.parent / PARAMS_FILE
    return load_params(path or (PARAMS_FILE if PARAMS_FILE.exists() else beside)).align


def silence_decoder() -> None:
    """A decoder's complaints become our own messages; to be called before the first video is opened."""
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
