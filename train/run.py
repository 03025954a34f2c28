"""What a training run is made of: verified data, networks, method, and the digest of all that determines its result."""

import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline import balance
from pipeline.contract import UserError
from pipeline.files import digest_file, digest_of
from pipeline.method_params import VOTES
from pipeline.shards.manifest import MANIFEST, read_manifest
from pipeline.shards.reading import ShardReader
from pipeline.shards.verification import require_verified
from pipeline.train_params import TrainParams
from train.augment import Augment
from train.compute import Compute
from train.label_files import given_labels, vote_shares
from train.methods import Setting, build_method
from train.networks import Networks
from train.ranks import Ranks
from train.starting_points import start_from
from train.step import Learner
from train.stream import Faces, Stream, epoch_order, oversampled, split_batches
from train.synced import synced

_WITHOUT_EFFECT = {"workers", "snapshot_minutes", "device", "devices"}
"""Parameters that change nothing by themselves; the kind of device and the number of ranks count as they come out."""


@dataclass(frozen=True, kw_only=True)
class Split:
    """The faces of one split, the labels that are given for them, and the true ones where noise was asked for."""

    reader: ShardReader
    labels: NDArray[np.int64]
    classes: int

    @property
    def truth(self) -> NDArray[np.int64] | None:
        """True classes by position; None where no given label differs."""
        truth = self.reader.samples["label"].to_numpy(np.int64)
        return None if np.array_equal(truth, self.labels) else truth

    @property
    def counts(self) -> list[int]:
        """Samples a class."""
        return [int(count) for count in np.bincount(self.labels, minlength=self.classes)]


@dataclass(frozen=True, kw_only=True)
class Run:
    """Everything that an epoch needs."""

    params: TrainParams
    train: Split
    val: Split
    learner: Learner
    train_stream: Stream
    val_stream: Stream

    @property
    def epochs(self) -> int:
        """The published code trains one more than it is asked for."""
        return self.params.epochs + (self.params.compat == "original")


def open_split(folder: Path, split: str, classes: int) -> Split:
    """A split of a verified shard set; raises `UserError` if it has no sample."""
    reader = ShardReader(folder, split)
    if not len(reader):
        raise UserError(f"{folder} has no samples of split {split}; it needs labelled videos in that split")
    return Split(reader=reader, labels=reader.samples["label"].to_numpy(np.int64), classes=classes)


def prepare(params: TrainParams, folder: Path, *, ranks: Ranks | None = None) -> Run:
    """Verifies the shards, opens both splits, and builds networks, method and optimiser."""
    ranks = ranks or Ranks()
    _verify_once_a_machine(folder, ranks)
    classes = len(read_manifest(folder)["classes"])
    train, val = open_split(folder, "train", classes), open_split(folder, "val", classes)
    listed = train.reader.marks("listed_label") if params.noise_kind == "listed" else None
    train = replace(train, labels=given_labels(params, train.reader.samples, classes, listed=listed))
    torch.manual_seed(params.seed + ranks.rank)
    return Run(
        params=params,
        train=train,
        val=val,
        learner=_learner(params, train, ranks),
        train_stream=_stream(params, train, Augment(original=params.compat == "original")),
        val_stream=_stream(params, val, None),
    )


def _verify_once_a_machine(folder: Path, ranks: Ranks) -> None:
    problem = None
    if ranks.local == 0:
        try:
            require_verified(folder)
        except UserError as error:
            problem = str(error)
    for found in filter(None, ranks.everyone(problem)):
        raise UserError(found)


