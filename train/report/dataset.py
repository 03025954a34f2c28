"""The page's section on the dataset: balance, faces, what was left out, counts that disagree."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from pipeline.contract import SPLITS, Drop
from train.charts import bar_chart
from train.pages import data_uri
from train.report.inputs import ReportInputs
from train.report.pictures import contact_sheet
from train.report.quality import quality_section
from train.report.reasons import BY_CHOICE, REASONS

MOST_ROWS = 500
"""Longest table of trials; the CSV beside the shards has them all."""


def dataset_section(inputs: ReportInputs) -> dict[str, Any]:
    """Everything that the section shows, by the names that the template uses."""
    classes = list(inputs.manifest["classes"])
    splits = _ordered(inputs.balance)
    by_video = _by_video(inputs.samples, splits, len(classes))
    return {
        "classes": classes,
        "balance": [inputs.balance[split] | {"split": split} for split in splits],
        "balance_chart": _balance_chart(inputs, classes, splits),
        "videos": inputs.samples.groupby("split")["video"].nunique().to_dict(),
        "occurrence": _occurrence(by_video, splits),
        "by_video": by_video[:MOST_ROWS],
        "by_video_beyond": max(0, len(by_video) - MOST_ROWS),
        "sheet": _sheet(inputs, classes),
        "drops": _drops(inputs.drops),
        "dropped_trials": _dropped_trials(inputs.drops),
        "dropped_beyond": max(0, len(inputs.drops) - MOST_ROWS),
        "samples": len(inputs.samples),
        "trials": len(inputs.trials),
        "disagreeing": _disagreeing(inputs.trials),
        "quality": quality_section(inputs.quality, len(inputs.samples), classes),
        "examples": _examples(inputs),
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


def _by_video(samples: pd.DataFrame, splits: Sequence[str], classes: int) -> list[dict[str, Any]]:
    """Faces of each class in each video, by split and name."""
    counted = pd.crosstab([samples["split"].astype(str), samples["video"].astype(str)], samples["label"])
    rows = [
        {"split": split, "video": video, "faces": faces}
        for (split, video), faces in zip(
            counted.index, counted.reindex(columns=range(classes), fill_value=0).to_numpy().tolist(), strict=True
        )
    ]
    return sorted(rows, key=lambda row: (splits.index(row["split"]), row["video"]))


def _occurrence(by_video: Sequence[dict[str, Any]], splits: Sequence[str]) -> dict[str, list[int]]:
    """In how many videos of each split there is a face of each class."""
    faces = {split: [row["faces"] for row in by_video if row["split"] == split] for split in splits}
    return {
        split: [sum(map(bool, column)) for column in zip(*rows, strict=True)] for split, rows in faces.items() if rows
    }


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


def _examples(inputs: ReportInputs) -> list[dict[str, Any]]:
    """Reasons with pictures, in the order of the table: the frames themselves, or faces that were kept."""
    order = [str(reason) for reason in REASONS]
    shown = sorted({*inputs.lost, *inputs.kept}, key=lambda name: order.index(name) if name in order else len(order))
    return [
        {
            "name": _named(reason)[0],
            "frames": [
                {"address": data_uri(frame.jpeg), "words": f"{frame.trial}, frame {frame.frame_index}"}
                for frame in inputs.lost.get(reason, [])
            ],
            "faces": [] if reason in inputs.lost else inputs.kept[reason],
        }
        for reason in shown
    ]


def _named(reason: str) -> tuple[str, str]:
    return REASONS[Drop(reason)] if reason in set(Drop) else (reason, "")


def _dropped_trials(drops: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of the drop table, losses first, the most frames first."""
    ranked = drops.assign(planned=drops["reason"].isin([str(reason) for reason in BY_CHOICE]))
    ranked = ranked.sort_values(["planned", "frames", "trial", "reason"], ascending=[True, False, True, True])
    rows = ranked.head(MOST_ROWS).to_dict("records")
    return [{str(key): value for key, value in row.items()} | {"name": _named(row["reason"])[0]} for row in rows]


def _disagreeing(trials: pd.DataFrame) -> dict[str, Any]:
    """Trials whose rows are not as many as the video's frames (as decoded, else as declared): how many, by how much."""
    frames = trials["decoded_frames"] if "decoded_frames" in trials else trials["declared_frames"]
    known = {name: trials.get(name, "") for name in ("action", "note", "undecodable_frames")}
    compared = trials.assign(frames=frames, surplus=trials["rows"] - frames, **known)
    odd = compared[(compared["surplus"] != 0) | (compared["undecodable_frames"] != "")]
    ranked = odd.sort_values("surplus", key=lambda column: -column.abs(), kind="stable")
    surplus = compared["surplus"]
    kinds = {
        "as many rows as frames": surplus == 0,
        "one row too many": surplus == 1,
        "more than one too many": surplus > 1,
        "fewer rows than frames": surplus < 0,
    }
    rows = ranked.head(MOST_ROWS).to_dict("records")
    return {
        "trials": len(odd),
        "kinds": [{"name": name, "trials": int(chosen.sum())} for name, chosen in kinds.items()],
        "rows": [
            {str(key): value for key, value in row.items()} | {"lost": len(str(row["undecodable_frames"]).split())}
            for row in rows
        ],
        "beyond": max(0, len(odd) - MOST_ROWS),
    }
