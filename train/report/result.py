"""The page's section on the result: scores beside the paper's, classes, confusions, videos, mistakes."""

from collections.abc import Mapping, Sequence
from typing import Any

from train import paper
from train.charts import Dot, bar_chart, dot_chart, heatmap, interval_strip
from train.paper import TABLES
from train.report.confidence import calibration, class_rows
from train.report.inputs import ReportInputs
from train.report.pictures import confident_mistakes

MEASURES = {"f1": "Macro-F1", "accuracy": "Accuracy", "score": "Score"}
_MOST_VIDEOS = 24
"""Bars in the chart of videos, the hardest ones; the table has them all."""


def result_section(inputs: ReportInputs) -> dict[str, Any]:
    """Everything that the section shows, by the names that the template uses."""
    evaluation = inputs.evaluation
    classes, matrix = list(evaluation["classes"]), evaluation["confusion"]
    per_video = sorted(evaluation["per_video"], key=lambda video: (video["accuracy"], video["video"]))
    return {
        "evaluation": evaluation,
        "scores": _score_groups(evaluation),
        "commonest": max((sum(row) for row in matrix), default=0) / max(1, evaluation["samples"]),
        "paper": TABLES,
        "caveats": _caveats(evaluation),
        "per_class": _per_class_chart(evaluation),
        "class_rows": class_rows(evaluation),
        "reliability": calibration(inputs.predictions),
        "beside": _beside(evaluation),
        "confusion": heatmap(matrix, classes, title="Confusion matrix: actual classes down, predicted ones across"),
        "per_video": per_video,
        "per_video_chart": _per_video_chart(per_video[:_MOST_VIDEOS]),
        "videos_shown": len(per_video[:_MOST_VIDEOS]),
        "mistakes": confident_mistakes(inputs.predictions, inputs.samples),
        "classes": classes,
    }


def _beside(evaluation: Mapping[str, Any]) -> str:
    """This run's macro-F1 with its interval above the validation figures of the paper's Table 1."""
    bounds = (evaluation.get("interval") or {}).get("f1")
    interval = (float(bounds[0]), float(bounds[1])) if bounds else None
    dots = [Dot(name="This run, last epoch", value=float(evaluation["ensemble"]["f1"]), interval=interval, own=True)]
    dots += [Dot(name="Its networks, mean", value=float(evaluation["networks_mean"]["f1"]), own=True)]
    dots += [Dot(name=f"Paper: {row.method}", value=row.f1) for row in TABLES[0].rows]
    where = "" if evaluation["dataset"] in paper.DATASETS else ", not the paper's data"
    return dot_chart(dots, title="Macro-F1 of this run and of the paper", x_label=f"macro-F1{where}")


def headline(evaluation: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The ensemble's measures at the last epoch, with their intervals where there are any."""
    interval = evaluation.get("interval") or {}
    stats = []
    for key, name in MEASURES.items():
        value, bounds = float(evaluation["ensemble"][key]), interval.get(key)
        ends = (float(bounds[0]), float(bounds[1])) if bounds else None
        title = f"{name} {value:.3f}" + (f", interval {ends[0]:.3f} to {ends[1]:.3f}" if ends else "")
        stats.append({"name": name, "value": value, "ends": ends, "strip": interval_strip(value, ends, title=title)})
    return stats


def _score_groups(evaluation: Mapping[str, Any]) -> list[dict[str, Any]]:
    best = evaluation["best"]
    return [
        {
            "title": f"Last epoch ({evaluation['epoch']})",
            "note": "the headline: chosen before looking at the validation set",
            "rows": [
                {"name": "Ensemble", "own": True, "scores": evaluation["ensemble"]},
                *_networks(evaluation["networks"]),
                {"name": "Networks, mean", "own": False, "scores": evaluation["networks_mean"]},
                *(
                    [{"name": "Student", "own": False, "scores": evaluation["student"]}]
                    if "student" in evaluation
                    else []
                ),
            ],
        },
        {
            "title": f"Best epoch on validation ({best['epoch']})",
            "note": "picked by these very figures, hence optimistic",
            "rows": [
                {"name": "Ensemble", "own": False, "scores": best["ensemble"]},
                *_networks(best["networks"]),
            ],
        },
    ]


def _networks(scores: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{"name": f"Network {number}", "own": False, "scores": each} for number, each in enumerate(scores, 1)]


def _caveats(evaluation: Mapping[str, Any]) -> list[str]:
    """Why the paper's figures and this run's must be compared with care, or not at all."""
    notes = ["The paper's networks were first trained on MS-Celeb-1M and AffectNet; its code reports the best epoch."]
    why = paper.not_comparable(str(evaluation["dataset"]), len(evaluation["classes"]))
    return [*([why] if why else []), *notes]


def _per_class_chart(evaluation: Mapping[str, Any]) -> str:
    classes, matrix = evaluation["classes"], evaluation["confusion"]
    marked = [sum(row) + sum(column) for row, column in zip(matrix, zip(*matrix, strict=True), strict=True)]
    f1 = [float(evaluation["ensemble"]["f1_per_class"][name]) for name in classes]
    return bar_chart(
        classes,
        {"F1": f1},
        title="F1 of each class, ensemble at the last epoch",
        labels={"F1": [f"{value:.3f}" if seen else "no faces" for value, seen in zip(f1, marked, strict=True)]},
    )


def _per_video_chart(videos: Sequence[Mapping[str, Any]]) -> str:
    return bar_chart(
        [str(video["video"]) for video in videos],
        {"Accuracy": [float(video["accuracy"]) for video in videos]},
        title="Accuracy in each video, ensemble at the last epoch",
        labels={"Accuracy": [f"{video['accuracy']:.2f} of {video['samples']:,}" for video in videos]},
    )
