"""One step on one batch, whoever shares it: micro-batches, ranks, devices and precision never show in the losses.

The networks speak first, piece by piece; the method then judges the whole batch; its gradient with respect to what the
networks said goes back through each piece. So a method's selections and means are always those of the whole batch.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor
from torch.amp import GradScaler
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from pipeline.contract import UserError
from train.compute import Compute
from train.methods import Given, Losses, Method
from train.networks import Networks
from train.outputs import Outputs
from train.ranks import Ranks
from train.synced import statistics_untouched

_NAMED = 4


@dataclass(frozen=True, kw_only=True)
class Learner:
    """What learns, and how its work is cut up.

    Attributes:
        networks: on their devices.
        method: on the first device.
        optimizer: over the parameters of both.
        compute: devices and precision.
        scaler: of `compute`.
        name_samples: keys of positions, for messages.
        ranks: who shares each batch.
        micro_batch: so many samples go through the networks at once, all of a rank's share for None.
        synced: whether batch normalisation sees the batch of all ranks.
    """

    networks: Networks
    method: Method
    optimizer: Optimizer
    compute: Compute
    name_samples: Callable[[Tensor], list[str]]
    ranks: Ranks = field(default_factory=Ranks)
    scaler: GradScaler = field(default_factory=lambda: GradScaler("cpu", enabled=False))
    micro_batch: int | None = None
    synced: bool = True


@dataclass(frozen=True, kw_only=True)
class _Piece:
    """Samples that go through the networks together: rows `begin` to `end` of this rank's share."""

    begin: int
    end: int
    outputs: Outputs
    random: tuple[Tensor, ...]


def learn(learner: Learner, pictures_bchw: Tensor, given: Given) -> tuple[Losses, Outputs]:
    """Takes one step.

    Args:
        learner: changed in place.
        pictures_bchw: bytes of this rank's share of the batch.
        given: the whole batch.

    Returns:
        The losses, and what the networks said of the whole batch, both without their history.

    Raises:
        UserError: before the step, if the loss or a gradient is not finite; the parameters are as they were.
    """
    learner.networks.train()
    pieces, counts = _spoken(learner, pictures_bchw, given)
    outputs = _joined(learner.ranks, pieces, counts, len(given.labels_b))
    leaves = outputs.changed(Tensor.requires_grad_)
    losses = learner.method.losses(leaves, given)
    _require_finite(losses.total, outputs, given, learner.name_samples)
    learner.optimizer.zero_grad(set_to_none=True)
    learner.scaler.scale(losses.total).backward()  # type: ignore[no-untyped-call]
    _sent_back(learner, pictures_bchw, given, pieces, leaves)
    _exchange_gradients(learner)
    outputs = leaves.detached()
    if _can_step(learner, given):
        learner.method.observe(outputs, given)
    learner.scaler.step(learner.optimizer)
    learner.scaler.update()
    learner.ranks.average(b for b in learner.networks.buffers() if b.is_floating_point())
    details = {name: value.detach() for name, value in losses.details.items()}
    told = Losses(losses.total.detach(), losses.supervision.detach(), losses.consistency.detach(), details)
    return told, outputs


