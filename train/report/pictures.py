"""Which faces the report shows, and their small pictures."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.images import encode_jpeg, shrink
from pipeline.shards.reading import ShardReader
from pipeline.streaming.feed import Feed, visited

SIDE, QUALITY = 96, 80
"""Of a shown face, in pixels, and of its JPEG."""

MISTAKES = 12


@dataclass(frozen=True, kw_only=True)
class Face:
    """One shown sample."""

    key: str
    video: str
    frame_index: int
    label: int


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """A sample that the ensemble took for another class, and how sure it was."""

    face: Face
    prediction: int
    confidence: float


def contact_sheet(samples: pd.DataFrame, classes: int, per_class: int) -> list[list[Face]]:
    """Up to `per_class` training faces of each class, from as many videos as there are.

    Samples are stored shuffled, so the first of a video are drawn at random, and are the same every time.
    """
    train = samples[samples["split"] == "train"]
    turn = train.groupby(["label", "video"]).cumcount()
    in_turn = train.iloc[turn.argsort(kind="stable")]
    return [faces_of(in_turn[in_turn["label"] == label].head(per_class)) for label in range(classes)]


def confident_mistakes(predictions: pd.DataFrame, samples: pd.DataFrame, most: int = MISTAKES) -> list[Mistake]:
    """The surest wrong predictions; of one confusion in one video only the surest, as its frames look alike."""
    wrong = predictions[predictions["label"] != predictions["prediction"]]
    ranked = wrong.sort_values(["confidence", "key"], ascending=[False, True], kind="stable")
    chosen = ranked.drop_duplicates(["video", "label", "prediction"]).head(most)
    placed = chosen.merge(samples[["key", "frame_index"]], on="key", validate="one_to_one")
    told = zip(faces_of(placed), placed["prediction"], placed["confidence"], strict=True)
    return [Mistake(face=face, prediction=int(said), confidence=float(confidence)) for face, said, confidence in told]


def faces_of(rows: pd.DataFrame) -> list[Face]:
    """The shown samples of these rows of a sample table."""
    columns = (rows[name] for name in ("key", "video", "frame_index", "label"))
    return [
        Face(key=str(key), video=str(video), frame_index=int(frame_index), label=int(label))
        for key, video, frame_index, label in zip(*columns, strict=True)
    ]


def thumbnails(shard_set: Path, keys: Iterable[str], *, feed: Feed | None = None) -> dict[str, bytes]:
    """Small JPEGs of these samples, of the splits train and val, by key.

    Args:
        shard_set: its folder.
        keys: of the samples.
        feed: what brings the shards, if they are streamed.

    Raises:
        UserError: naming a sample whose picture cannot be decoded.
    """
    wanted, found = set(keys), {}
    for split in ("train", "val"):
        reader = ShardReader(shard_set, split, places=feed.places if feed else None)
        stored = reader.samples["key"]
        positions = np.flatnonzero(stored.isin(wanted))
        for position in visited(reader, positions.tolist(), feed):
            found[str(stored.iloc[position])] = encode_jpeg(shrink(reader.picture(position), SIDE), QUALITY)
    return found
