"""The page's section on the dataset: balance, faces, what was left out, counts that disagree."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from pipeline.contract import SPLITS, Drop
from train.charts import bar_chart
from train.report.inputs import ReportInputs
from train.report.pictures import contact_sheet

MOST_ROWS = 500
"""Longest table of trials; the CSV beside the shards has them all."""

BY_CHOICE = (
    Drop.LABEL_IGNORED,
    Drop.CLASS_EXCLUDED,
    Drop.EXCLUDED_BY_REVIEW,
    Drop.NOT_SAMPLED,
    Drop.VIDEO_WITHOUT_ANNOTATION,
)
"""Reasons that are a decision, not a defect."""

REASONS = {
    Drop.LABEL_IGNORED: (
        "No label",
        "The annotators marked these frames as having no usable expression (-1).",
    ),
    Drop.CLASS_EXCLUDED: (
        "Class not in use",
        "Their class is not among the classes asked for (index.classes).",
    ),
    Drop.NOT_SAMPLED: ("Between sampled frames", "Only every n-th frame is used (extract.stride)."),
    Drop.EXCLUDED_BY_REVIEW: (
        "Excluded in review",
        "Somebody looked at them and excluded them (labels/overrides.csv).",
    ),
    Drop.LABEL_OUT_OF_RANGE: ("Unknown class number", "The label is a number that stands for no class."),
    Drop.LABEL_UNREADABLE: ("Unreadable label", "The line in the annotation file is not a whole number."),
    Drop.BEYOND_VIDEO: ("Beyond the video", "The annotation has more lines than the video has frames."),
    Drop.FRAME_UNDECODABLE: ("Frame does not decode", "The video has this frame, but it is damaged or cut off."),
    Drop.NO_FACE: ("No face found", "The detector saw no face in the frame, or none it was sure of."),
    Drop.SUBJECT_NOT_FOUND: ("Another face only", "A face was seen, but not that of the annotated person."),
    Drop.ANNOTATION_UNREADABLE: (
        "Unreadable annotation",
        "The annotation file could not be understood at all.",
    ),
    Drop.SPLIT_CONFLICT: (
        "In two splits",
        "The video is also in another split, which keeps it, so that nothing leaks.",
    ),
    Drop.DUPLICATE_VIDEO: (
        "Same content in two splits",
        "A video of another name and split has the same content; that split keeps it, so that nothing leaks.",
    ),
    Drop.DUPLICATE_PICTURE: (
        "Same picture in two splits",
        "An evaluation split holds the very same picture and keeps it, so that nothing leaks.",
    ),
    Drop.NO_MAJORITY: ("Voters disagree", "No class has more than half of the votes."),
    Drop.PICTURE_MISSING: ("Picture missing", "There is a label, but no picture of that name or number."),
    Drop.PICTURE_UNREADABLE: ("Unreadable picture", "The file is damaged, cut short, or no picture."),
    Drop.VIDEO_MISSING: ("Video missing", "There is an annotation, but no video of that name."),
    Drop.VIDEO_UNREADABLE: ("Unreadable video", "The video could not be opened, or not decoded to its end."),
    Drop.VIDEO_WITHOUT_ANNOTATION: (
        "Video without labels",
        "There is a video, but no annotation (as in a test set).",
    ),
    Drop.COUNTS_DISAGREE: (
        "Counts disagree",
        "Annotation lines and video frames differ by more than allowed.",
    ),
    Drop.WORKER_FAILED: ("Processing failed", "An error stopped work on this video; the detail says which."),
}
"""What each reason is called on the page, and what it means."""


def dataset_section(inputs: ReportInputs) -> dict[str, Any]:
    """Everything that the section shows, by the names that the template uses."""
    classes = list(inputs.manifest["classes"])
    splits = _ordered(inputs.balance)
    return {
        "classes": classes,
        "balance": [inputs.balance[split] | {"split": split} for split in splits],
        "balance_chart": _balance_chart(inputs, classes, splits),
        "videos": inputs.samples.groupby("split")["video"].nunique().to_dict(),
        "sheet": _sheet(inputs, classes),
        "drops": _drops(inputs.drops),
        "dropped_trials": _dropped_trials(inputs.drops),
        "dropped_beyond": max(0, len(inputs.drops) - MOST_ROWS),
        "samples": len(inputs.samples),
        "trials": len(inputs.trials),
        "disagreeing": _disagreeing(inputs.trials),
    }


def _ordered(splits: Any) -> list[str]:
    """Splits in the contract's order, then whatever else there is."""
    names = {str(split) for split in splits}
    return [split for split in SPLITS if split in names] + sorted(names - set(SPLITS))


