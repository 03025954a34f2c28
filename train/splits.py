"""The samples that a run trains on and is validated on: of one shard set, or of several together."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.contract import UserError
from pipeline.shards.joined import JoinedReader, require_same_classes
from pipeline.shards.reading import ShardReader
from pipeline.streaming.feed import Feed
from pipeline.train_params import TrainParams
from train.label_files import given_labels
from train.mixing import Source


@dataclass(frozen=True, kw_only=True)
class Split:
    """The faces of one split, the labels that are given for them, and the true ones where noise was asked for.

    `learned_n` is True for the samples that are learned from; None: all of them.
    """

    reader: ShardReader | JoinedReader
    labels: NDArray[np.int64]
    classes: int
    learned_n: NDArray[np.bool_] | None = None

    @property
    def truth(self) -> NDArray[np.int64] | None:
        """True classes by position; None where no given label differs."""
        truth = self.reader.samples["label"].to_numpy(np.int64)
        return None if np.array_equal(truth, self.labels) else truth

    @property
    def counts(self) -> list[int]:
        """Samples a class, of those that are learned from."""
        labels = self.labels if self.learned_n is None else self.labels[self.learned_n]
        return [int(count) for count in np.bincount(labels, minlength=self.classes)]


def open_split(folder: Path, split: str, classes: int, *, feed: Feed | None = None) -> Split:
    """A split of a verified shard set; raises `UserError` if it has no sample."""
    reader = _opened(folder, split, feed)
    return Split(reader=reader, labels=reader.samples["label"].to_numpy(np.int64), classes=classes)


def training_split(
    params: TrainParams, folder: Path, classes: int, *, others: Mapping[str, Path], feed: Feed | None = None
) -> tuple[Split, tuple[Source, ...]]:
    """The training samples of a set and, behind them, of those in `mix`, with the labels that are given for them.

    With `noise_kind: listed` another set without a list keeps its labels.

    Args:
        params: of the training.
        folder: of the main set.
        classes: how many it has.
        others: folders of the sets in `mix`, by name.
        feed: what brings the shards, if they are streamed.

    Returns:
        The samples, and where each set begins, the main one first; no sources for a set alone.

    Raises:
        UserError: if a set has no training sample, or other classes than the main one.
    """
    main = _opened(folder, "train", feed)
    reader: ShardReader | JoinedReader = main
    sources: tuple[Source, ...] = ()
    if others:
        require_same_classes({params.dataset: folder} | dict(others))
        places = {name: streamed.places for name, streamed in feed.others.items()} if feed else {}
        readers = {name: _reader(other, "train", places.get(name)) for name, other in others.items()}
        reader, sources = JoinedReader(main, readers), _sources(params, main, readers)
    truth = reader.samples["label"].to_numpy(np.int64)
    listed = reader.marks("listed_label") if params.noise_kind == "listed" else None
    for source in sources[1:]:
        own = source.positions
        if listed is not None and (listed.iloc[own] < 0).all():
            listed.iloc[own] = truth[own]
    labels = given_labels(params, reader.samples, classes, listed=listed)
    return Split(reader=reader, labels=labels, classes=classes), sources


def _sources(params: TrainParams, main: ShardReader, others: Mapping[str, ShardReader]) -> tuple[Source, ...]:
    found: list[Source] = []
    begin = 0
    shares = {params.dataset: 1 - sum(params.mix.values())} | params.mix
    for (name, share), reader in zip(shares.items(), (main, *others.values()), strict=True):
        shards = reader.samples["shard"].to_numpy(object)
        positions = np.arange(begin, begin + len(shards))
        found.append(Source(name=name, share=share, positions=positions, shards=shards))
        begin += len(shards)
    return tuple(found)


def _opened(folder: Path, split: str, feed: Feed | None) -> ShardReader:
    return _reader(folder, split, feed.places if feed else None)


def _reader(folder: Path, split: str, places: Mapping[str, Path] | None) -> ShardReader:
    reader = ShardReader(folder, split, places=places)
    if not len(reader):
        raise UserError(f"{folder} has no samples of split {split}; it needs labelled videos in that split")
    return reader
