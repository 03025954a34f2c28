"""The tables of the CCT paper (Gera and Balasubramanian, Aff-Wild2 2021), to be printed beside one's own.

All are of Aff-Wild2, seven classes.
"""

from dataclasses import dataclass
from typing import Literal

DATASETS = ("affwild2", "affwild2-cropped")
"""What the presets call the set that the figures are of: its videos, and its official crops."""

CLASSES = 7


def not_comparable(dataset: str, classes: int) -> str | None:
    """Why figures on a set with so many classes cannot be compared with the paper's; None if they can."""
    if dataset not in DATASETS:
        return f"This run used the dataset {dataset}, the paper Aff-Wild2: the figures are not comparable."
    if classes != CLASSES:
        return f"The paper has seven classes, this run {classes}: the figures are not comparable."
    return None


@dataclass(frozen=True)
class Row:
    """Published figures, in [0, 1]: macro-F1, accuracy, and score = 0.67 F1 + 0.33 accuracy (Eq. 7)."""

    method: str
    f1: float
    accuracy: float
    score: float


@dataclass(frozen=True)
class Table:
    """One table of the paper; `column` heads the names of its rows."""

    number: int
    title: str
    split: Literal["validation", "test"]
    column: str
    rows: tuple[Row, ...]


TABLES = (
    Table(
        1,
        "CCT and the baseline",
        "validation",
        "Method",
        (Row("Baseline", 0.30, 0.50, 0.366), Row("CCT", 0.4040, 0.6378, 0.4814)),
    ),
    Table(
        2,
        "Entries of the challenge",
        "test",
        "Method",
        (
            Row("Baseline", 0.26, 0.46, 0.326),
            Row("Kawakarpo", 0.29, 0.6491, 0.4082),
            Row("NTUA-CVSP", 0.3367, 0.6418, 0.4374),
            Row("Morphoboid", 0.3511, 0.668, 0.4556),
            Row("FLAB2021", 0.4079, 0.6729, 0.4953),
            Row("STAR", 0.4759, 0.7321, 0.5604),
            Row("Maybe Next Time", 0.6046, 0.7289, 0.6456),
            Row("CPIC-DIR2021", 0.6834, 0.7709, 0.7123),
            Row("Netease Fuxi Virtual Human", 0.763, 0.8059, 0.7777),
            Row("CCT", 0.361, 0.675, 0.4646),
        ),
    ),
    Table(
        3,
        "Number of networks",
        "validation",
        "Networks, pre-trained on AffectNet",
        (
            Row("1", 0.3311, 0.5705, 0.41),
            Row("2", 0.3744, 0.621, 0.456),
            Row("3", 0.4040, 0.6378, 0.4814),
            Row("4", 0.366, 0.613, 0.447),
        ),
    ),
    Table(
        4,
        "Shape of the ramp-up",
        "validation",
        "β, pre-trained on AffectNet",
        (
            Row("0.1", 0.352, 0.593, 0.432),
            Row("0.65", 0.378, 0.609, 0.454),
            Row("1.0", 0.390, 0.6378, 0.472),
            Row("1.5", 0.378, 0.6269, 0.460),
            Row("2.0", 0.3969, 0.6160, 0.469),
            Row("3.0", 0.4051, 0.6226, 0.4769),
            Row("4.0", 0.4040, 0.6378, 0.4814),
            Row("5.0", 0.3931, 0.6387, 0.4742),
        ),
    ),
    Table(
        5,
        "Pre-training",
        "validation",
        "Pre-trained on",
        (
            Row("MS-Celeb-1M", 0.378, 0.609, 0.454),
            Row("RAF-DB", 0.383, 0.615, 0.460),
            Row("AffectNet", 0.4040, 0.6378, 0.4814),
        ),
    ),
    Table(
        6,
        "Oversampling",
        "validation",
        "Oversampling, pre-trained on MS-Celeb-1M",
        (Row("Without", 0.378, 0.609, 0.454), Row("With", 0.357, 0.58, 0.43)),
    ),
    Table(
        7,
        "Consistency loss",
        "validation",
        "Loss, pre-trained on MS-Celeb-1M",
        (Row("CE", 0.3634, 0.610, 0.445), Row("CE + consistency", 0.378, 0.609, 0.454)),
    ),
)
"""Tables 1 to 7, in order."""
