"""Stretches of frames whose label is probably wrong: the table that the audit writes and `cct review` goes through."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from pipeline import tables
from pipeline.contract import RESULTS, UserError

SUSPECTS = RESULTS / "suspects.csv"

_FIXED = {
    "dataset": "string",
    "trial": "string",
    "video": "string",
    "first_frame": "int64",
    "last_frame": "int64",
    "samples": "int64",
    "given": "string",
    "suggested": "string",
    "score": "double",
    "confidence": "double",
    "agreement": "double",
    "course": "double",
    "confident": "double",
}


def suspect_columns(classes: Sequence[str]) -> dict[str, str]:
    """The table's columns: one row a stretch of one trial with one label, the most suspect first.

    `samples` of its frames are in the training set. `score` in [0, 1] says how likely the label is wrong. `suggested`
    is the ensemble's class, `confidence` its mean probability of that class, `agreement` the mean share of networks
    that name it. `course` in [0, 1] says how likely the label is wrong by the course of training, empty where nobody
    recorded it; `confident` is the share of its samples that confident learning names. Then follows the ensemble's mean
    probability of every class under its name.
    """
    return _FIXED | dict.fromkeys(classes, "double")


def write_suspects(path: Path, rows: pd.DataFrame, classes: Sequence[str]) -> None:
    """Publishes the table."""
    tables.write_table(path, rows, suspect_columns(classes))


def read_suspects(path: Path, classes: Sequence[str]) -> pd.DataFrame:
    """The table as it was written; raises `UserError` if it is absent, damaged or of other classes."""
    columns = suspect_columns(classes)
    kinds = {"string": "str", "int64": "int64", "double": "float64"}
    try:
        table = pd.read_csv(
            path,
            keep_default_na=False,
            na_values={"course": [""]},
            dtype={name: kinds[kind] for name, kind in columns.items()},
        )
        return table[list(columns)]
    except FileNotFoundError:
        raise UserError(f"{path} not found; make it with `dvc repro audit`") from None
    except (ValueError, KeyError) as error:
        raise UserError(f"{path} is damaged or of another version ({error}); run `dvc repro --force audit`") from None
