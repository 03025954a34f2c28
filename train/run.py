"""What a training run is made of: verified data, networks, method, and the digest of all that determines its result."""

import sys
from collections.abc import Collection, Iterable, Mapping
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
from pipeline.shards.mixed import other_sets
from pipeline.shards.verification import require_verified
from pipeline.streaming.feed import Feed
from pipeline.train_params import TrainParams
from train.augment import Augment
from train.compute import Compute
from train.label_files import vote_shares
from train.methods import Setting, build_method
from train.mixing import Source, mixed_order, shown_counts
from train.networks import Networks
from train.ranks import Ranks
from train.splits import Split, open_split, training_split
from train.starting_points import start_from
from train.step import Learner
from train.stream import Faces, Stream, epoch_windows, oversampled, split_batches
from train.synced import synced

_WITHOUT_EFFECT = {"workers", "snapshot_minutes", "device", "devices", "stream", "stream_remote", "stream_cache_gb"}
"""Parameters that change nothing by themselves; the kind of device and the number of ranks count as they come out."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """Everything that an epoch needs; `sources` are the shard sets that it is mixed from, none for a set alone.

    `folders` are those of all shard sets that are learned from, the main one first.
    """

    params: TrainParams
    train: Split
    val: Split
    learner: Learner
    train_stream: Stream
    val_stream: Stream
    folders: tuple[Path, ...]
    sources: tuple[Source, ...] = ()

    @property
    def epochs(self) -> int:
        """The published code trains one more than it is asked for."""
        return self.params.epochs + (self.params.compat == "original")


def prepare(
    params: TrainParams,
    folder: Path,
    *,
    ranks: Ranks | None = None,
    others: Mapping[str, Path] | None = None,
    feed: Feed | None = None,
    held_out: Collection[str] = (),
) -> Run:
    """Verifies the shards, opens both splits, and builds networks, method and optimiser.

    Args:
        params: of the training.
        folder: of the shard set.
        ranks: who trains together.
        others: folders of the sets in `mix`, by name; None: those beside `folder`.
        feed: what brings the shards, verified, if they are streamed; the folders are its own then.
        held_out: training videos that are not learned from.
    """
    ranks = ranks or Ranks()
    others = other_sets(folder, params.mix) if others is None else others
    folders = (folder, *others.values())
    for each in folders if feed is None else ():
        _verify_once_a_machine(each, ranks)
    classes = len(read_manifest(folder)["classes"])
    train, sources = training_split(params, folder, classes, others=others, feed=feed)
    val = open_split(folder, "val", classes, feed=feed)
    if held_out:
        learned_n = ~train.reader.samples["video"].isin(held_out).to_numpy()
        train, sources = replace(train, learned_n=learned_n), tuple(source.of(learned_n) for source in sources)
    torch.manual_seed(params.seed + ranks.rank)
    return Run(
        params=params,
        train=train,
        val=val,
        learner=_learner(params, train, ranks),
        train_stream=_stream(params, train, Augment(original=params.compat == "original"), feed),
        val_stream=_stream(params, val, None, feed),
        folders=folders,
        sources=sources,
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
        optimizer=torch.optim.Adam(groups, weight_decay=params.weight_decay, fused=True),
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


def _stream(params: TrainParams, split: Split, augment: Augment | None, feed: Feed | None) -> Stream:
    side, seed = params.image_size, params.seed
    faces = Faces(reader=split.reader, labels=split.labels, image_size=side, seed=seed, augment=augment)
    return Stream(faces, workers=params.workers, feed=feed)


def epoch_batches(run: Run, epoch: int) -> list[NDArray[np.int64]]:
    """The positions that each batch of an epoch shows: a function of the parameters, the shards and the epoch."""
    params = run.params
    if run.sources:
        return _mixed_batches(run, epoch)
    windows = epoch_windows(run.train.reader.samples["shard"].to_numpy(object), seed=params.seed, epoch=epoch)
    if (learned_n := run.train.learned_n) is not None:
        windows = [window[learned_n[window]] for window in windows]
    order = np.concatenate(windows)
    if params.balance == "oversample":
        order = oversampled(windows, run.train.labels, seed=params.seed, epoch=epoch)
    return split_batches(order, batch_size=params.batch_size, iterations=params.iterations_per_epoch)


def _mixed_batches(run: Run, epoch: int) -> list[NDArray[np.int64]]:
    params, iterations = run.params, run.params.iterations_per_epoch
    order = mixed_order(
        run.sources,
        run.train.labels,
        needed=None if iterations is None else iterations * params.batch_size,
        even=params.balance == "oversample",
        seed=params.seed,
        epoch=epoch,
    )
    return split_batches(order, batch_size=params.batch_size, iterations=iterations)


def class_weights(run: Run) -> Tensor | None:
    """Weights of the classes in the supervision, if `balance` asks for them."""
    if run.params.balance != "class_weights":
        return None
    counts = shown_counts(run.sources, run.train.labels, run.train.classes) if run.sources else run.train.counts
    return torch.tensor(balance.class_weights(counts), device=run.learner.compute.device)


def effective_frequencies(run: Run) -> dict[str, tuple[float, float]]:
    """By class: its share of the training labels, and of what the first epoch's supervision is made of."""
    shown = np.bincount(run.train.labels[np.concatenate(epoch_batches(run, 0))], minlength=run.train.classes)
    weights = class_weights(run)
    effective = shown * (1.0 if weights is None else weights.cpu().numpy())
    shares = [counts / max(counts.sum(), 1) for counts in (np.array(run.train.counts), effective)]
    names = read_manifest(run.train.reader.folder)["classes"]
    return {name: (float(own), float(now)) for name, own, now in zip(names, *shares, strict=True)}


def told_mix(run: Run) -> list[str]:
    """A line on each set of a mix: its part of an epoch, and how often that shows each of its samples."""
    shown = np.concatenate(epoch_batches(run, 0)) if run.sources else np.empty(0)
    lines = []
    for source in run.sources:
        count, size = int(np.isin(shown, source.positions).sum()), len(source.shards)
        lines.append(
            f"mix {source.name} {source.share:.1%} asked, {count / len(shown):.1%} given: {count} of an epoch's "
            f"{len(shown)} samples; it has {size}, each shown {count / size:.2f} times an epoch on average"
        )
    return lines


def run_key(run: Run) -> str:
    """Digest of all that determines a run's result: parameters, shards, starting weights, code, library, ranks."""
    params, compute = run.params, run.learner.compute
    asked = params.model_dump(include=set(TrainParams.model_fields), exclude=_WITHOUT_EFFECT)
    return digest_of(
        asked,
        [digest_file(folder / MANIFEST) for folder in run.folders],
        [None if name is None else digest_file(Path(name)) for name in _files(params)],
        None if run.train.learned_n is None else np.packbits(run.train.learned_n).tobytes().hex(),
        [[device.type for device in compute.devices], run.learner.ranks.size, torch.__version__],
        _code(name for name in sys.modules if name.split(".")[0] in ("pipeline", "train")),
    )


def _files(params: TrainParams) -> tuple[str | None, ...]:
    labels = params.ltnet.labels if params.method == "ltnet" and params.ltnet.labels != VOTES else None
    return params.init, {"confusion": params.noise_matrix, "list": params.noise_list}.get(params.noise_kind), labels


def _code(modules: Iterable[str]) -> dict[str, str]:
    """Digests of the project's code that is loaded."""
    files = {name: getattr(sys.modules[name], "__file__", None) for name in modules}
    return {name: digest_file(Path(path)) for name, path in sorted(files.items()) if path}
