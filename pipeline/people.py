"""Everybody in one source of pictures, followed through time and cut out upright. Knows neither labels nor DVC."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import SEEK_END
from tempfile import TemporaryFile
from typing import IO

from pipeline import tracks
from pipeline.contract import UserError
from pipeline.detector import Detector
from pipeline.faces import Face, FrameSize, crop_face, gathered, tracked
from pipeline.follow import Followed, Follower, search_each
from pipeline.geometry import Detection
from pipeline.images import Image
from pipeline.params import AlignParams
from pipeline.sources import Source
from pipeline.tracks import Track


@dataclass(frozen=True, kw_only=True)
class People:
    """What was seen: how many frames there are, how wide the first one is, and everybody's tracks."""

    frames: int
    width: int
    tracks: list[Track]
    crops: "_Crops"

    def face(self, frame_index: int, seen: Detection) -> Face:
        """The face of one of the tracks in one of its frames."""
        return self.crops[frame_index, seen]


@contextlib.contextmanager
def people_in(source: Source, params: AlignParams, detector: Detector | None = None) -> Iterator[People]:
    """Follows and cuts out every face; the pictures can be had as long as the block lasts.

    The source is gone through once; a second time only if gaps were bridged or landmarks are smoothed, for the faces
    that are cut where they were not seen.

    Args:
        source: of pictures.
        params: the group `align`.
        detector: one that is loaded already; else one is loaded as `params` say.

    Raises:
        UserError: if the source cannot be read or has no picture.
    """
    detector = detector or Detector(min_face=params.min_face, device=params.device, working_side=params.working_side)
    with TemporaryFile() as file:
        crops = _Crops(params, file)
        sightings = gathered(_cutting(_looked(source, params, detector), crops), params.min_confidence)
        if not sightings.faces:
            raise UserError(f"{source.name}: no frame could be decoded")
        followed = tracked(
            sightings,
            min_overlap=params.link_iou,
            max_gap=params.max_gap,
            max_bridge=params.max_bridge,
            smoothing=params.smoothing,
        )
        crops.add_missing(source, followed)
        yield People(frames=len(sightings.faces), width=crops.width, tracks=followed, crops=crops)


def persons(everybody: Sequence[Track]) -> list[list[Track]]:
    """Tracks put together to persons, the one who is there longest and largest first.

    A person is a track with those of a similar size that never coincide with it, as `tracks.choose` takes the main one.
    """
    waiting, found = list(everybody), []
    while waiting:
        person = tracks.choose(waiting, "", (), frame_width=0)
        found.append(person)
        waiting = [track for track in waiting if track not in person]
    return found


def _looked(source: Source, params: AlignParams, detector: Detector) -> Iterator[Followed]:
    pictures = ((index, picture) for index, picture in source.frames() if picture is not None)
    if params.tracking == "off":
        return search_each(pictures, detector)
    return Follower(finder=detector, search_every=params.search_every, max_gap=params.max_gap).follow(pictures)


class _Crops:
    """Faces cut out so far, by frame and landmarks; their JPEGs wait in a temporary file."""

    def __init__(self, params: AlignParams, file: IO[bytes]) -> None:
        self.params, self._file, self.width = params, file, 0
        self._places: dict[tuple[int, bytes], tuple[int, int, float, float]] = {}

    def __getitem__(self, place: tuple[int, Detection]) -> Face:
        frame_index, face = place
        offset, length, brightness, sharpness = self._places[frame_index, face.points.tobytes()]
        self._file.seek(offset)
        return Face(jpeg=self._file.read(length), brightness=brightness, sharpness=sharpness)

    def add(self, frame_index: int, picture: Image, face: Detection) -> None:
        """Cuts one face from its frame."""
        size = FrameSize(width=picture.shape[1], height=picture.shape[0])
        scale, quality = self.params.template_scale, self.params.quality
        cut = crop_face(picture, face.points, size, template_scale=scale, quality=quality)
        offset = self._file.seek(0, SEEK_END)
        self._file.write(cut.jpeg)
        self._places[frame_index, face.points.tobytes()] = offset, len(cut.jpeg), cut.brightness, cut.sharpness

    def add_missing(self, source: Source, followed: Sequence[Track]) -> None:
        """Cuts what is not there yet, from a second look at the source as far as it is needed."""
        missing: dict[int, list[Detection]] = {}
        for track in followed:
            for frame_index, face in track.faces.items():
                if (frame_index, face.points.tobytes()) not in self._places:
                    missing.setdefault(frame_index, []).append(face)
        last = max(missing, default=-1)
        for frame_index, picture in source.frames(missing.keys()) if missing else ():
            if picture is not None:
                for face in missing[frame_index]:
                    self.add(frame_index, picture, face)
            if frame_index == last:
                return


def _cutting(frames: Iterator[Followed], crops: _Crops) -> Iterator[Followed]:
    """Cuts every sure face while its frame is at hand."""
    for frame in frames:
        crops.width = crops.width or frame.picture.shape[1]
        for face in frame.faces:
            if face.probability >= crops.params.min_confidence:
                crops.add(frame.frame_index, frame.picture, face)
        yield frame
