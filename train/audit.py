"""Which labels are probably wrong, from what the networks say of every training face. Pure; knows no files.

People label stretches of video, so a stretch (a run of one label among a trial's faces in time) is judged as a whole:
by the mean of the networks' opinions over it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from train.second_opinion import confidently_wrong
from train.suspects import suspect_columns

Probabilities = NDArray[np.float64]
Ranking = Literal["last", "epochs"]


@dataclass(frozen=True, kw_only=True)
class Opinion:
    """What the networks say of N samples: the ensemble's probabilities N x C, the share of networks per class N x C."""

    probabilities_nc: Probabilities
    votes_nc: Probabilities

    @classmethod
    def of(cls, probabilities_knc: NDArray[np.floating]) -> "Opinion":
        """The consensus of K networks (K x N x C): mean probability, and the share that names each class."""
        classes = probabilities_knc.shape[-1]
        votes_knc = np.eye(classes)[probabilities_knc.argmax(-1)]
        return cls(probabilities_nc=probabilities_knc.mean(0, dtype=np.float64), votes_nc=votes_knc.mean(0))


def stretches(samples: pd.DataFrame) -> NDArray[np.int64]:
    """The stretch of each sample, numbered from 0 by trial and time.

    Args:
        samples: has the columns `trial`, `frame_index` and `label`, in any order.
    """
    trials = pd.factorize(samples["trial"], sort=True)[0]
    labels, frames = samples["label"].to_numpy(), samples["frame_index"].to_numpy()
    order = np.lexsort((frames, trials))
    begins = (np.diff(trials[order]) != 0) | (np.diff(labels[order]) != 0)
    numbers = np.empty(len(samples), dtype=np.int64)
    numbers[order] = np.concatenate([[0], np.cumsum(begins)]) if len(order) else []
    return numbers


def pooled(values_nc: Probabilities, stretch_n: NDArray[np.int64]) -> Probabilities:
    """The mean over each sample's stretch, N x C."""
    counts = np.bincount(stretch_n)
    sums = np.stack([np.bincount(stretch_n, weights=column) for column in values_nc.T], axis=1)
    mean_nc: Probabilities = (sums / counts[:, None])[stretch_n]
    return mean_nc


def suspicion(probabilities_nc: Probabilities, votes_nc: Probabilities, labels: NDArray[np.int64]) -> Probabilities:
    """How likely each label is wrong, in [0, 1]: the margin of the best other class, half by probability, half by vote.

    0: every network is sure of the label; 0.5: undecided; 1: every network is sure of one other class.
    """
    rows = np.arange(len(labels))
    margins = []
    for values_nc in (probabilities_nc, votes_nc):
        margins.append((1 + _without(values_nc, labels).max(axis=1) - values_nc[rows, labels]) / 2)
    mean: Probabilities = 0.5 * (margins[0] + margins[1])
    return mean


def judged(
    samples: pd.DataFrame, opinion: Opinion, margin_n: NDArray[np.floating] | None = None, *, ranking: Ranking = "last"
) -> pd.DataFrame:
    """A row a sample: `stretch`, `score`, `flagged`, `suggested` (a class index), `course`, `confident`.

    Flagged is where another class is preferred for the stretch as a whole: by the ensemble, or with `ranking` `epochs`
    on the average of all epochs. `course` is how likely the label is wrong by its margin over the epochs, in [0, 1];
    NaN where nobody recorded it. `confident` is what confident learning says of the single sample.

    Args:
        samples: has `trial`, `frame_index` and `label`.
        opinion: of these samples, in their order.
        margin_n: the mean margin of each over the epochs (`history.Course`), if that is known.
        ranking: what `score` and `flagged` go by; where there is no margin, by the last epoch all the same.
    """
    labels, stretch_n = samples["label"].to_numpy(np.int64), stretches(samples)
    mean_nc, votes_nc = pooled(opinion.probabilities_nc, stretch_n), pooled(opinion.votes_nc, stretch_n)
    score_n, suggested_n = suspicion(mean_nc, votes_nc, labels), mean_nc.argmax(axis=1)
    flagged_n = suggested_n != labels
    course_n = _course(margin_n, stretch_n)
    if ranking == "epochs":
        known_n = np.isfinite(course_n)
        flagged_n = np.where(known_n, course_n > 0.5, flagged_n)
        score_n = np.where(known_n, course_n, score_n)
        suggested_n = np.where(flagged_n, _without(mean_nc, labels).argmax(axis=1), suggested_n)
    return pd.DataFrame(
        {
            "stretch": stretch_n,
            "score": score_n,
            "flagged": flagged_n,
            "suggested": suggested_n,
            "course": course_n,
            "confident": confidently_wrong(opinion.probabilities_nc, labels),
        }
    )


def _course(margin_n: NDArray[np.floating] | None, stretch_n: NDArray[np.int64]) -> Probabilities:
    """The mean margin of each sample's stretch, as suspicion: 0 for 1, 1 for -1; samples never shown do not count."""
    if margin_n is None:
        return np.full(len(stretch_n), np.nan)
    known_n = np.isfinite(margin_n)
    told_n2 = np.stack([np.where(known_n, (1 - margin_n) / 2, 0.0), known_n], axis=1, dtype=np.float64)
    mean_n2 = pooled(told_n2, stretch_n)
    with np.errstate(invalid="ignore"):
        course_n: Probabilities = mean_n2[:, 0] / mean_n2[:, 1]
    return course_n


def _without(values_nc: Probabilities, labels: NDArray[np.int64]) -> Probabilities:
    """A copy in which no sample's own label can be the largest."""
    others_nc = values_nc.copy()
    others_nc[np.arange(len(labels)), labels] = -np.inf
    return others_nc


def suspects(
    samples: pd.DataFrame, opinion: Opinion, found: pd.DataFrame, *, dataset: str, classes: Sequence[str]
) -> pd.DataFrame:
    """The flagged stretches (`suspect_columns`), the most suspect first.

    Args:
        samples: has `trial`, `video`, `frame_index` and `label`.
        opinion: of these samples.
        found: as `judged` returns it for them.
        dataset: its name.
        classes: names in order.
    """
    probabilities = pd.DataFrame(opinion.probabilities_nc, columns=list(classes))
    rows = samples.reset_index(drop=True)[["trial", "video", "frame_index", "label"]].join(found).join(probabilities)
    rows["agreement"] = pooled(opinion.votes_nc, found["stretch"].to_numpy())[np.arange(len(rows)), found["suggested"]]
    by_stretch = rows[rows["flagged"]].groupby("stretch", sort=True)
    first = by_stretch.first()
    table = first[["trial", "video", "score", "agreement", *classes]].assign(
        dataset=dataset,
        first_frame=by_stretch["frame_index"].min(),
        last_frame=by_stretch["frame_index"].max(),
        samples=by_stretch.size(),
        given=[classes[label] for label in first["label"]],
        suggested=[classes[label] for label in first["suggested"]],
        course=by_stretch["course"].first(),
        confident=by_stretch["confident"].mean(),
        **by_stretch[list(classes)].mean(),
    )
    table["confidence"] = [row[row["suggested"]] for _, row in table.iterrows()]
    ranked = table.sort_values(["score", "trial", "first_frame"], ascending=[False, True, True], kind="stable")
    return ranked[list(suspect_columns(classes))].reset_index(drop=True)