def _balance_chart(inputs: ReportInputs, classes: Sequence[str], splits: Sequence[str]) -> str:
    counts = {split: [inputs.balance[split]["counts"].get(name, 0) for name in classes] for split in splits}
    return bar_chart(
        classes,
        {split: [count / max(1, sum(row)) for count in row] for split, row in counts.items()},
        title="Share of each class in every split",
        labels={split: [f"{count:,}" for count in row] for split, row in counts.items()},
    )


def _sheet(inputs: ReportInputs, classes: Sequence[str]) -> list[dict[str, Any]]:
    faces = contact_sheet(inputs.samples, len(classes), inputs.params["report"]["faces_per_class"])
    train = inputs.samples[inputs.samples["split"] == "train"]
    counts = train["label"].value_counts()
    return [
        {"name": name, "samples": int(counts.get(label, 0)), "faces": row}
        for label, (name, row) in enumerate(zip(classes, faces, strict=True))
    ]


def _drops(drops: pd.DataFrame) -> dict[str, Any]:
    """Labelled frames (and whole files) a reason and split; decisions apart from losses."""
    splits = _ordered(drops["split"])
    order = [str(reason) for reason in REASONS]
    known = sorted(drops["reason"].unique(), key=lambda name: (order.index(name) if name in order else 99, name))
    choice = {str(reason) for reason in BY_CHOICE}
    groups = [
        {
            "title": title,
            "rows": [_reason_row(drops, name, splits) for name in known if (name in choice) == chosen],
        }
        for title, chosen in (("Left out on purpose", True), ("Could not be used", False))
    ]
    return {
        "splits": splits,
        "groups": [group for group in groups if group["rows"]],
        "frames": int(drops["frames"].sum()),
        "chosen": int(drops.loc[drops["reason"].isin(choice), "frames"].sum()),
        "lost": int(drops.loc[~drops["reason"].isin(choice), "frames"].sum()),
    }


def _reason_row(drops: pd.DataFrame, reason: str, splits: Sequence[str]) -> dict[str, Any]:
    rows = drops[drops["reason"] == reason]
    by_split = [rows[rows["split"] == split] for split in splits]
    name, meaning = _named(reason)
    return {
        "name": name,
        "meaning": meaning,
        "cells": [
            {"frames": int(part["frames"].sum()), "files": int((part["frames"] == 0).sum())} for part in by_split
        ],
    }


def _named(reason: str) -> tuple[str, str]:
    return REASONS[Drop(reason)] if reason in set(Drop) else (reason, "")


def _dropped_trials(drops: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of the drop table, losses first, the most frames first."""
    ranked = drops.assign(planned=drops["reason"].isin([str(reason) for reason in BY_CHOICE]))
    ranked = ranked.sort_values(["planned", "frames", "trial", "reason"], ascending=[True, False, True, True])
    rows = ranked.head(MOST_ROWS).to_dict("records")
    return [{str(key): value for key, value in row.items()} | {"name": _named(row["reason"])[0]} for row in rows]


def _disagreeing(trials: pd.DataFrame) -> list[dict[str, Any]]:
    """Trials whose rows are not as many as the video's frames: as decoded, else as its header declares."""
    frames = trials["decoded_frames"] if "decoded_frames" in trials else trials["declared_frames"]
    compared = trials.assign(frames=frames, surplus=trials["rows"] - frames, action=trials.get("action", ""))
    rows = compared[compared["surplus"] != 0].to_dict("records")
    return [{str(key): value for key, value in row.items()} for row in rows]
