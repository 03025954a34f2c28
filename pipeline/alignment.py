"""One video's stored frames to its aligned faces: detections and crops kept in the work store, each by content."""

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import cv2
import pandas as pd

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
from pipeline.faces import FrameSize, Sightings, crop_face, gathered, tracked
from pipeline.follow import Follower, search_each
from pipeline.geometry import Detection, pose
from pipeline.params import AlignParams
from pipeline.store import WorkStore
from pipeline.tracks import Track
from pipeline.video import Image

DETECT_VERSION = 3
CROP_VERSION = 3
"""Raise either when its results change for the same parameters."""

FACES_TAR = "faces.tar"
FACES = "faces.parquet"
LANDMARKS = "landmarks.parquet"
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
    store: WorkStore


@dataclass(frozen=True, kw_only=True)
class Aligned:
    """A video's aligned faces: the folder with its tar and tables, what was dropped, and whom each trial shows."""

    folder: Path
    faces: int
    dropped: list[Dropped]
    subjects: list[dict[str, object]]


def align_video(task: AlignTask) -> Aligned:
    """Detects, chooses the annotated subjects and crops; finished work is not redone."""
    sightings = _sightings(task)
    linked = tracked(
        sightings,
        min_overlap=task.params.link_iou,
        max_gap=task.params.max_gap,
        max_bridge=task.params.max_bridge,
        smoothing=task.params.smoothing,
    )
    rows: list[dict[str, object]] = []
    dropped: list[Dropped] = []
    subjects: list[dict[str, object]] = []
    for trial in task.trials:
        others = [other.subject for other in task.trials if other is not trial]
        person = tracks.choose(linked, trial.subject, others, frame_width=task.size.width)
        found = {frame_index: track for track in person for frame_index in track.faces}
        rows += [_row(task.video, trial, found[index], index) for index in trial.frame_indices if index in found]
        dropped += _lost(trial, found.keys(), sightings.faces)
        told = {"video": task.video, "rule": tracks.rule_for(trial.subject, others), "searches": sightings.searches}
        subjects.append(told | _subject(trial, found, person, linked) | {"shots": max(1, len(sightings.cuts))})
    return Aligned(folder=_crops(task, rows), faces=len(rows), dropped=dropped, subjects=subjects)


def _row(video: str, trial: TrialFrames, track: tracks.Track, frame_index: int) -> dict[str, object]:
    face = track.faces[frame_index]
    return {
        "trial": trial.name,
        "video": video,
        "subject": trial.subject,
        "frame_index": frame_index,
        "track": track.number,
        **_face_values(face),
        "interpolated": face.interpolated,
        **pose(face.points)._asdict(),
    }


def _face_values(face: Detection) -> dict[str, object]:
    return {
        "probability": face.probability,
        **dict(zip(BOX_COLUMNS, face.box.tolist(), strict=True)),
        **dict(zip(POINT_COLUMNS, face.points.reshape(-1).tolist(), strict=True)),
    }


def _subject(
    trial: TrialFrames, found: Mapping[int, Track], person: Sequence[Track], everybody: Sequence[Track]
) -> dict[str, object]:
    """A trial's entries of the subject table."""
    shown = [index for index in trial.frame_indices if index in found]
    others = [track for track in everybody if track not in person]
    return {
        "trial": trial.name,
        "subject": trial.subject,
        "split": trial.split,
        "frames": len(trial.frame_indices),
        "found": len(shown),
        "interpolated": sum(found[index].faces[index].interpolated for index in shown),
        "tracks": " ".join(str(track.number) for track in person),
        "other_tracks": len(others),
        "frames_with_others": sum(any(index in track.faces for track in others) for index in shown),
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


def _sightings(task: AlignTask) -> Sightings:
    params = task.params
    settings = [params.min_face, params.min_confidence, params.tracking]
    if params.tracking == "on":
        settings += [params.search_every, params.working_side, params.max_gap]
    libraries = [version("torch"), version("facenet-pytorch"), cv2.__version__]
    key = files.digest_of(DETECT_VERSION, libraries, task.frames_key, settings)
    folder = task.store.find("detections", key)
    if folder is None:
        found = _look(task)
        rows = [{"frame_index": index, **_face_values(face)} for index, faces in found.faces.items() for face in faces]
        with task.store.building("detections", key) as building:
            tables.write_table(building / _DETECTIONS, rows, _DETECTION_COLUMNS)
            seen = {"frames": sorted(found.faces), "cuts": found.cuts, "searches": found.searches}
            files.write_json(building / _FRAMES, seen)
        folder = task.store.path("detections", key)
    seen = files.read_json(folder / _FRAMES)
    loaded: dict[int, list[Detection]] = {index: [] for index in seen["frames"]}
    table = tables.read_table(folder / _DETECTIONS, _DETECTION_COLUMNS)
    boxes, points = table[list(BOX_COLUMNS)].to_numpy(), table[list(POINT_COLUMNS)].to_numpy()
    for index, probability, box, five in zip(table["frame_index"], table["probability"], boxes, points, strict=True):
        loaded[index].append(Detection(box=box, points=five.reshape(5, 2), probability=probability))
    return Sightings(faces=loaded, cuts=seen["cuts"], searches=seen["searches"])


def _look(task: AlignTask) -> Sightings:
    from pipeline.detector import Detector  # loads torch, for seconds; only where there is something to detect

    params, frames = task.params, _read_frames(task.frames_tar)
    detector = Detector(min_face=params.min_face, device=params.device, working_side=params.working_side)
    follower = Follower(finder=detector, search_every=params.search_every, max_gap=params.max_gap)
    looked = follower.follow(frames) if params.tracking == "on" else search_each(frames, detector)
    return gathered(looked, params.min_confidence, size=task.size)


def _crops(task: AlignTask, landmarks: list[dict[str, object]]) -> Path:
    """The video's faces, cut from the recorded landmarks; depends on these, not on how they were found."""
    settings = [task.params.template_scale, task.params.quality]
    key = files.digest_of(CROP_VERSION, cv2.__version__, task.frames_key, settings, landmarks)
    folder = task.store.find("faces", key)
    if folder is None:
        with task.store.building("faces", key) as building:
            tables.write_table(building / LANDMARKS, landmarks, LANDMARK_COLUMNS)
            _cut(building, task, tables.table(landmarks, LANDMARK_COLUMNS))
        folder = task.store.path("faces", key)
    return folder


def _cut(folder: Path, task: AlignTask, landmarks: pd.DataFrame) -> None:
    pairs = zip(landmarks["trial"], landmarks["frame_index"], strict=True)
    keys = [sample_key(trial, frame_index) for trial, frame_index in pairs]
    points = landmarks[list(POINT_COLUMNS)].to_numpy().reshape(-1, 5, 2)
    wanted: dict[int, list[int]] = {}
    for row, frame_index in enumerate(landmarks["frame_index"]):
        wanted.setdefault(frame_index, []).append(row)
    placed: dict[int, dict[str, object]] = {}
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
                placed[row] = {
                    "key": keys[row],
                    "tar": f"{escape(task.video)}.tar",
                    "offset": offset,
                    "size": len(face.jpeg),
                    "brightness": face.brightness,
                    "sharpness": face.sharpness,
                }
        writer.close()
    tables.write_table(folder / FACES, [placed[row] for row in range(len(keys))], FACE_COLUMNS)


def _read_frames(path: Path) -> Iterator[tuple[int, Image]]:
    for name, content in tar.read_members(path):
        yield int(name.removesuffix(".jpg")), images.decode_jpeg(content)
