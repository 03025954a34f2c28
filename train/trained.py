"""What trained networks say of a split of their shard set."""

from typing import NamedTuple

from pipeline.contract import Paths
from pipeline.params import Params
from pipeline.streaming.opening import OpenedSet
from train import loop
from train.checkpoint import load_networks
from train.compute import Compute
from train.loop import Probabilities
from train.networks import Networks
from train.splits import Split, open_split
from train.stream import Faces, Stream


class Said(NamedTuple):
    """A split, and the softmax of every network for its samples in stored order: K x N x C, then a student's."""

    split: Split
    networks: Networks
    probabilities_knc: Probabilities


def said(params: Params, paths: Paths, shards: OpenedSet, weights: str, split: str) -> Said:
    """Shows every face of a split to the networks of the model folder with the named weights, without augmentation.

    Args:
        params: of the run.
        paths: of its dataset.
        shards: that of the dataset, or another one.
        weights: `last` or `best`.
        split: of the shard set.

    Raises:
        UserError: if weights are absent or damaged, or the split has no sample.
    """
    networks, description = load_networks(paths.models, weights)
    opened = open_split(shards.folder, split, len(description["classes"]), feed=shards.feed)
    compute = Compute.choose(device=params.device, precision=params.precision)
    faces = Faces(
        reader=opened.reader,
        labels=opened.labels,
        image_size=description["input"]["width"],
        seed=description["seed"],
    )
    probabilities_knc = loop.predict_split(
        compute.place(networks),
        Stream(faces, workers=params.workers, feed=shards.feed),
        len(opened.labels),
        batch_size=params.shown_at_once,
        compute=compute,
        label=f"{split} faces",
    )
    return Said(opened, networks, probabilities_knc)
