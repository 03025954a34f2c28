"""Samples' json: the bytes of a JSON encoder with sorted keys, column by column in a fraction of its time."""

import json
import math
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.contract import BOX_COLUMNS, LANDMARKS, POINT_COLUMNS, POSE_COLUMNS, UserError
from pipeline.marks import MARK_COLUMNS, NO_LISTED_LABEL

_POINTS = ",".join(f"[%({name}_x)s,%({name}_y)s]" for name in LANDMARKS)
_POSE = '{"pitch":%(pitch)s,"roll":%(roll)s,"yaw":%(yaw)s}'
_RECORD = (
    '{%(action_units)s%(arousal)s"box":[%(x0)s,%(y0)s,%(x1)s,%(y1)s],"frame":%(frame_index)s,'
    f'"interpolated":%(interpolated)s,"landmarks":[{_POINTS}],%(listed_label)s%(picture)s"pose":{_POSE},'
    '"probability":%(probability)s,"quality":{"brightness":%(brightness)s,"interocular":%(interocular)s,'
    '"sharpness":%(sharpness)s},"source":%(source)s,"subject":%(subject)s,"track":%(track)s,'
    '"trial":%(trial)s%(valence)s,"video":%(video)s%(votes)s}'
)
"""Boxes and landmarks are in pixels of the upright video frame, the pose in degrees. What is known of some samples only
has no key in the others."""

_WHOLE_RECORD = _RECORD.replace(f"[{_POINTS}]", "null").replace(_POSE, "null").replace("%(interocular)s", "null")
"""Of a crop that was taken as it is: nobody knows its landmarks."""

_SMALL, _LARGE = 1e-4, 1e10
"""Numbers in between are written without an exponent."""

_MEASURES = (*BOX_COLUMNS, "brightness", "sharpness")

_PIECE = 4096
"""Samples whose texts are held at once."""


def records(samples: pd.DataFrame, source: str) -> Iterator[bytes]:
    """The json of each sample (`PLACED_COLUMNS`, and any of `MARK_COLUMNS`).

    Raises:
        UserError: if a number is not finite, for which JSON has no word.
    """
    is_whole = bool(samples[list(POINT_COLUMNS)].isna().all(axis=None))
    measures = _MEASURES if is_whole else (*_MEASURES, *POINT_COLUMNS, *POSE_COLUMNS)
    if not np.isfinite(samples[list(measures)].to_numpy()).all() or np.isinf(samples["probability"]).any():
        raise UserError("a landmark or measure is not finite; run `dvc repro --force --single-item align`")
    literals_and_names = re.split(r"%\((\w+)\)s", _WHOLE_RECORD if is_whole else _RECORD)
    for begin in range(0, len(samples), _PIECE):
        told = _texts(samples.iloc[begin : begin + _PIECE], source, is_whole=is_whole)
        parts = [told[part] if place % 2 else part for place, part in enumerate(literals_and_names)]
        yield from _joined(*parts).cast(pa.binary()).to_pylist()


def _texts(samples: pd.DataFrame, source: str, *, is_whole: bool) -> dict[str, Any]:
    """What each field of the template is for each sample, or for all."""
    told: dict[str, Any] = {"source": json.dumps(source)}
    for name in (*_MEASURES, "probability", *(() if is_whole else (*POINT_COLUMNS, *POSE_COLUMNS))):
        told[name] = _numbers(samples[name].to_numpy(np.float64))
    for name in ("frame_index", "track"):
        told[name] = pa.array(samples[name].to_numpy()).cast(pa.string())
    for name in ("video", "trial", "subject"):
        texts = samples[name].tolist()
        quoted = {text: json.dumps(text) for text in set(texts)}
        told[name] = pa.array([quoted[text] for text in texts])
    told["interpolated"] = pa.array(np.where(samples["interpolated"], "true", "false"))
    if not is_whole:
        eyes = zip(*(samples[name].tolist() for name in POINT_COLUMNS[:4]), strict=True)
        apart = [round(math.dist((x0, y0), (x1, y1)), 3) for x0, y0, x1, y1 in eyes]
        told["interocular"] = _numbers(np.array(apart))
    for name in MARK_COLUMNS:
        told[name] = pa.array(_marks(samples[name].tolist(), name)) if name in samples else ""
    return told


def _numbers(values: NDArray[np.float64]) -> Any:
    """Numbers as JSON encoders write them, which is as Python does; `null` for NaN.

    Arrow finds the same shortest digits in a tenth of the time, but leaves out `.0` and has its own exponents.
    """
    text = pa.array(values).cast(pa.string())
    is_whole = values == np.rint(values)
    if is_whole.any():
        text = pc.if_else(is_whole, _joined(text, ".0"), text)
    size = np.abs(values)
    is_odd = ~((size >= _SMALL) & (size < _LARGE) | (size == 0))
    if is_odd.any():
        odd = ["null" if math.isnan(value) else repr(value) for value in values[is_odd].tolist()]
        text = pc.replace_with_mask(text, is_odd, pa.array(odd, pa.string()))
    return text


def _joined(*parts: Any) -> Any:
    """Texts of the same samples, or one text for all of them, one behind another."""
    separated: list[Any] = [*parts, ""]
    return pc.binary_join_element_wise(*separated)


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
