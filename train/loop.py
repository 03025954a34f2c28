"""One loop for every method: a step on each batch of an epoch, and prediction; it never names a method."""

from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.contract import UserError
from pipeline.progress import Progress
from train.compute import Compute
from train.history import History
from train.methods import Given
from train.networks import Networks
from train.ranks import Ranks
from train.step import Learner, learn
from train.stream import Batch, Stream
from train.tally import measures

Probabilities = NDArray[np.float32]
Measured = dict[str, tuple[float, float]]

_ALONE = (
    "batch normalisation cannot take the mean of one sample whose last maps are of one pixel; "
    "set batch_size or micro_batch above 1, or image_size above 32"
)


def train_batches(
    learner: Learner,
    batches: Iterable[tuple[NDArray[np.int64], Batch]],
    labels: NDArray[np.int64],
    *,
    epoch: int,
    class_weights_c: Tensor | None,
    truth_n: NDArray[np.int64] | None = None,
    history: History | None = None,
) -> Iterator[Measured]:
    """Takes a step on every batch.

    Args:
        learner: trained in place.
        batches: the positions of each whole batch, and this rank's share of it.
        labels: of all positions.
        epoch: from 0.
        class_weights_c: for the supervision, or None.
        truth_n: true classes by position where given ones may be wrong, for measuring alone.
        history: is told what the networks say of each sample.

    Yields:
        What `tally.measures` found in the batch, after its step.

    Raises:
        UserError: before the step, if the loss or a gradient is not finite; or if memory ran out.
    """
    device = learner.compute.device
    for positions, batch in batches:
        given = Given(
            labels_b=torch.from_numpy(labels[positions]).to(device, non_blocking=True),
            positions_b=torch.from_numpy(positions).to(device, non_blocking=True),
            epoch=epoch,
            class_weights_c=class_weights_c,
        )
        try:
            losses, outputs = learn(learner, batch.pictures_bchw, given)
        except torch.OutOfMemoryError as error:
            raise UserError(_out_of_memory(error, len(batch.pictures_bchw), learner.micro_batch)) from None
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise UserError(_ALONE) from None
        if history is not None:
            history.note(outputs, given)
        yield measures(losses, outputs, given, truth_n)


def _out_of_memory(error: torch.OutOfMemoryError, share: int, micro_batch: int | None) -> str:
    smaller = max(1, min(share, micro_batch or share) // 2)
    first_line = str(error).split("\n")[0].split(". ")[0]
    return (
        f"the GPU's memory does not hold {min(share, micro_batch or share)} samples at once ({first_line}); "
        f"set micro_batch to {smaller}: the batch stays the same, each training step takes about a third longer"
    )


@torch.inference_mode()
def predict(networks: Networks, batches: Iterable[Batch], compute: Compute) -> tuple[Probabilities, NDArray[np.int64]]:
    """Softmax of every network, a student after the others, K x N x C; and the positions of the N samples.

    Raises:
        UserError: if memory ran out.
    """
    networks.eval()
    parts: list[Tensor] = []
    positions: list[Tensor] = []
    for batch in batches:
        try:
            with compute.autocast():
                outputs = networks(compute.inputs(batch.pictures_bchw))
        except torch.OutOfMemoryError as error:
            raise UserError(_out_of_memory(error, len(batch.pictures_bchw), None)) from None
        parts.append(outputs.everyones_kbc.float().softmax(-1).cpu())
        positions.append(batch.positions_b)
    return torch.cat(parts, dim=1).numpy(), torch.cat(positions).numpy()


def _followed(batches: Iterable[Batch], done: Callable[[], None]) -> Iterator[Batch]:
    for batch in batches:
        yield batch
        done()


def predict_split(
    networks: Networks,
    stream: Stream,
    samples: int,
    *,
    batch_size: int,
    compute: Compute,
    ranks: Ranks | None = None,
    label: str = "",
    each: Callable[[], None] | None = None,
) -> Probabilities:
    """Softmax of every network, a student after the others, for a whole split in stored order, K x N x C.

    Each rank does its share; all are given the whole. Progress is shown under `label`, if there is one. After every
    batch `each` is called, equally often on all ranks.

    Raises:
        UserError: if memory ran out.
    """
    ranks = ranks or Ranks()
    bounds = ranks.bounds(samples)
    largest = max(end - begin for begin, end in pairwise(bounds))
    together = [
        [np.arange(begin + done, min(begin + done + batch_size, end)) for begin, end in pairwise(bounds)]
        for done in range(0, max(largest, 1), batch_size)
    ]
    own, all_ranks = [shares[ranks.rank] for shares in together], [np.concatenate(shares) for shares in together]
    with Progress(label, len(own), unit="batches", silent=not label) as progress:

        def follow() -> None:
            progress.step()
            if each is not None:
                each()

        batches = _followed(stream.batches(0, own, together=all_ranks), follow)
        probabilities_knc, _ = predict(networks, batches, compute)
    joined: Probabilities = ranks.joined(torch.from_numpy(probabilities_knc), samples, dim=1).numpy()
    return joined
