"""One video's stored frames to its aligned faces: detections and crops kept in the work store, each by content."""

from collections.abc import Container, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline import files, images, tables, tar, tracks
from pipeline.contract import (
    BOX_COLUMNS,
    FACE_COLUMNS,
    LANDMARK_COLUMNS,
    POINT_COLUMNS,
    Drop,
    escape,
    sample_key,
)
from pipeline.datasets.base import Dropped
from pipeline.faces import FrameSize, crop_face, detect_faces
from pipeline.geometry import Detection
from pipeline.params import AlignParams
from pipeline.video import Image

DETECT_VERSION = 1
CROP_VERSION = 1
"""Raise either when its results change for the same parameters."""

FACES_TAR = "faces.tar"
_FACES = "faces.parquet"
_DETECTIONS = "detections.parquet"
_FRAMES = "frames.json"
_DETECTION_COLUMNS = (
    {"frame_index": "int64", "probability": "double"}
    | dict.fromkeys(BOX_COLUMNS, "double")
    | dict.fromkeys(POINT_COLUMNS, "double")
)


@dataclass(frozen=True, kw_only=True)
class TrialFrames:
    """One annotation of the video: whom it is about, and its labelled, stored frames."""

    name: str
    subject: str
    split: str
    frame_indices: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class AlignTask:
    """What one video's alignment depends on."""

    video: str
    frames_tar: Path
    frames_key: str
    size: FrameSize
    trials: tuple[TrialFrames, ...]
    params: AlignParams
    store: files.WorkStore


@dataclass(frozen=True, kw_only=True)
class Aligned:
    """A video's aligned faces: rows of the landmark and face tables, what was dropped, and the tar's folder."""

    landmarks: pd.DataFrame
    faces: pd.DataFrame
    dropped: list[Dropped]
    folder: Path


def align_video(task: AlignTask) -> Aligned:
    """Detects, chooses the annotated subjects and crops; finished work is not redone."""
    detections = _detections(task)
    linked = tracks.link(detections, min_overlap=task.params.link_iou, max_gap=task.params.max_gap)
    rows: list[dict[str, object]] = []
    dropped: list[Dropped] = []
    for trial in task.trials:
        others = [other.subject for other in task.trials if other is not trial]
        person = tracks.choose(linked, trial.subject, others, frame_width=task.size.width)
        found = {frame_index: track for track in person for frame_index in track.faces}
        rows += [_row(task.video, trial, found[index], index) for index in trial.frame_indices if index in found]
        dropped += _lost(trial, found.keys(), detections)
    landmarks = tables.table(rows, LANDMARK_COLUMNS)
    folder = _crops(task, landmarks)
    return Aligned(
        landmarks=landmarks,
        faces=tables.read_table(folder / _FACES, FACE_COLUMNS),
        dropped=dropped,
        folder=folder,
    )


def _row(video: str, trial: TrialFrames, track: tracks.Track, frame_index: int) -> dict[str, object]:
    face = track.faces[frame_index]
    return {
        "trial": trial.name,
        "video": video,
        "subject": trial.subject,
        "frame_index": frame_index,
        "track": track.number,
        "probability": face.probability,
        **dict(zip(BOX_COLUMNS, face.box.tolist(), strict=True)),
        **dict(zip(POINT_COLUMNS, face.points.reshape(-1).tolist(), strict=True)),
    }


def _lost(trial: TrialFrames, found: Container[int], detections: tracks.FrameDetections) -> list[Dropped]:
    """Frames of a trial without its subject: nobody at all, or faces of somebody else only."""
    missing = [index for index in trial.frame_indices if index not in found]
    nobody = sum(not detections[index] for index in missing)
    counts = {Drop.NO_FACE: nobody, Drop.SUBJECT_NOT_FOUND: len(missing) - nobody}
    return [
        Dropped(trial=trial.name, split=trial.split, reason=reason, frames=count)
        for reason, count in counts.items()
        if count
    ]


