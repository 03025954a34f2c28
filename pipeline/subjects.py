"""Whom each annotation was taken to mean, and the frames in which that person was not found."""

from collections.abc import Container, Mapping, Sequence

from pipeline.contract import Drop
from pipeline.datasets.base import Dropped
from pipeline.tracks import FrameDetections, Track

SUBJECT_COLUMNS = {
    "video": "string",
    "trial": "string",
    "subject": "string",
    "split": "string",
    "rule": "string",
    "frames": "int64",
    "found": "int64",
    "interpolated": "int64",
    "tracks": "string",
    "other_tracks": "int64",
    "frames_with_others": "int64",
    "shots": "int64",
    "searches": "int64",
}
"""Whom each annotation was taken to mean: by which rule (`main`, `left`, `right`; for single pictures `main`, `box`,
`given`, `as_is`), in how many of its frames the person was found (or bridged), the chosen tracks, how many other tracks
there are and in how many of those frames, and how the video was gone through."""


def subject_row(
    trial: str,
    frame_indices: Sequence[int],
    found: Mapping[int, Track],
    person: Sequence[Track],
    everybody: Sequence[Track],
) -> dict[str, object]:
    """A trial's counts for the subject table.

    Args:
        trial: its name.
        frame_indices: its labelled, stored frames.
        found: the chosen track of each frame that shows the person.
        person: the chosen tracks.
        everybody: all tracks of the video.
    """
    shown = [index for index in frame_indices if index in found]
    others = [track for track in everybody if track not in person]
    return {
        "trial": trial,
        "frames": len(frame_indices),
        "found": len(shown),
        "interpolated": sum(found[index].faces[index].interpolated for index in shown),
        "tracks": " ".join(str(track.number) for track in person),
        "other_tracks": len(others),
        "frames_with_others": sum(any(index in track.faces for track in others) for index in shown),
    }


def lost_frames(
    trial: str, split: str, frame_indices: Sequence[int], found: Container[int], detections: FrameDetections
) -> list[Dropped]:
    """Frames of a trial without its subject: nobody at all, or faces of somebody else only."""
    missing = [index for index in frame_indices if index not in found]
    nobody = sum(not detections[index] for index in missing)
    counts = {Drop.NO_FACE: nobody, Drop.SUBJECT_NOT_FOUND: len(missing) - nobody}
    return [Dropped(trial=trial, split=split, reason=reason, frames=count) for reason, count in counts.items() if count]
