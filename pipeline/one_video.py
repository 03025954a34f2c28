"""The faces of one video, outside DVC: every face that is followed, cut out upright, with its landmarks."""

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from io import SEEK_END
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from pipeline import files, geometry, tables, tar, tracks, video
from pipeline.contract import BOX_COLUMNS, POINT_COLUMNS, POSE_COLUMNS, UserError
from pipeline.detector import Detector
from pipeline.faces import Face, FrameSize, crop_face, gathered, tracked
from pipeline.follow import Followed, Follower, search_each
from pipeline.geometry import Detection
from pipeline.params import AlignParams
from pipeline.tracks import Track
from pipeline.video import Image

FACES_TAR = "faces.tar"
LANDMARKS = "landmarks.parquet"

COLUMNS = {
    "key": "string",
    "frame_index": "int64",
    "track": "int64",
    "subject": "string",
    "probability": "double",
    "interpolated": "bool",
} | dict.fromkeys((*BOX_COLUMNS, *POINT_COLUMNS, *POSE_COLUMNS, "brightness", "sharpness"), "double")
"""One row a face, by track, then frame. `key` is its picture's name in the tar without `.jpg`; `subject` is `main` for
the person who is there longest and largest, else empty. Pixels of the upright frame, pixel centres whole; degrees."""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What was found: frames decoded, frames with the main person, faces and tracks of everybody."""

    frames: int
    frames_with_main: int
    faces: int
    tracks: int


def faces_of_video(path: Path, out: Path, params: AlignParams) -> Summary:
    """Writes `faces.tar` and `landmarks.parquet` of one video into a new folder.

    The video is decoded once; a second time only if gaps were bridged or landmarks are smoothed, for the faces that are
    cut where they were not seen.

    Raises:
        UserError: if the video cannot be opened, has no frame, or `out` exists and is not empty.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} exists and is not an empty folder; choose another --out")
    with TemporaryFile() as file:
        crops = _Crops(params, file)
        sightings = gathered(_cutting(_frames(path, params), crops, params.min_confidence), params.min_confidence)
        if not sightings.faces:
            raise UserError(f"{path.name}: no frame could be decoded")
        people = tracked(
            sightings,
            min_overlap=params.link_iou,
            max_gap=params.max_gap,
            max_bridge=params.max_bridge,
            smoothing=params.smoothing,
        )
        crops.add_missing(path, people)
        main = tracks.choose(people, "", (), frame_width=0)
        with files.fresh_folder(out) as folder:
            faces = _write(folder, people, main, crops)
    return Summary(
        frames=len(sightings.faces),
        frames_with_main=len({frame_index for track in main for frame_index in track.faces}),
        faces=faces,
        tracks=len(people),
    )


def _frames(path: Path, params: AlignParams) -> Iterator[Followed]:
    detector = Detector(min_face=params.min_face, device=params.device, working_side=params.working_side)
    pictures = ((index, picture) for index, picture in video.read_frames(path) if picture is not None)
    if params.tracking == "off":
        return search_each(pictures, detector)
    return Follower(finder=detector, search_every=params.search_every, max_gap=params.max_gap).follow(pictures)


class _Crops:
    """Faces cut out so far, by frame and landmarks; their JPEGs wait in a temporary file."""

    def __init__(self, params: AlignParams, file: IO[bytes]) -> None:
        self._params, self._file = params, file
        self._places: dict[tuple[int, bytes], tuple[int, int, float, float]] = {}

    def __getitem__(self, place: tuple[int, Detection]) -> Face:
        frame_index, face = place
        offset, length, brightness, sharpness = self._places[frame_index, face.points.tobytes()]
        self._file.seek(offset)
        return Face(jpeg=self._file.read(length), brightness=brightness, sharpness=sharpness)

    def add(self, frame_index: int, picture: Image, face: Detection) -> None:
        """Cuts one face from its frame."""
        size = FrameSize(width=picture.shape[1], height=picture.shape[0])
        scale, quality = self._params.template_scale, self._params.quality
        cut = crop_face(picture, face.points, size, template_scale=scale, quality=quality)
        offset = self._file.seek(0, SEEK_END)
        self._file.write(cut.jpeg)
        self._places[frame_index, face.points.tobytes()] = offset, len(cut.jpeg), cut.brightness, cut.sharpness

    def add_missing(self, path: Path, people: Sequence[Track]) -> None:
        """Cuts what is not there yet, from a second look at the video as far as it is needed."""
        missing: dict[int, list[Detection]] = {}
        for track in people:
            for frame_index, face in track.faces.items():
                if (frame_index, face.points.tobytes()) not in self._places:
                    missing.setdefault(frame_index, []).append(face)
        last = max(missing, default=-1)
        for frame_index, picture in video.read_frames(path, missing.keys()) if missing else ():
            if picture is not None:
                for face in missing[frame_index]:
                    self.add(frame_index, picture, face)
            if frame_index == last:
                return


def _cutting(frames: Iterator[Followed], crops: _Crops, min_confidence: float) -> Iterator[Followed]:
    """Cuts every sure face while its frame is at hand."""
    for frame in frames:
        for face in frame.faces:
            if face.probability >= min_confidence:
                crops.add(frame.frame_index, frame.picture, face)
        yield frame


def _write(folder: Path, people: Sequence[Track], main: Container[Track], crops: _Crops) -> int:
    rows: list[dict[str, object]] = []
    with (folder / FACES_TAR).open("wb") as stream:
        writer = tar.TarWriter(stream)
        for track in people:
            for frame_index, seen in track.faces.items():
                face, key = crops[frame_index, seen], f"{track.number:04d}_{frame_index:06d}"
                writer.add(f"{key}.jpg", face.jpeg)
                row = {"key": key, "frame_index": frame_index, "track": track.number, "probability": seen.probability}
                row |= {"subject": "main" if track in main else "", "interpolated": seen.interpolated}
                row |= dict(zip(BOX_COLUMNS, seen.box.tolist(), strict=True))
                row |= dict(zip(POINT_COLUMNS, seen.points.reshape(-1).tolist(), strict=True))
                row |= {"brightness": face.brightness, "sharpness": face.sharpness}
                rows.append(row | geometry.pose(seen.points)._asdict())
        writer.close()
    tables.write_table(folder / LANDMARKS, rows, COLUMNS)
    return len(rows)