def _learner(params: TrainParams, train: Split, ranks: Ranks) -> Learner:
    apart = params.placement == "apart"
    spread = min(params.networks, torch.cuda.device_count()) if apart else 0
    compute = Compute.choose(device=params.device, precision=params.precision, index=ranks.local, apart=spread)
    networks = Networks(
        params.backbone,
        networks=params.networks,
        classes=train.classes,
        seed=params.seed,
        student=params.distill == "on",
    )
    if params.init is not None:
        told = start_from(networks, Path(params.init))
        if ranks.is_first:
            print("\n".join(told), flush=True)
    if ranks.size > 1 and params.batch_norm == "synced":
        networks.networks = torch.nn.ModuleList(synced(n, device=compute.device.type) for n in networks.networks)
    networks = compute.place(networks)
    setting = Setting(
        keys=train.reader.samples["key"],
        classes=train.classes,
        features=networks.features,
        attention=networks.attention,
        votes_nc=_votes(params, train),
    )
    method = build_method(params, setting).to(compute.device)
    groups = networks.parameter_groups(lr_backbone=params.lr_backbone, lr_head=params.lr_head)
    if own := list(method.parameters()):
        groups.append({"params": own, "lr": params.lr_head})
    return Learner(
        networks=networks,
        method=method,
        optimizer=torch.optim.Adam(groups, fused=True),
        compute=compute,
        scaler=compute.scaler(),
        name_samples=lambda positions: train.reader.samples["key"].iloc[positions.numpy()].tolist(),
        ranks=ranks,
        micro_batch=params.micro_batch,
        synced=params.batch_norm == "synced",
    )


def _votes(params: TrainParams, train: Split) -> NDArray[np.float32] | None:
    if params.method != "ltnet" or params.ltnet.labels != VOTES:
        return None
    return vote_shares(train.reader.marks("votes"), train.classes, source=str(train.reader.folder))


def _stream(params: TrainParams, split: Split, augment: Augment | None) -> Stream:
    faces = Faces(
        reader=split.reader,
        labels=split.labels,
        image_size=params.image_size,
        seed=params.seed,
        augment=augment,
    )
    return Stream(faces, workers=params.workers)


def epoch_batches(run: Run, epoch: int) -> list[NDArray[np.int64]]:
    """The positions that each batch of an epoch shows: a function of the parameters, the shards and the epoch."""
    params = run.params
    order = epoch_order(run.train.reader.samples["shard"].to_numpy(object), seed=params.seed, epoch=epoch)
    if params.balance == "oversample":
        order = oversampled(order, run.train.labels, seed=params.seed, epoch=epoch)
    return split_batches(order, batch_size=params.batch_size, iterations=params.iterations_per_epoch)


def class_weights(run: Run) -> Tensor | None:
    """Weights of the classes in the supervision, if `balance` asks for them."""
    if run.params.balance != "class_weights":
        return None
    return torch.tensor(balance.class_weights(run.train.counts), device=run.learner.compute.device)


def effective_frequencies(run: Run) -> dict[str, tuple[float, float]]:
    """By class: its share of the training labels, and of what the first epoch's supervision is made of."""
    shown = np.bincount(run.train.labels[np.concatenate(epoch_batches(run, 0))], minlength=run.train.classes)
    weights = class_weights(run)
    effective = shown * (1.0 if weights is None else weights.cpu().numpy())
    shares = [counts / max(counts.sum(), 1) for counts in (np.array(run.train.counts), effective)]
    names = read_manifest(run.train.reader.folder)["classes"]
    return {name: (float(own), float(now)) for name, own, now in zip(names, *shares, strict=True)}


def run_key(run: Run) -> str:
    """Digest of all that determines a run's result: parameters, shards, starting weights, code, library, ranks."""
    params, compute = run.params, run.learner.compute
    asked = params.model_dump(include=set(TrainParams.model_fields), exclude=_WITHOUT_EFFECT)
    return digest_of(
        asked,
        digest_file(run.train.reader.folder / MANIFEST),
        [None if name is None else digest_file(Path(name)) for name in _files(params)],
        [[device.type for device in compute.devices], run.learner.ranks.size, torch.__version__],
        _code(name for name in sys.modules if name.split(".")[0] in ("pipeline", "train")),
    )


def _files(params: TrainParams) -> tuple[str | None, ...]:
    labels = None if params.ltnet.labels == VOTES else params.ltnet.labels
    return params.init, params.noise_matrix, params.noise_list, labels


def _code(modules: Iterable[str]) -> dict[str, str]:
    """Digests of the project's code that is loaded."""
    files = {name: getattr(sys.modules[name], "__file__", None) for name in modules}
    return {name: digest_file(Path(path)) for name, path in sorted(files.items()) if path}
