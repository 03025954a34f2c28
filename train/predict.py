"""Trained networks on people in videos and pictures: probabilities for every face, smoothed over time if wanted."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from pipeline import images, tracks
from pipeline.contract import BOX_COLUMNS, SUBJECTS
from pipeline.detector import Detector
from pipeline.geometry import Detection
from pipeline.images import Image
from pipeline.params import AlignParams
from pipeline.people import People, people_in, persons
from pipeline.sources import Source
from pipeline.tracks import Track
from train import loop
from train.augment import resize
from train.checkpoint import load_networks
from train.compute import Compute
from train.loop import Probabilities
from train.networks import Networks
from train.parallel import mapped, one_thread_each
from train.stream import Batch

BATCH = 32
"""Faces that go through the networks together; the figures do not depend on it."""

COLUMNS = {
    "frame_index": "int64",
    "person": "int64",
    "subject": "string",
    "track": "int64",
    "face_probability": "double",
    "interpolated": "bool",
} | dict.fromkeys(BOX_COLUMNS, "double")
"""One row a face, by frame, then person. Frames count from 0 in decoding order. Person 0 is there longest and largest;
`subject` is `left` or `right` for the two people side by side, as annotations have them, else empty. Then follow
`prediction` (a class name), `confidence`, and the probability of every class under its name."""

MAIN = 0
"""The number of the main person."""


@dataclass(frozen=True, kw_only=True)
class Predictor:
    """Trained networks, ready to be shown aligned faces."""

    networks: Networks
    compute: Compute
    voices: slice
    """Those of the networks whose mean is the prediction."""
    classes: Sequence[str]
    image_size: int
    threads: int
    """Batches that are shown to the networks at once."""

    @classmethod
    def load(cls, folder: Path, *, weights: str = "last", student: bool = False, device: str = "auto") -> "Predictor":
        """From a model folder; raises `UserError` naming what is absent or damaged."""
        networks, description = load_networks(folder, weights)
        compute = Compute.choose(device=device, precision="float32")
        return cls(
            networks=compute.place(networks),
            compute=compute,
            voices=networks.voices(student=student),
            classes=description["classes"],
            image_size=description["input"]["width"],
            threads=1 if compute.device.type == "cuda" else torch.get_num_threads(),
        )

    def probabilities(self, faces: Iterable[Image]) -> Probabilities:
        """Softmax of every network that counts, for each aligned face (RGB, any size), K x N x C."""
        nothing = np.empty((len(self.networks.networks[self.voices]), 0, len(self.classes)), np.float32)
        parts = mapped(self._said, self._batches(iter(faces)), threads=self.threads)
        return np.concatenate([nothing, *parts], axis=1)

    def _said(self, batch: Batch) -> Probabilities:
        return loop.predict(self.networks, [batch], self.compute)[0][self.voices]

    def _batches(self, faces: Iterator[Image]) -> Iterator[Batch]:
        while some := list(islice(faces, BATCH)):
            pictures = torch.from_numpy(np.stack([resize(face, self.image_size) for face in some])).permute(0, 3, 1, 2)
            blank = torch.zeros(len(some), dtype=torch.int64)
            yield Batch(pictures, blank, blank)


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """One person in one frame."""

    frame_index: int
    person: int
    subject: str
    track: Track

    @property
    def face(self) -> Detection:
        return self.track.faces[self.frame_index]


@dataclass(frozen=True, kw_only=True)
class Predicted:
    """One video's predictions: a row a face (`COLUMNS`, `prediction`, `confidence`, one a class), and its frames."""

    table: pd.DataFrame
    columns: dict[str, str]
    frames: int

    @property
    def people(self) -> int:
        """How many persons were seen."""
        return int(self.table["person"].nunique())

    @property
    def frames_with_main(self) -> int:
        """Frames that show the main person."""
        return int((self.table["person"] == MAIN).sum())


