"""A whole training run: data, networks and method put together, epochs, and what is kept of each."""

from collections.abc import Callable
from dataclasses import dataclass, replace
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
from train.label_files import given_labels
from train.methods import Method, Setting, build_method
from train.networks import Networks
from train.schedules import learning_rate
from train.starting_points import start_from
from train.stream import Faces, Stream, epoch_order, oversampled, split_batches


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
    networks: Networks
    method: Method
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
    train = replace(train, labels=given_labels(params, train.reader.samples, classes))
    torch.manual_seed(params.seed)
    networks = Networks(
        params.backbone,
        networks=params.networks,
        classes=classes,
        seed=params.seed,
        student=params.distill == "on",
    )
    if params.init is not None:
        print("\n".join(start_from(networks, Path(params.init))))
    compute = loop.Compute.choose(device=params.device, precision=params.precision)
    augment = Augment(original=params.compat == "original")
    setting = Setting(
        keys=train.reader.samples["key"],
        classes=classes,
        features=networks.features,
        attention=networks.attention,
    )
    return Run(
        params=params,
        train=train,
        val=val,
        networks=compute.place(networks),
        method=build_method(params, setting).to(compute.device),
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
    params, method = run.params, run.method
    epochs = params.epochs + (params.compat == "original")
    groups = run.networks.parameter_groups(lr_backbone=params.lr_backbone, lr_head=params.lr_head)
    if own := list(method.parameters()):
        groups.append({"params": own, "lr": params.lr_head})
    optimizer = torch.optim.Adam(groups, fused=True)
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
                truth_n=run.train.truth,
            )
            rates = dict(zip(("lr_backbone", "lr_head"), (g["lr"] for g in optimizer.param_groups[:2]), strict=True))
            rows.append({"epoch": epoch} | method.coefficients(epoch) | rates | summary | validate(run))
            checkpoint.save_weights(models / "last.safetensors", run.networks)
            if rows[-1]["val_f1"] >= max(row["val_f1"] for row in rows):
                checkpoint.keep_as_best(models)
    if run.networks.student:
        checkpoint.save_student(models, run.networks)
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
    """Softmax of every network, a student after the others, for a whole split in stored order, K x N x C."""
    batches = stream.batches(0, list(loop.in_order(samples, batch_size)))
    probabilities_knc, _ = loop.predict(networks, batches, compute)
    return probabilities_knc


def validate(run: Run) -> dict[str, float]:
    """Macro-F1 and accuracy of the ensemble on the validation split, and macro-F1 of each network and of a student."""
    probabilities_knc = predict_split(
        run.networks,
        run.val_stream,
        len(run.val.labels),
        batch_size=run.params.batch_size,
        compute=run.compute,
    )
    ensemble = _scores(run.val, probabilities_knc[: run.networks.size].mean(0))
    names = [f"val_f1_{number}" for number in range(1, run.networks.size + 1)]
    names += ["val_f1_student"] * run.networks.student
    each = {name: _scores(run.val, said_nc).f1 for name, said_nc in zip(names, probabilities_knc, strict=True)}
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
        "student": run.networks.student,
        "backbone": params.backbone,
        "classes": manifest["classes"],
        "seed": params.seed,
        "input": {
            "width": params.image_size,
            "height": params.image_size,
            "channels": "RGB",
            "mean": loop.MEAN,
            "std": loop.STD,
        },
        "prediction": "arg max of the mean of the networks' softmax",
        "epochs": len(rows),
        "best_epoch": best["epoch"],
        "shards": digest_file(run.train.reader.folder / MANIFEST),
    }
