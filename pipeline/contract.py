"""The names every room agrees on: classes, splits, keys, tables, reasons and paths. No I/O, no third-party imports."""

import hashlib
import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote

CLASSES = ("Neutral", "Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise", "Other")
"""Aff-Wild2's order; a class index is a position in this tuple. The seven-class task uses the first seven."""

SPLITS = ("train", "val", "test")
SUBJECTS = ("", "left", "right")
STILL_LAYOUTS = ("affectnet", "rafdb", "ferplus")
"""Sets of pictures that have nothing to do with each other: each is a sample by itself."""

GIVING_LAYOUTS = ("affectnet",)
"""Sets that come with the place of each face."""

FACE_SIZE = 224
"""Side of a stored face, in pixels."""

LANDMARKS = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")
"""MTCNN's order; left and right as seen in the picture."""

LANDMARK_STEP = 1 / 64
"""Boxes and landmarks are rounded to this many pixels before anything depends on them (docs/decisions/002)."""


class UserError(Exception):
    """A condition that the user can mend. The message is one line that names the file or key and says what to do."""


class Drop(StrEnum):
    """Why a labelled frame, or a whole video, did not become a sample."""

    LABEL_IGNORED = "label_ignored"
    LABEL_OUT_OF_RANGE = "label_out_of_range"
    LABEL_UNREADABLE = "label_unreadable"
    CLASS_EXCLUDED = "class_excluded"
    NO_MAJORITY = "no_majority"
    NOT_SAMPLED = "not_sampled"
    BEYOND_VIDEO = "beyond_video"
    FRAME_UNDECODABLE = "frame_undecodable"
    NO_FACE = "no_face"
    SUBJECT_NOT_FOUND = "subject_not_found"
    ANNOTATION_UNREADABLE = "annotation_unreadable"
    SPLIT_CONFLICT = "split_conflict"
    DUPLICATE_VIDEO = "duplicate_video"
    DUPLICATE_PICTURE = "duplicate_picture"
    PICTURE_MISSING = "picture_missing"
    PICTURE_UNREADABLE = "picture_unreadable"
    VIDEO_MISSING = "video_missing"
    VIDEO_UNREADABLE = "video_unreadable"
    VIDEO_WITHOUT_ANNOTATION = "video_without_annotation"
    EXCLUDED_BY_REVIEW = "excluded_by_review"
    COUNTS_DISAGREE = "counts_disagree"
    WORKER_FAILED = "worker_failed"


TRIAL_COLUMNS = {
    "trial": "string",
    "video": "string",
    "subject": "string",
    "split": "string",
    "rows": "int64",
    "labelled": "int64",
    "declared_frames": "int64",
    "difference": "int64",
    "width": "int64",
    "height": "int64",
    "fps": "double",
    "path": "string",
    "sha256": "string",
    "note": "string",
}
"""Trial table: one row an annotation file. `difference` is rows minus declared frames; sizes are as displayed."""

VIDEO_COLUMNS = {
    "video": "string",
    "decoded_frames": "int64",
    "stored_frames": "int64",
    "width": "int64",
    "height": "int64",
    "key": "string",
}
"""What was decoded from each video; sizes are upright pixels, `key` is the content key of its stored frames."""

MISMATCH_COLUMNS = TRIAL_COLUMNS | {
    "decoded_frames": "int64",
    "decoded_difference": "int64",
    "undecodable_frames": "string",
    "action": "string",
}
"""Trial table with what decoding found (`mismatch.Decoded`); differences are rows minus frames."""

FRAME_COLUMNS = {
    "trial": "string",
    "video": "string",
    "subject": "string",
    "split": "string",
    "frame_index": "int64",
    "label": "int64",
}
"""Frame table: one row a labelled frame; `frame_index` counts from 0 in decoding order."""

DROP_COLUMNS = {
    "stage": "string",
    "split": "string",
    "trial": "string",
    "reason": "string",
    "frames": "int64",
    "detail": "string",
}
"""What was left out: `frames` labelled frames of `trial` (or a whole file, with 0 frames) for one typed reason."""

