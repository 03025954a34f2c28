"""The faces of one video, outside DVC: every face that is followed, cut out upright, with its landmarks."""

from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

from pipeline import files, geometry, tables, tar, tracks
from pipeline.contract import BOX_COLUMNS, POINT_COLUMNS, POSE_COLUMNS, UserError
from pipeline.params import AlignParams
from pipeline.people import People, people_in
from pipeline.sources import Source
from pipeline.tracks import Track

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


def faces_of_video(source: Source, out: Path, params: AlignParams) -> Summary:
    """Writes `faces.tar` and `landmarks.parquet` of one video or picture into a new folder.

    Raises:
        UserError: if the video cannot be opened, has no frame, or `out` exists and is not empty.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} exists and is not an empty folder; choose another --out")
    with people_in(source, params) as people:
        main = tracks.choose(people.tracks, "", (), frame_width=people.width)
        with files.fresh_folder(out) as folder:
            faces = _write(folder, people, main)
    return Summary(
        frames=people.frames,
        frames_with_main=len({frame_index for track in main for frame_index in track.faces}),
        faces=faces,
        tracks=len(people.tracks),
    )


def _write(folder: Path, people: People, main: Container[Track]) -> int:
    rows: list[dict[str, object]] = []
    with (folder / FACES_TAR).open("wb") as stream:
        writer = tar.TarWriter(stream)
        for track in people.tracks:
            for frame_index, seen in track.faces.items():
                face, key = people.face(frame_index, seen), f"{track.number:04d}_{frame_index:06d}"
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
