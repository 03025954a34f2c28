"""Faces cut out where the landmark table says, into a tar with its table; kept in the work store by content."""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline import files, tables
from pipeline.contract import FACE_COLUMNS, LANDMARK_COLUMNS, POINT_COLUMNS, escape, sample_key
from pipeline.faces import FrameSize, crop_face, whole_face
from pipeline.images import Image
from pipeline.libraries import opencv_build
from pipeline.store import WorkStore
from pipeline.tar import TarWriter

CROP_VERSION = 3
"""Raise it when the bytes of a crop change for the same landmarks and parameters."""

FACES_TAR = "faces.tar"
FACES = "faces.parquet"
LANDMARKS = "landmarks.parquet"

ReadFrames = Callable[[], Iterable[tuple[int, Image]]]


def stored_crops(
    landmarks: list[dict[str, object]],
    read_frames: ReadFrames,
    size_of: Callable[[int], FrameSize],
    *,
    video: str,
    frames_key: str,
    template_scale: float,
    quality: int,
    store: WorkStore,
) -> Path:
    """The entry with the video's faces, cut from the recorded landmarks; depends on these, not on how they were found.

    Args:
        landmarks: rows of the landmark table.
        read_frames: gives the video's stored frames, if they are needed.
        size_of: the size of a frame before it was stored.
        video: its name.
        frames_key: content key of the stored frames.
        template_scale: `align.template_scale`.
        quality: of the JPEG.
        store: where finished work is kept.
    """
    settings = [template_scale, quality]
    key = files.digest_of(CROP_VERSION, opencv_build(), frames_key, settings, landmarks)
    folder = store.find("faces", key)
    if folder is None:
        with store.building("faces", key) as building:
            tables.write_table(building / LANDMARKS, landmarks, LANDMARK_COLUMNS)
            table = tables.table(landmarks, LANDMARK_COLUMNS)
            rows = _cut(building / FACES_TAR, table, read_frames(), size_of, settings=(template_scale, quality))
            places = [{"tar": f"{escape(video)}.tar"} | row for row in rows]
            tables.write_table(building / FACES, places, FACE_COLUMNS)
        folder = store.path("faces", key)
    return folder


def _cut(
    path: Path,
    landmarks: pd.DataFrame,
    frames: Iterable[tuple[int, Image]],
    size_of: Callable[[int], FrameSize],
    *,
    settings: tuple[float, int],
) -> list[dict[str, object]]:
    pairs = zip(landmarks["trial"], landmarks["frame_index"], strict=True)
    keys = [sample_key(trial, frame_index) for trial, frame_index in pairs]
    points = landmarks[list(POINT_COLUMNS)].to_numpy().reshape(-1, 5, 2)
    wanted: dict[int, list[int]] = {}
    for row, frame_index in enumerate(landmarks["frame_index"]):
        wanted.setdefault(frame_index, []).append(row)
    placed: dict[int, dict[str, object]] = {}
    scale, quality = settings
    with path.open("wb") as stream:
        writer = TarWriter(stream)
        for frame_index, picture in frames:
            for row in wanted.get(frame_index, []):
                if np.isnan(points[row]).any():
                    face = whole_face(picture, quality=quality)
                else:
                    size = size_of(frame_index)
                    face = crop_face(picture, points[row], size, template_scale=scale, quality=quality)
                offset = writer.add(f"{keys[row]}.jpg", face.jpeg)
                placed[row] = {
                    "key": keys[row],
                    "offset": offset,
                    "size": len(face.jpeg),
                    "brightness": face.brightness,
                    "sharpness": face.sharpness,
                }
        writer.close()
    return [placed[row] for row in range(len(keys))]