def _spoken(learner: Learner, pictures_bchw: Tensor, given: Given) -> tuple[list[_Piece], int]:
    """What the networks say of this rank's share, and how many views of each sample they were shown."""
    bounds = _bounds(learner, len(given.labels_b))
    several = len(bounds) > 2
    pieces = []
    for begin, end in pairwise(bounds):
        random = random_states(learner.compute.devices)
        if several:
            with torch.no_grad(), statistics_untouched(learner.networks):
                outputs = _forward(learner, pictures_bchw, given, begin, end)
        else:
            outputs = _forward(learner, pictures_bchw, given, begin, end)
        pieces.append(_Piece(begin=begin, end=end, outputs=outputs, random=random))
    views = max((p.outputs.logits_kbc.shape[1] // (p.end - p.begin) for p in pieces if p.end > p.begin), default=1)
    return pieces, round(learner.ranks.largest(views)[0])


def _bounds(learner: Learner, count: int) -> list[int]:
    """Where the pieces of this rank's share begin and end; as many on every rank, because they meet in batch norm."""
    shares = np.diff(learner.ranks.bounds(count))
    own, largest = int(shares[learner.ranks.rank]), int(shares.max())
    pieces = -(-largest // (learner.micro_batch or largest))
    return [own * piece // pieces for piece in range(pieces + 1)]


def _forward(learner: Learner, pictures_bchw: Tensor, given: Given, begin: int, end: int) -> Outputs:
    own = _own(learner.ranks, given, begin, end)
    shown = learner.method.views(learner.compute.inputs(pictures_bchw[begin:end]), own)
    empty = begin == end and not learner.synced
    learner.networks.train(not empty)  # without samples, batch norm alone has no mean to take
    with learner.compute.autocast():
        outputs: Outputs = learner.networks(shown, learner.method.needs)
    learner.networks.train()
    return outputs


def _own(ranks: Ranks, given: Given, begin: int, end: int) -> Given:
    first = ranks.bounds(len(given.labels_b))[ranks.rank]
    rows = slice(first + begin, first + end)
    return Given(
        labels_b=given.labels_b[rows],
        positions_b=given.positions_b[rows],
        epoch=given.epoch,
        class_weights_c=given.class_weights_c,
    )


def _joined(ranks: Ranks, pieces: list[_Piece], views: int, count: int) -> Outputs:
    """The whole batch's outputs: the rows of all pieces of all ranks, view after view."""

    def rows(piece: _Piece) -> Outputs:
        shape = (views, piece.end - piece.begin)
        return piece.outputs.changed(lambda said: said.detach().reshape(said.shape[0], *shape, *said.shape[2:]))

    share = Outputs.joined([rows(piece) for piece in pieces], axis=2)
    return share.changed(lambda said: ranks.joined(said, count, dim=2).flatten(1, 2))


def _sent_back(learner: Learner, pictures_bchw: Tensor, given: Given, pieces: list[_Piece], leaves: Outputs) -> None:
    """Carries the gradients of the outputs back through the networks; pieces that were not kept speak once more."""
    count = len(given.labels_b)
    first = learner.ranks.bounds(count)[learner.ranks.rank]
    for piece in pieces:
        outputs = piece.outputs
        if len(pieces) > 1:
            restore_random_states(learner.compute.devices, piece.random)
            outputs = _forward(learner, pictures_bchw, given, piece.begin, piece.end)
        rows = slice(first + piece.begin, first + piece.end)
        said, gradients = [], []
        for spoken, leaf in zip(outputs, leaves, strict=True):
            if spoken is not None and spoken.requires_grad and leaf is not None and leaf.grad is not None:
                said.append(spoken)
                gradients.append(leaf.grad.reshape(len(leaf), -1, count, *leaf.shape[2:])[:, :, rows].flatten(1, 2))
        if said:
            torch.autograd.backward(said, gradients)


def _exchange_gradients(learner: Learner) -> None:
    """Adds the shares' gradients."""
    learner.ranks.add(_gradients(learner.networks, learner.ranks))
    learner.ranks.average(_gradients(learner.method, learner.ranks))


def _can_step(learner: Learner, given: Given) -> bool:
    """Whether all gradients are finite.

    If they are not, fp16's scaler takes no step, and in any other precision `UserError` is raised.
    """
    learner.scaler.unscale_(learner.optimizer)
    gradients = [p.grad for group in learner.optimizer.param_groups for p in group["params"] if p.grad is not None]
    finite = bool(get_total_norm(gradients, foreach=True).isfinite())
    if not finite and not learner.scaler.is_enabled():
        raise UserError(_not_finite("a gradient is not finite", given, given.positions_b, learner.name_samples))
    return finite


def _gradients(module: torch.nn.Module, ranks: Ranks) -> Iterator[Tensor]:
    """Gradients to exchange: zeros where a rank without samples has none."""
    for parameter in module.parameters() if ranks.size > 1 else ():
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        yield parameter.grad


def _require_finite(total: Tensor, outputs: Outputs, given: Given, name: Callable[[Tensor], list[str]]) -> None:
    if bool(torch.isfinite(total)):
        return
    logits_kbc = outputs.logits_kbc
    finite_kvb = logits_kbc.isfinite().all(-1).reshape(len(logits_kbc), -1, len(given.labels_b))
    bad_b = ~finite_kvb.all(1).all(0)
    positions = given.positions_b[bad_b] if bool(bad_b.any()) else given.positions_b
    raise UserError(_not_finite(f"the loss is {float(total.detach())}", given, positions, name))


def _not_finite(what: str, given: Given, positions: Tensor, name: Callable[[Tensor], list[str]]) -> str:
    keys = name(positions.cpu())
    more = f" and {len(keys) - _NAMED} more" if len(keys) > _NAMED else ""
    where = "batch of" if len(keys) == len(given.labels_b) else "at"
    return (
        f"{what} in epoch {given.epoch} ({where} {', '.join(keys[:_NAMED])}{more}); no step was taken. "
        "Lower lr_backbone or lr_head, or set precision to float32"
    )


def random_states(devices: Sequence[torch.device]) -> tuple[Tensor, ...]:
    """The CPU's, then those of the GPUs among `devices`."""
    return (torch.get_rng_state(), *(torch.cuda.get_rng_state(gpu) for gpu in devices if gpu.type == "cuda"))


def restore_random_states(devices: Sequence[torch.device], states: tuple[Tensor, ...]) -> None:
    """Sets what `random_states` found on the same devices."""
    torch.set_rng_state(states[0])
    for gpu, state in zip((gpu for gpu in devices if gpu.type == "cuda"), states[1:], strict=True):
        torch.cuda.set_rng_state(state, gpu)