BOX_COLUMNS = ("x0", "y0", "x1", "y1")
POSE_COLUMNS = ("yaw", "pitch", "roll")
POINT_COLUMNS = tuple(f"{name}_{axis}" for name in LANDMARKS for axis in "xy")

LANDMARK_COLUMNS = (
    {
        "trial": "string",
        "video": "string",
        "subject": "string",
        "frame_index": "int64",
        "track": "int64",
        "probability": "double",
        "interpolated": "bool",
    }
    | dict.fromkeys(BOX_COLUMNS, "double")
    | dict.fromkeys(POINT_COLUMNS, "double")
    | dict.fromkeys(POSE_COLUMNS, "double")
)
"""Landmark table: one row a face that becomes a sample. Pixels of the upright frame, pixel centres whole; degrees.
An interpolated face lies in a gap of its track that was bridged."""

FACE_COLUMNS = {
    "key": "string",
    "tar": "string",
    "offset": "int64",
    "size": "int64",
    "brightness": "double",
    "sharpness": "double",
}
"""Where each aligned face lies in its video's tar (bytes), with measures of its quality."""

SAMPLE_COLUMNS = {
    "key": "string",
    "split": "string",
    "trial": "string",
    "video": "string",
    "subject": "string",
    "frame_index": "int64",
    "label": "int64",
    "shard": "string",
    "offset": "int64",
    "size": "int64",
}
"""Sample table of a shard set: where each sample's JPEG begins in its shard, in bytes, and how long it is."""

_KEY_LENGTH = 80


@lru_cache(1024)
def escape(name: str) -> str:
    """A file-name-safe spelling of any name: letters, digits, `_` and `-` stay, the rest is percent-encoded UTF-8.

    Distinct names stay distinct. One that would outgrow tar's 100 characters is cut and ends in its digest.
    """
    escaped = re.sub(r"[.~]", lambda dot: f"%{ord(dot[0]):02X}", quote(name, safe=""))
    if len(escaped) <= _KEY_LENGTH:
        return escaped
    digest = hashlib.sha256(name.encode()).hexdigest()[:16]
    return f"{escaped[: _KEY_LENGTH - 17]}~{digest}"


def sample_key(trial: str, frame_index: int) -> str:
    """The WebDataset key of one sample; no dot, because readers split a member's name at its first one."""
    return f"{escape(trial)}_{frame_index:06d}"


@dataclass(frozen=True, kw_only=True)
class Paths:
    """Where each stage of one dataset writes, relative to the project's folder."""

    dataset: str

    @property
    def index(self) -> Path:
        """Frame table."""
        return Path("data/index") / f"{self.dataset}.parquet"

    @property
    def trials(self) -> Path:
        """Trial table."""
        return Path("data/index") / f"{self.dataset}-trials.parquet"

    @property
    def index_drops(self) -> Path:
        """Drop table of the index stage."""
        return Path("data/index") / f"{self.dataset}-drops.parquet"

    @property
    def frames(self) -> Path:
        """One tar of frames a video."""
        return Path("data/frames") / self.dataset

    @property
    def mismatch(self) -> Path:
        """Annotation rows against frames, a trial a row."""
        return RESULTS / "mismatch.csv"

    @property
    def subjects(self) -> Path:
        """Whom each annotation was taken to mean."""
        return RESULTS / "subjects.csv"

    @property
    def faces(self) -> Path:
        """One tar of aligned faces a video."""
        return Path("data/faces") / self.dataset

    @property
    def landmarks(self) -> Path:
        """Landmark table."""
        return Path("data/landmarks") / f"{self.dataset}.parquet"

    @property
    def shards(self) -> Path:
        """Shards and their manifest."""
        return Path("data/shards") / self.dataset

    @property
    def models(self) -> Path:
        """Weights and their description."""
        return Path("models") / self.dataset


RESULTS = Path("results")
