"""A whole training run: data, networks and method put together, epochs, and what is kept of each."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline import balance
from pipeline.contract import UserError
from pipeline.files import digest_file
from pipeline.params import TrainParams
from pipeline.progress import Progress
from pipeline.shards.manifest import MANIFEST, read_manifest
from pipeline.shards.reading import ShardReader
from pipeline.shards.verification import require_verified
from train import checkpoint, loop, metrics
from train.augment import Augment
from train.methods import METHODS
from train.networks import Networks, load_backbone
from train.noise import noisy_labels
from train.schedules import learning_rate
from train.stream import Faces, Stream, epoch_order, oversampled, split_batches


@dataclass(frozen=True, kw_only=True)
class Split:
    """The faces of one split and their labels (noisy ones where noise was asked for)."""

    reader: ShardReader
    labels: NDArray[np.int64]
    classes: int

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
    networks: Networks
    compute: loop.Compute
    train_stream: Stream
    val_stream: Stream


def open_split(folder: Path, split: str, classes: int) -> Split:
    """A split of a verified shard set; raises `UserError` if it has no sample."""
    reader = ShardReader(folder, split)
    if not len(reader):
        raise UserError(f"{folder} has no samples of split {split}; it needs labelled videos in that split")
    return Split(reader=reader, labels=reader.samples["label"].to_numpy(np.int64), classes=classes)


def prepare(params: TrainParams, folder: Path) -> Run:
    """Verifies the shards, opens both splits, and builds the networks."""
    require_verified(folder)
    classes = len(read_manifest(folder)["classes"])
    train, val = open_split(folder, "train", classes), open_split(folder, "val", classes)
    noisy = noisy_labels(
        train.reader.samples,
        kind=params.noise_kind,
        rate=params.noise_rate,
        unit=params.noise_unit,
        seed=params.seed,
        classes=classes,
    )
    train = Split(reader=train.reader, labels=noisy, classes=classes)
    torch.manual_seed(params.seed)
    networks = Networks(params.backbone, networks=params.networks, classes=classes, seed=params.seed)
    if params.init is not None:
        for number, network in enumerate(networks.networks):
            report = load_backbone(network, Path(params.init), index=number)
            print(f"init: network {number + 1} took {report.matched} of {report.total} tensors from {params.init}")
    compute = loop.Compute.choose(device=params.device, precision=params.precision)
    augment = Augment(original=params.compat == "original")
    return Run(
        params=params,
        train=train,
        val=val,
        networks=compute.place(networks),
        compute=compute,
        train_stream=_stream(params, train, augment),
        val_stream=_stream(params, val, None),
    )


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


def fit(run: Run, models: Path) -> list[dict[str, Any]]:
    """Trains all epochs and publishes weights, best and last.

    Returns:
        One row an epoch: coefficients, learning rates, losses, accuracies, agreement, seconds.
    """
    params = run.params
    method = METHODS[params.method](params)
    epochs = params.epochs + (params.compat == "original")
    optimizer = torch.optim.Adam(
        run.networks.parameter_groups(lr_backbone=params.lr_backbone, lr_head=params.lr_head), fused=True
    )
    initial = [group["lr"] for group in optimizer.param_groups]
    rows: list[dict[str, Any]] = []
    with Progress("train", epochs * len(epoch_batches(run, 0)), unit="batches") as progress:
        for epoch in range(epochs):
            for group, rate in zip(optimizer.param_groups, initial, strict=True):
                group["lr"] = learning_rate(rate, decay=params.lr_decay, epoch=epoch)
            summary = loop.train_epoch(
                run.networks,
                method,
                run.train_stream.batches(epoch, epoch_batches(run, epoch)),
                optimizer,
                epoch=epoch,
                compute=run.compute,
                class_weights_c=_class_weights(run),
                name_samples=lambda positions: run.train.reader.samples["key"].iloc[positions.numpy()].tolist(),
                on_batch=_reporter(progress, epoch, epochs, rows),
            )
            rates = dict(zip(("lr_backbone", "lr_head"), (g["lr"] for g in optimizer.param_groups), strict=True))
            rows.append({"epoch": epoch} | method.coefficients(epoch) | rates | asdict(summary) | validate(run))
            checkpoint.save_weights(models / "last.safetensors", run.networks)
            if rows[-1]["val_f1"] >= max(row["val_f1"] for row in rows):
                checkpoint.keep_as_best(models)
    checkpoint.describe(models, description(run, rows))
    return rows


def _class_weights(run: Run) -> Tensor | None:
    if run.params.balance != "class_weights":
        return None
    return torch.tensor(balance.class_weights(run.train.counts), device=run.compute.device)


def _reporter(progress: Progress, epoch: int, epochs: int, rows: list[dict[str, Any]]) -> Callable[[float], None]:
    validated = f", validation F1 {rows[-1]['val_f1']:.3f}" if rows else ""

    def on_batch(loss: float) -> None:
        progress.step(note=f"epoch {epoch + 1} of {epochs}, loss {loss:.3f}{validated}")

    return on_batch


def predict_split(
    networks: Networks, stream: Stream, samples: int, *, batch_size: int, compute: loop.Compute
) -> loop.Probabilities:
    """Softmax of every network for a whole split in stored order, K x N x C."""
    batches = stream.batches(0, list(loop.in_order(samples, batch_size)))
    probabilities_knc, _ = loop.predict(networks, batches, compute)
    return probabilities_knc


def validate(run: Run) -> dict[str, float]:
    """Macro-F1 and accuracy of the ensemble on the validation split, and macro-F1 of each network."""
    probabilities_knc = predict_split(
        run.networks,
        run.val_stream,
        len(run.val.labels),
        batch_size=run.params.batch_size,
        compute=run.compute,
    )
    ensemble = _scores(run.val, probabilities_knc.mean(0))
    each = {
        f"val_f1_{number}": _scores(run.val, probabilities_nc).f1
        for number, probabilities_nc in enumerate(probabilities_knc, start=1)
    }
    return {"val_f1": ensemble.f1, "val_accuracy": ensemble.accuracy} | each


def _scores(split: Split, probabilities_nc: loop.Probabilities) -> metrics.Scores:
    return metrics.scores(metrics.confusion(split.labels, probabilities_nc.argmax(-1), split.classes))


def description(run: Run, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What `load_networks` and any other program need to use the weights."""
    params, best = run.params, max(rows, key=lambda row: (row["val_f1"], row["epoch"]))
    manifest = read_manifest(run.train.reader.folder)
    return {
        "dataset": params.dataset,
        "method": params.method,
        "networks": params.networks,
        "backbone": params.backbone,
        "classes": manifest["classes"],
        "seed": params.seed,
        "input": {
            "width": params.image_size,
            "height": params.image_size,
            "channels": "RGB",
            "template_scale": manifest["params"]["align"]["template_scale"],
            "mean": loop.MEAN,
            "std": loop.STD,
        },
        "prediction": "arg max of the mean of the networks' softmax",
        "epochs": len(rows),
        "best_epoch": best["epoch"],
        "shards": digest_file(run.train.reader.folder / MANIFEST),
    }