def _detections(task: AlignTask) -> dict[int, list[Detection]]:
    settings = [task.params.min_face, task.params.min_confidence]
    libraries = [version("torch"), version("facenet-pytorch"), cv2.__version__]
    key = files.digest_of(DETECT_VERSION, libraries, task.frames_key, settings)
    folder = task.store.find("detections", key)
    if folder is None:
        from pipeline.detector import Detector  # loads torch, for seconds; only where there is something to detect

        detector = Detector(min_face=task.params.min_face, device=task.params.device)
        found = detect_faces(
            _read_frames(task.frames_tar), detector, task.size, min_confidence=task.params.min_confidence
        )
        with task.store.building("detections", key) as building:
            tables.write_table(building / _DETECTIONS, _detection_rows(found), _DETECTION_COLUMNS)
            files.write_json(building / _FRAMES, sorted(found))
        folder = task.store.path("detections", key)
    loaded: dict[int, list[Detection]] = {index: [] for index in files.read_json(folder / _FRAMES)}
    table = tables.read_table(folder / _DETECTIONS, _DETECTION_COLUMNS)
    boxes, points = table[list(BOX_COLUMNS)].to_numpy(), table[list(POINT_COLUMNS)].to_numpy()
    for index, probability, box, five in zip(table["frame_index"], table["probability"], boxes, points, strict=True):
        loaded[index].append(Detection(box=box, points=five.reshape(5, 2), probability=probability))
    return loaded


def _detection_rows(found: dict[int, list[Detection]]) -> list[dict[str, object]]:
    return [
        {
            "frame_index": frame_index,
            "probability": face.probability,
            **dict(zip(BOX_COLUMNS, face.box.tolist(), strict=True)),
            **dict(zip(POINT_COLUMNS, face.points.reshape(-1).tolist(), strict=True)),
        }
        for frame_index, faces in found.items()
        for face in faces
    ]


def _crops(task: AlignTask, landmarks: pd.DataFrame) -> Path:
    """The video's faces, cut from the recorded landmarks; depends on these, not on how they were found."""
    points = landmarks[list(POINT_COLUMNS)].to_numpy().tolist()
    keys = [sample_key(trial, index) for trial, index in zip(landmarks["trial"], landmarks["frame_index"], strict=True)]
    settings = [task.params.template_scale, task.params.quality]
    key = files.digest_of(CROP_VERSION, cv2.__version__, task.frames_key, settings, task.video, keys, points)
    folder = task.store.find("faces", key)
    if folder is None:
        with task.store.building("faces", key) as building:
            _cut(building, task, landmarks["frame_index"].tolist(), keys, np.array(points).reshape(-1, 5, 2))
        folder = task.store.path("faces", key)
    return folder


def _cut(folder: Path, task: AlignTask, indices: list[int], keys: list[str], points: NDArray[np.float64]) -> None:
    wanted: dict[int, list[int]] = {}
    for row, frame_index in enumerate(indices):
        wanted.setdefault(frame_index, []).append(row)
    rows: list[dict[str, object]] = []
    with (folder / FACES_TAR).open("wb") as stream:
        writer = tar.TarWriter(stream)
        for frame_index, picture in _read_frames(task.frames_tar):
            for row in wanted.get(frame_index, []):
                face = crop_face(
                    picture,
                    points[row],
                    task.size,
                    template_scale=task.params.template_scale,
                    quality=task.params.quality,
                )
                offset = writer.add(f"{keys[row]}.jpg", face.jpeg)
                rows.append(
                    {
                        "key": keys[row],
                        "tar": f"{escape(task.video)}.tar",
                        "offset": offset,
                        "size": len(face.jpeg),
                        "brightness": face.brightness,
                        "sharpness": face.sharpness,
                    }
                )
        writer.close()
    tables.write_table(folder / _FACES, rows, FACE_COLUMNS)


def _read_frames(path: Path) -> Iterator[tuple[int, Image]]:
    for name, content in tar.read_members(path):
        yield int(name.removesuffix(".jpg")), images.decode_jpeg(content)