@dataclass(frozen=True, kw_only=True)
class Session:
    """A detector and trained networks, loaded once for any number of videos."""

    detector: Detector
    predictor: Predictor
    align: AlignParams
    smoothing: float

    @classmethod
    def load(
        cls, model: Path, align: AlignParams, *, weights: str, student: bool, device: str, smoothing: float
    ) -> "Session":
        """Loads both; raises `UserError` naming what is absent or damaged."""
        predictor = Predictor.load(model, weights=weights, student=student, device=device)
        detector = Detector(min_face=align.min_face, device=align.device, working_side=align.working_side)
        return cls(detector=detector, predictor=predictor, align=align, smoothing=smoothing)

    def predict(self, source: Source) -> Predicted:
        """Follows every face of a source and shows it to the networks; raises `UserError` if it cannot be read."""
        with one_thread_each(), people_in(source, self.align, self.detector) as people:
            return predict_people(people, self.predictor, smoothing=self.smoothing)


def predict_people(people: People, predictor: Predictor, *, smoothing: float = 0.0) -> Predicted:
    """What the ensemble thinks of every face.

    Args:
        people: as `people_in` gives them.
        predictor: of aligned faces.
        smoothing: standard deviation, in frames, of a Gaussian over a person's probabilities in time; 0: off.
    """
    seen = _everybody(people)
    faces = (images.decode_jpeg(people.face(each.frame_index, each.face).jpeg) for each in seen)
    ensemble_nc = predictor.probabilities(faces).mean(axis=0, dtype=np.float64)
    numbers = np.array([each.person for each in seen], dtype=np.int64)
    indices = np.array([each.frame_index for each in seen], dtype=np.int64)
    for person in np.unique(numbers) if smoothing else ():
        own = numbers == person
        ensemble_nc[own] = smoothed(indices[own], ensemble_nc[own], deviation=smoothing)
    names = list(predictor.classes)
    table = pd.DataFrame([_row(each) for each in seen], columns=list(COLUMNS))
    table["prediction"] = [names[label] for label in ensemble_nc.argmax(axis=1)]
    table["confidence"] = ensemble_nc.max(axis=1)
    for name, column in zip(names, ensemble_nc.T, strict=True):
        table[name] = column
    columns = COLUMNS | {"prediction": "string", "confidence": "double"} | dict.fromkeys(names, "double")
    return Predicted(table=table, columns=columns, frames=people.frames)


def _everybody(people: People) -> list[_Seen]:
    """Every person in every frame, by frame, then person."""
    sides = {}
    for subject in SUBJECTS[1:]:
        others = [other for other in SUBJECTS[1:] if other != subject]
        for track in tracks.choose(people.tracks, subject, others, frame_width=people.width):
            sides[track.number] = subject
    numbered = list(enumerate(persons(people.tracks)))
    seen = [
        _Seen(
            frame_index=frame_index,
            person=person,
            subject=sides.get(track.number, "") if len(numbered) > 1 else "",
            track=track,
        )
        for person, own in numbered
        for track in own
        for frame_index in track.faces
    ]
    return sorted(seen, key=lambda each: (each.frame_index, each.person))


def _row(seen: _Seen) -> dict[str, object]:
    face = seen.face
    return {
        "frame_index": seen.frame_index,
        "person": seen.person,
        "subject": seen.subject,
        "track": seen.track.number,
        "face_probability": face.probability,
        "interpolated": face.interpolated,
        **dict(zip(BOX_COLUMNS, face.box.tolist(), strict=True)),
    }


def smoothed(
    frame_indices: NDArray[np.int64], probabilities_nc: NDArray[np.float64], *, deviation: float
) -> NDArray[np.float64]:
    """A Gaussian mean over time of the probabilities that there are: rows still sum to 1, gaps are passed over.

    Args:
        frame_indices: rising.
        probabilities_nc: a row a frame.
        deviation: standard deviation in frames, greater than 0; weights end at four of them.
    """
    places = frame_indices - frame_indices[0]
    weighed = np.zeros((places[-1] + 1, probabilities_nc.shape[1] + 1))
    weighed[places, :-1], weighed[places, -1] = probabilities_nc, 1.0
    spread = gaussian_filter1d(weighed, deviation, axis=0, mode="constant")[places]
    mean_nc: NDArray[np.float64] = spread[:, :-1] / spread[:, -1:]
    return mean_nc
