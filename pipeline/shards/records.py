"""Samples' json: the bytes of a JSON encoder with sorted keys, in a third of its time."""

import json
import math
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from pipeline.contract import BOX_COLUMNS, LANDMARKS, POINT_COLUMNS, POSE_COLUMNS, UserError
from pipeline.marks import MARK_COLUMNS, NO_LISTED_LABEL

_POINTS = ",".join(f"[%({name}_x)r,%({name}_y)r]" for name in LANDMARKS)
_POSE = '{"pitch":%(pitch)r,"roll":%(roll)r,"yaw":%(yaw)r}'
_RECORD = (
    '{%(action_units)s%(arousal)s"box":[%(x0)r,%(y0)r,%(x1)r,%(y1)r],"frame":%(frame_index)d,'
    f'"interpolated":%(interpolated)s,"landmarks":[{_POINTS}],%(listed_label)s%(picture)s"pose":{_POSE},'
    '"probability":%(probability)s,"quality":{"brightness":%(brightness)r,"interocular":%(interocular)r,'
    '"sharpness":%(sharpness)r},"source":%(source)s,"subject":%(subject)s,"track":%(track)d,'
    '"trial":%(trial)s%(valence)s,"video":%(video)s%(votes)s}'
)
"""Boxes and landmarks are in pixels of the upright video frame, the pose in degrees. What is known of some samples only
has no key in the others."""

_WHOLE_RECORD = _RECORD.replace(f"[{_POINTS}]", "null").replace(_POSE, "null").replace("%(interocular)r", "null")
"""Of a crop that was taken as it is: nobody knows its landmarks."""

_MEASURES = (*BOX_COLUMNS, "brightness", "sharpness")


def records(samples: pd.DataFrame, source: str) -> Iterator[bytes]:
    """The json of each sample (`PLACED_COLUMNS`, and any of `MARK_COLUMNS`).

    Raises:
        UserError: if a number is not finite, for which JSON has no word.
    """
    is_whole = samples[list(POINT_COLUMNS)].isna().all(axis=None)
    measures = _MEASURES if is_whole else (*_MEASURES, *POINT_COLUMNS, *POSE_COLUMNS)
    if not np.isfinite(samples[list(measures)].to_numpy()).all() or np.isinf(samples["probability"]).any():
        raise UserError("a landmark or measure is not finite; run `dvc repro --force --single-item align`")
    fields: dict[str, list[Any]] = {str(name): column.tolist() for name, column in samples.items()}
    for name in ("video", "trial", "subject"):
        quoted = {text: json.dumps(text) for text in set(fields[name])}
        fields[name] = [quoted[text] for text in fields[name]]
    eyes = zip(*(fields[name] for name in POINT_COLUMNS[:4]), strict=True)
    fields["interocular"] = [round(math.dist((x0, y0), (x1, y1)), 3) for x0, y0, x1, y1 in eyes]
    fields["interpolated"] = ["true" if interpolated else "false" for interpolated in fields["interpolated"]]
    fields["probability"] = ["null" if math.isnan(number) else repr(number) for number in fields["probability"]]
    fields["source"] = [json.dumps(source)] * len(samples)
    for name in MARK_COLUMNS:
        fields[name] = _marks(fields[name], name) if name in fields else [""] * len(samples)
    record = _WHOLE_RECORD if is_whole else _RECORD
    template = re.sub(r"\(\w+\)", "", record)
    rows = zip(*(fields[name] for name in re.findall(r"\((\w+)\)", record)), strict=True)
    return ((template % row).encode() for row in rows)


def told_marks(samples: pd.DataFrame) -> list[dict[str, Any]]:
    """What the json of each sample says of those of `MARK_COLUMNS` that the table has; None where it has no such key.

    Raises:
        ValueError: if action units or votes are not what they should be.
    """
    told: list[dict[str, Any]] = [{} for _ in range(len(samples))]
    for name in samples.columns.intersection(list(MARK_COLUMNS)):
        read = _READ.get(name, _as_it_is)
        for marks, value in zip(told, samples[name].tolist(), strict=True):
            marks[name] = None if _is_absent(value, name) else read(value)
    return told


def _as_it_is(value: Any) -> Any:
    return value


def _marks(values: list[Any], name: str) -> list[str]:
    """Each sample's key and value with a comma at the right side, or nothing."""
    leading = name in ("valence", "votes")  # what stands before them is always there
    shape = f',"{name}":%s' if leading else f'"{name}":%s,'
    read = _READ.get(name, _as_it_is)
    return ["" if _is_absent(value, name) else shape % _text(read(value)) for value in values]


def _is_absent(value: Any, name: str) -> bool:
    if name == "listed_label":
        return bool(value == NO_LISTED_LABEL)
    return value is None or (isinstance(value, float) and math.isnan(value))


def _units(text: str) -> dict[str, int]:
    """`AU1=0 AU12=1` by unit."""
    return {unit: int(active) for unit, active in (pair.split("=") for pair in text.split())}


def _counts(votes: Any) -> list[int]:
    return [int(count) for count in votes]


_READ: dict[str, Callable[[Any], Any]] = {"action_units": _units, "votes": _counts}
"""From the table to the json, where the two differ."""


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
