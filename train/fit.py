"""A training run from its first or last unfinished batch to its end: epochs, snapshots, and what is kept of each."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.contract import UserError
from pipeline.progress import Progress, duration
from pipeline.stage import SignalledError
from train import checkpoint, loop
from train.description import description
from train.history import HISTORY, History
from train.interruption import Interruption
from train.run import Run, class_weights, effective_frequencies, epoch_batches, told_mix
from train.schedules import learning_rate
from train.snapshots import Position, Snapshots
from train.step import random_states, restore_random_states
from train.tally import Tally
from train.validation import validate


@dataclass(kw_only=True)
class _Training:
    """A run under way."""

    run: Run
    snapshots: Snapshots | None
    interruption: Interruption
    history: History
    position: Position = field(default_factory=Position)
    best: bytes | None = None
    saved_s: float = field(default_factory=time.monotonic)


def fit(
    run: Run, models: Path | None, *, snapshots: Snapshots | None = None, interruption: Interruption | None = None
) -> list[dict[str, Any]]:
    """Trains all epochs that are left, then publishes last and best weights and their description.

    Args:
        run: as it is at its start; a snapshot is loaded into it.
        models: folder of the weights; only the first rank writes there. None publishes nothing: the networks of the
            run are those of the last epoch.
        snapshots: where the run's state is kept and found; None keeps none.
        interruption: says when to end early.

    Returns:
        One row an epoch: coefficients, learning rates, losses, accuracies, agreement, seconds.

    Raises:
        SignalledError: when interrupted, after the step under way was finished and a snapshot taken.
    """
    training = _Training(
        run=run,
        snapshots=snapshots,
        interruption=interruption or Interruption(),
        history=History.empty(len(run.train.labels), run.epochs),
    )
    rates = [group["lr"] for group in run.learner.optimizer.param_groups]
    _resume(training)
    _tell_frequencies(run)
    left = (run.epochs - training.position.epoch) * len(epoch_batches(run, 0)) - training.position.batch
    with Progress("train", left, unit="batches", silent=not run.learner.ranks.is_first) as progress:
        while training.position.epoch < run.epochs:
            for group, rate in zip(run.learner.optimizer.param_groups, rates, strict=True):
                group["lr"] = learning_rate(rate, decay=run.params.lr_decay, epoch=training.position.epoch)
            _finish_epoch(training, progress)
            if training.position.epoch < run.epochs:
                _end_if_asked(training, training.interruption.number)
    if models is not None and run.learner.ranks.is_first:
        _publish(training, models)
    return training.position.rows


def _finish_epoch(training: _Training, progress: Progress) -> None:
    """Trains on the batches of the epoch that are left, validates, and moves on to the next one."""
    run, position = training.run, training.position
    began_s, before_s = time.monotonic(), position.seconds
    left = epoch_batches(run, position.epoch)[position.batch :]
    if not position.batch:
        training.history.begin(position.epoch)
    own = [run.learner.ranks.share(batch) for batch in left]
    shares = run.train_stream.batches(position.epoch, own, together=left)
    batches = zip(left, shares, strict=True)
    steps = loop.train_batches(
        run.learner,
        batches,
        run.train.labels,
        epoch=position.epoch,
        class_weights_c=class_weights(run),
        truth_n=run.train.truth,
        history=training.history,
    )
    for measured in steps:
        position.tally.add(measured)
        position.batch += 1
        position.seconds = before_s + time.monotonic() - began_s
        progress.step(note=_note(position, run.epochs, measured["loss"][0]))
        _save_if_due(training)
    coefficients = run.learner.method.coefficients(position.epoch)
    groups = run.learner.optimizer.param_groups[:2]
    rates = dict(zip(("lr_backbone", "lr_head"), (group["lr"] for group in groups), strict=True))
    scores = validate(run, each=lambda: _leave_validation(training))
    measured_all = position.tally.means() | {"seconds": position.seconds} | scores
    position.rows.append({"epoch": position.epoch} | coefficients | rates | measured_all)
    if position.best_epoch == position.epoch:
        training.best = checkpoint.weights_of(run.learner.networks)
        if training.snapshots and run.learner.ranks.is_first:
            training.snapshots.save_best(position.epoch, training.best)
    position.epoch, position.batch, position.tally, position.seconds = position.epoch + 1, 0, Tally(), 0.0
    _save(training)


def _note(position: Position, epochs: int, loss: float) -> str:
    validated = f", validation F1 {position.rows[-1]['val_f1']:.3f}" if position.rows else ""
    return f"epoch {position.epoch + 1} of {epochs}, loss {loss:.3f}{validated}"


def _save_if_due(training: _Training) -> None:
    """Takes a snapshot when it is time, on all ranks after the same step; ends the run if it was asked to."""
    minutes = (time.monotonic() - training.saved_s) / 60
    signal, late = training.run.learner.ranks.largest(
        training.interruption.number, minutes - training.run.params.snapshot_minutes
    )
    if signal or late >= 0:
        _save(training)
    _end_if_asked(training, signal)


def _leave_validation(training: _Training) -> None:
    """Saves and ends the run if it was asked to; a run that goes on from there validates anew."""
    signal = training.run.learner.ranks.largest(training.interruption.number)[0]
    if signal:
        _save(training)
    _end_if_asked(training, signal)


def _end_if_asked(training: _Training, number: float) -> None:
    """Ends the run, on all ranks, if any was sent a signal; its state has been saved."""
    signal = round(training.run.learner.ranks.largest(number)[0])
    if not signal:
        return
    if training.run.learner.ranks.is_first:
        position = training.position
        print(f"train: saved after batch {position.batch} of epoch {position.epoch + 1}", flush=True)
    raise SignalledError(signal)


def _save(training: _Training) -> None:
    learner = training.run.learner
    random = learner.ranks.everyone(random_states(learner.compute.devices))
    if training.snapshots and learner.ranks.is_first:
        training.snapshots.save(training.position, _state(training) | {"random": random})
    training.saved_s = time.monotonic()


def _state(training: _Training) -> dict[str, Any]:
    learner = training.run.learner
    return {
        "networks": learner.networks.state_dict(),
        "method": learner.method.state_dict(),
        "optimizer": learner.optimizer.state_dict(),
        "scaler": learner.scaler.state_dict(),
        "history": training.history.state(),
    }


def _resume(training: _Training) -> None:
    """Takes up the newest good snapshot, if there is one; every rank reads the one that the first found."""
    run, ranks = training.run, training.run.learner.ranks
    if training.snapshots and len(set(ranks.everyone(training.snapshots.run))) > 1:
        raise UserError(
            "the ranks would not train the same; give all machines the same commit, params.yaml, shards and packages"
        )
    snapshot = training.snapshots.newest() if training.snapshots and ranks.is_first else None
    found = ranks.everyone(None if snapshot is None else snapshot.folder)[0]
    if training.snapshots is None or found is None:
        return
    snapshot = snapshot or training.snapshots.read(found)
    if snapshot is None:
        raise UserError(f"rank {ranks.rank} cannot read {found}; the work store must be shared by all machines")
    training.position = snapshot.position
    training.best = None if snapshot.best is None else snapshot.best.read_bytes()
    _load(run, snapshot.state)
    training.history.load(snapshot.state["history"])
    if ranks.is_first:
        position, ago = snapshot.position, duration(snapshot.age_s)
        print(f"train: goes on after batch {position.batch} of epoch {position.epoch + 1}, saved {ago} ago", flush=True)


def _load(run: Run, state: Mapping[str, Any]) -> None:
    learner = run.learner
    learner.networks.load_state_dict(state["networks"])
    learner.method.load_state_dict(state["method"])
    learner.optimizer.load_state_dict(state["optimizer"])
    learner.scaler.load_state_dict(state["scaler"])
    restore_random_states(learner.compute.devices, state["random"][learner.ranks.rank])


def _tell_frequencies(run: Run) -> None:
    if not run.learner.ranks.is_first:
        return
    shares = (f"{name} {own:.1%} -> {now:.1%}" for name, (own, now) in effective_frequencies(run).items())
    lines = [*told_mix(run), f"balance {run.params.balance}, classes stored -> learned from: {', '.join(shares)}"]
    print("\n".join(f"train: {line}" for line in lines), flush=True)


def _publish(training: _Training, models: Path) -> None:
    """Last and best weights under their names, how each sample was taken, and a description."""
    networks = training.run.learner.networks
    last = checkpoint.weights_of(networks)
    weights = {"last": last, "best": training.best or last}
    weights[HISTORY] = training.history.content(training.position.epoch)
    if networks.student:
        weights["student"] = checkpoint.student_of(networks)
    checkpoint.publish(models, weights, description(training.run, training.position))
