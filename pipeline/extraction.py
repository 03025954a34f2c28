"""One video's labelled frames into one deterministic tar, kept in the work store by content.

Pictures that are no video's frames go the same way: some hundreds of them stand in for a video.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipeline import files, images, tar, video
from pipeline.contract import UserError
from pipeline.images import DamagedPictureError
from pipeline.libraries import opencv_build
from pipeline.mismatch import Decoded
from pipeline.pictures import MissingPictureError, Place, stored_jpeg
from pipeline.store import WorkStore

EXTRACT_VERSION = 5
"""Raise it when a stored frame, or what is recorded of the video, changes for the same parameters."""

FRAMES_TAR = "frames.tar"
_INFO = "info.json"


@dataclass(frozen=True, kw_only=True)
class ExtractTask:
    """What one video's extraction depends on."""

    video: str
    path: Path
    """The video, or the folder that the pictures are in."""
    sha256: str
    wanted: tuple[int, ...]
    max_side: int
    quality: int
    store: WorkStore
    pictures: tuple[Place, ...] | None = None
    """Where each wanted picture is; None for the frames of a video."""
    declared_frames: int = 0

    @property
    def key(self) -> str:
        """The content key of the stored frames."""
        return files.digest_of(EXTRACT_VERSION, opencv_build(), self.sha256, self.wanted, self.max_side, self.quality)


@dataclass(frozen=True, kw_only=True)
class Extracted:
    """A video's stored frames. Sizes are those of the upright video, in pixels; counts as in `mismatch.Decoded`."""

    video: str
    key: str
    folder: Path
    decoded_frames: int
    undecodable: tuple[int, ...]
    expected_frames: int
    stored_frames: int
    width: int
    height: int
    unreadable: Mapping[str, str] = field(default_factory=dict)
    """Wanted pictures that could not be stored: why, by frame index."""

    @property
    def found(self) -> Decoded:
        """What decoding found."""
        return Decoded(frames=self.decoded_frames, undecodable=self.undecodable, expected=self.expected_frames)


def extract_video(task: ExtractTask) -> Extracted:
    """Decodes the whole video and stores the wanted frames that it has; finished work is not redone.

    A video of pictures has as many frames as are declared; what cannot be decoded of them is listed.

    Raises:
        UserError: if the video cannot be opened or has no frame.
    """
    folder = task.store.find("frames", task.key)
    if folder is None:
        with task.store.building("frames", task.key) as building:
            _decode_into(building, task) if task.pictures is None else _gather_into(building, task, task.pictures)
            if task.pictures is None and files.digest_file(task.path) != task.sha256:
                raise UserError(f"{task.path.name}: changed since the stage index read it; run `dvc repro` again")
        folder = task.store.path("frames", task.key)
    info = files.read_json(folder / _INFO)
    info["undecodable"] = tuple(info["undecodable"])
    return Extracted(video=task.video, key=task.key, folder=folder, **info)


def _decode_into(folder: Path, task: ExtractTask) -> None:
    wanted = frozenset(task.wanted)
    decoded = stored = width = height = 0
    undecodable: list[int] = []
    times = video.frame_times(task.path)
    with (folder / FRAMES_TAR).open("wb") as stream:
        writer = tar.TarWriter(stream)
        for frame_index, picture in video.read_frames(task.path, wanted, times=times, as_decoded=True):
            undecodable += range(decoded, frame_index)
            decoded = frame_index + 1
            if picture is not None:
                height, width = picture.shape[:2]
                small = images.shrink(picture, task.max_side)
                writer.add(f"{frame_index:06d}.jpg", images.encode_jpeg(small, task.quality))
                stored += 1
        writer.close()
    if not decoded:
        why = "damaged at its beginning: no frame is certain to be the first" if times.certain == 0 else "none decodes"
        raise UserError(f"{task.path.name}: no frame could be decoded ({why})")
    expected = video.expected_frames(task.path, times)
    counts = {"decoded_frames": decoded, "expected_frames": expected, "stored_frames": stored}
    info = {**counts, "undecodable": undecodable, "width": width, "height": height}
    files.write_json(folder / _INFO, info)


def _gather_into(folder: Path, task: ExtractTask, pictures: tuple[Place, ...]) -> None:
    unreadable: dict[str, str] = {}
    with (folder / FRAMES_TAR).open("wb") as stream:
        writer = tar.TarWriter(stream)
        for frame_index, place in zip(task.wanted, pictures, strict=True):
            try:
                jpeg = stored_jpeg(task.path, place, max_side=task.max_side, quality=task.quality)
            except MissingPictureError as error:
                raise UserError(f"{error}; it was there when the index was made") from None
            except DamagedPictureError as error:
                unreadable[str(frame_index)] = f"{place.name}: {error}"
            else:
                writer.add(f"{frame_index:06d}.jpg", jpeg)
        writer.close()
    stored = len(task.wanted) - len(unreadable)
    counts = {"decoded_frames": task.declared_frames, "expected_frames": 0, "stored_frames": stored}
    info = {**counts, "undecodable": [], "width": 0, "height": 0, "unreadable": unreadable}
    files.write_json(folder / _INFO, info)
