"""One video's stored frames to its aligned faces: detections and crops kept in the work store, each by content."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from math import isnan
from pathlib import Path

import numpy as np

from pipeline import files, images, stills, tables, tar, tracks
from pipeline.contract import BOX_COLUMNS, POINT_COLUMNS, POSE_COLUMNS
from pipeline.crops import stored_crops
from pipeline.datasets.base import Dropped
from pipeline.faces import FrameSize, Sightings, gathered, tracked
from pipeline.follow import Follower, search_each
from pipeline.geometry import Detection, pose
from pipeline.images import Image
from pipeline.libraries import opencv_build
from pipeline.params import AlignParams
from pipeline.stills import Still
from pipeline.store import WorkStore
from pipeline.subjects import lost_frames, subject_row
from pipeline.tracks import Track

DETECT_VERSION = 5
"""Raise it when detections change for the same parameters."""

DETECTING = ("pipeline.detector",)
"""What is imported where faces are looked for: it loads torch, for seconds."""

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
    stills: Mapping[int, Still] | None = None
    """What is known of each picture, if the frames are single pictures of their own sizes."""

    def size_of(self, frame_index: int) -> FrameSize:
        """The size of a frame before it was stored."""
        if self.stills is None:
            return self.size
        still = self.stills[frame_index]
        return FrameSize(width=still.width, height=still.height)


@dataclass(frozen=True, kw_only=True)
class Aligned:
    """A video's aligned faces: the folder with its tar and tables, what was dropped, and whom each trial shows."""

    folder: Path
    faces: int
    dropped: list[Dropped]
    subjects: list[dict[str, object]]


def align_video(task: AlignTask) -> Aligned:
    """Detects, chooses the annotated subjects and crops; finished work is not redone."""
    rows: list[dict[str, object]] = []
    dropped: list[Dropped] = []
    subjects: list[dict[str, object]] = []
    sightings = _sightings(task)
    for trial, person, everybody, rule in _people(task, sightings):
        indices = trial.frame_indices
        if task.stills is not None:  # the extract stage has listed pictures that could not be stored
            indices = tuple(index for index in indices if index in sightings.faces)
        found = {frame_index: track for track in person for frame_index in track.faces}
        rows += [_row(task.video, trial, found[index], index) for index in indices if index in found]
        dropped += lost_frames(trial.name, trial.split, indices, found.keys(), sightings.faces)
        told = {"video": task.video, "subject": trial.subject, "split": trial.split, "rule": rule}
        gone_through = {"searches": sightings.searches, "shots": max(1, len(sightings.cuts))}
        subjects.append(told | subject_row(trial.name, indices, found, person, everybody) | gone_through)
    folder = stored_crops(
        rows,
        lambda: _read_frames(task.frames_tar),
        task.size_of,
        video=task.video,
        frames_key=task.frames_key,
        template_scale=task.params.template_scale,
        quality=task.params.quality,
        store=task.store,
    )
    return Aligned(folder=folder, faces=len(rows), dropped=dropped, subjects=subjects)


def _people(
    task: AlignTask, sightings: Sightings
) -> Iterator[tuple[TrialFrames, Sequence[Track], Sequence[Track], str]]:
    """Each trial, the tracks of its person, all tracks, and the rule by which that person was chosen."""
    if task.stills is not None:
        for trial in task.trials:
            yield trial, *stills.choose(sightings.faces, task.stills, task.params.faces)
        return
    linked = tracked(
        sightings,
        min_overlap=task.params.link_iou,
        max_gap=task.params.max_gap,
        max_bridge=task.params.max_bridge,
        smoothing=task.params.smoothing,
    )
    for trial in task.trials:
        others = [other.subject for other in task.trials if other is not trial]
        person = tracks.choose(linked, trial.subject, others, frame_width=task.size.width)
        yield trial, person, linked, tracks.rule_for(trial.subject, others)


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
        **(dict.fromkeys(POSE_COLUMNS) if np.isnan(face.points).any() else pose(face.points)._asdict()),
    }


def _face_values(face: Detection) -> dict[str, object]:
    names = ("probability", *BOX_COLUMNS, *POINT_COLUMNS)
    numbers = (face.probability, *face.box.tolist(), *face.points.reshape(-1).tolist())
    return {name: None if isnan(number) else number for name, number in zip(names, numbers, strict=True)}


def _sightings(task: AlignTask) -> Sightings:
    params = task.params
    if task.stills is not None and params.faces != "detect":
        stored = [int(name.removesuffix(".jpg")) for name, _ in tar.read_members(task.frames_tar)]
        return Sightings(faces=stills.known(task.stills, stored, params.faces), cuts=[], searches=0)
    key = _detections_key(task)
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


def to_detect(task: AlignTask) -> bool:
    """Whether faces are still to be looked for, which imports `DETECTING`, as far as can be seen without reading."""
    known = task.stills is not None and task.params.faces != "detect"
    return not known and not task.store.path("detections", _detections_key(task)).is_dir()


def _detections_key(task: AlignTask) -> str:
    params = task.params
    settings: list[object] = [params.min_face, params.min_confidence, params.tracking]
    if task.stills is not None:
        settings[2:] = ["stills", params.working_side]
    elif params.tracking == "on":
        settings += [params.search_every, params.working_side, params.max_gap]
    libraries = [version("torch"), version("facenet-pytorch"), opencv_build()]
    return files.digest_of(DETECT_VERSION, libraries, task.frames_key, settings)


def _look(task: AlignTask) -> Sightings:
    from pipeline.detector import Detector  # loads torch; only where there is something to detect

    params, frames = task.params, _read_frames(task.frames_tar)
    detector = Detector(min_face=params.min_face, device=params.device, working_side=params.working_side)
    if task.stills is not None:
        return gathered(stills.searched(frames, detector), params.min_confidence, size_of=task.size_of)
    follower = Follower(finder=detector, search_every=params.search_every, max_gap=params.max_gap)
    looked = follower.follow(frames) if params.tracking == "on" else search_each(frames, detector)
    return gathered(looked, params.min_confidence, size_of=task.size_of)


def _read_frames(path: Path) -> Iterator[tuple[int, Image]]:
    for name, content in tar.read_members(path):
        yield int(name.removesuffix(".jpg")), images.decode_jpeg(content)
