"""Scores of the validation split at the end of an epoch."""

from train import loop, metrics
from train.run import Run
from train.splits import Split


def validate(run: Run) -> dict[str, float]:
    """Macro-F1 and accuracy of the ensemble on the validation split, and macro-F1 of each network and of a student."""
    learner = run.learner
    probabilities_knc = loop.predict_split(
        learner.networks,
        run.val_stream,
        len(run.val.labels),
        batch_size=run.params.shown_at_once,
        compute=learner.compute,
        ranks=learner.ranks,
    )
    networks = learner.networks
    ensemble = _scores(run.val, probabilities_knc[: networks.size].mean(0))
    names = [f"val_f1_{number}" for number in range(1, networks.size + 1)]
    names += ["val_f1_student"] * networks.student
    each = {name: _scores(run.val, said_nc).f1 for name, said_nc in zip(names, probabilities_knc, strict=True)}
    return {"val_f1": ensemble.f1, "val_accuracy": ensemble.accuracy} | each


def _scores(split: Split, probabilities_nc: loop.Probabilities) -> metrics.Scores:
    return metrics.scores(metrics.confusion(split.labels, probabilities_nc.argmax(-1), split.classes))
