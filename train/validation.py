"""Scores of the validation split at the end of an epoch."""

from collections.abc import Callable

import numpy as np

from pipeline.contract import UserError
from train import loop, metrics
from train.run import Run
from train.splits import Split


def validate(run: Run, *, each: Callable[[], None] | None = None) -> dict[str, float]:
    """Macro-F1 and accuracy of the ensemble on the validation split, and macro-F1 of each network and of a student.

    Args:
        run: under way.
        each: called after every batch, equally often on all ranks.

    Raises:
        UserError: if what a network says is not finite.
    """
    learner = run.learner
    probabilities_knc = loop.predict_split(
        learner.networks,
        run.val_stream,
        len(run.val.labels),
        batch_size=run.params.shown_at_once,
        compute=learner.compute,
        ranks=learner.ranks,
        each=each,
    )
    finite_n = np.isfinite(probabilities_knc).all((0, 2))
    if not finite_n.all():
        key = run.val.reader.samples["key"].iloc[int(finite_n.argmin())]
        raise UserError(
            f"what the networks say of {key} in validation is not finite; the last steps ruined them. "
            "Lower lr_backbone or lr_head, or set precision to float32"
        )
    networks = learner.networks
    ensemble = _scores(run.val, probabilities_knc[: networks.size].mean(0))
    names = [f"val_f1_{number}" for number in range(1, networks.size + 1)]
    names += ["val_f1_student"] * networks.student
    alone = {name: _scores(run.val, said_nc).f1 for name, said_nc in zip(names, probabilities_knc, strict=True)}
    return {"val_f1": ensemble.f1, "val_accuracy": ensemble.accuracy} | alone


def _scores(split: Split, probabilities_nc: loop.Probabilities) -> metrics.Scores:
    return metrics.scores(metrics.confusion(split.labels, probabilities_nc.argmax(-1), split.classes))
