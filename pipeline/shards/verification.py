"""A shard set against its manifest: every byte, and that the bytes are samples and nothing else.

Anybody can make a manifest with right digests, so names, tar headers, pictures and records are checked too.
"""

import json
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline import files, tables
from pipeline.contract import SAMPLE_COLUMNS, UserError, sample_key
from pipeline.images import jpeg_size
from pipeline.marks import MARK_COLUMNS
from pipeline.progress import Progress
from pipeline.shards import stamps
from pipeline.shards.manifest import MANIFEST, SAMPLES, read_manifest, remedy
from pipeline.shards.opened import JPEG_ENDS
from pipeline.shards.records import told_marks
from pipeline.tar import BLOCK, ExpectedMembers, UnexpectedMemberError

_LARGEST_PICTURE, _LONGEST_RECORD = 1 << 22, 1 << 16
_SMALLEST_SAMPLE, _LARGEST_ROW = 6 * BLOCK, 1 << 12
"""Bytes in a shard, and of the sample table when it is unpacked."""

_REPEATED = ("split", "trial", "video", "subject", "shard")


def require_verified(folder: Path) -> None:
    """Refuses a shard set that does not verify, naming what is wrong and what to run.

    One that was verified on this machine and not touched since is not read again (docs/decisions/015).
    """
    problems = [] if stamps.is_stamped(folder) else verify(folder)
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise UserError(f"{problems[0]}{more}; {remedy(folder)}")


def verify(folder: Path) -> list[str]:
    """Checks every byte of a shard set, and what the bytes say; stamps the set if all is right.

    Returns:
        One line a problem, each naming the file; empty if all is right.

    Raises:
        UserError: if there is no manifest that can be believed.
    """
    stamps.take_off(folder)
    before = stamps.observed(folder)
    problems = _problems(folder, read_manifest(folder))
    if not problems:
        stamps.put(folder, before)
    return problems


def _problems(folder: Path, manifest: dict[str, Any]) -> list[str]:
    problems, samples = checked_tables(folder, manifest)
    rows: dict[Hashable, pd.DataFrame] = {}
    if samples is not None:
        rows = dict(iter(samples.groupby("shard", observed=True)))
    with Progress("verify", len(manifest["shards"]), unit="shards") as progress:
        for line in manifest["shards"]:
            wrong = wrong_shard(folder / line["name"], line, rows.get(line["name"]), manifest["picture"])
            problems += [wrong] * bool(wrong)
            progress.step()
    known = {MANIFEST, *manifest["files"], *(line["name"] for line in manifest["shards"])}
    return problems + [f"{path}: not in the manifest" for path in sorted(folder.iterdir()) if path.name not in known]


def checked_tables(folder: Path, manifest: dict[str, Any]) -> tuple[list[str], pd.DataFrame | None]:
    """What is wrong with the files beside the shards, and the sample table if it can be believed."""
    problems = [wrong for name, line in manifest["files"].items() if (wrong := _wrong_bytes(folder / name, line))]
    if not problems and (wrong := _too_large(folder / SAMPLES, manifest)):
        problems.append(f"{folder / SAMPLES}: {wrong}")
    if problems:
        return problems, None
    samples = _sample_table(folder / SAMPLES)
    if wrong := _wrong_counts(samples, manifest):
        return [f"{folder / SAMPLES}: {wrong}"], None
    return [], samples


def wrong_shard(path: Path, line: dict[str, Any], rows: pd.DataFrame | None, picture: dict[str, Any]) -> str:
    """What is wrong with a shard, or nothing.

    Args:
        path: of the shard.
        line: of the manifest.
        rows: its part of the sample table, in stored order; None if that cannot be believed: members go unchecked.
        picture: what the manifest says of every picture.
    """
    wrong = _wrong_bytes(path, line)
    return wrong if wrong or rows is None else _wrong_members(path, rows, picture)


def sample_columns(path: Path) -> dict[str, str]:
    """`SAMPLE_COLUMNS`, and those of `MARK_COLUMNS` that a sample table has."""
    there = tables.column_names(path)
    return SAMPLE_COLUMNS | {name: kind for name, kind in MARK_COLUMNS.items() if name in there}


def _sample_table(path: Path) -> pd.DataFrame:
    columns = sample_columns(path)
    repeated = (*_REPEATED, *({"action_units"} & columns.keys()))
    return tables.read_table(path, columns, categories=repeated)


def _wrong_bytes(path: Path, line: dict[str, Any]) -> str:
    """What is wrong with a file's length or digest, or nothing."""
    if not path.exists():
        return f"{path}: missing"
    if not path.is_file():
        return f"{path}: not a regular file"
    if path.stat().st_size != line["bytes"]:
        return f"{path}: {path.stat().st_size} bytes, the manifest says {line['bytes']}"
    try:
        differs = files.digest_file(path) != line["sha256"]
    except OSError as error:
        return f"{path}: cannot be read ({error.strerror})"
    return f"{path}: its bytes are not those of the manifest (sha256 differs)" if differs else ""


def _too_large(path: Path, manifest: dict[str, Any]) -> str:
    """Why a sample table must not be read, or nothing: a small file can stand for more than there is memory."""
    rows, unpacked = tables.extent(path)
    if rows * _SMALLEST_SAMPLE > sum(line["bytes"] for line in manifest["shards"]):
        return "has more samples than fit into the shards"
    return "is too large for its samples" if unpacked > (rows + 1) * _LARGEST_ROW else ""


def _wrong_counts(samples: pd.DataFrame, manifest: dict[str, Any]) -> str:
    """What is wrong with the sample table, by itself and against the manifest, or nothing."""
    classes, lines, splits = len(manifest["classes"]), manifest["shards"], manifest["splits"]
    if samples[list(SAMPLE_COLUMNS)].isna().any(axis=None):
        return "has an empty cell"
    if not samples["label"].between(0, classes - 1).all():
        return f"has a label that is none of the {classes} classes"
    if samples.duplicated(["trial", "frame_index"]).any():
        return "has a sample twice"
    labels = samples.groupby(["split", "shard"], observed=True)["label"]
    counted = {place: np.bincount(group, minlength=classes).tolist() for place, group in labels}
    if counted != {(line["split"], line["name"]): line["classes"] for line in lines} or len(counted) != len(lines):
        return "its samples a shard and class are not those of the manifest"
    for line in (*lines, *splits.values()):
        if line["samples"] != sum(line["classes"]):
            return "the manifest's samples are not the sum of its classes"
    for split in {line["split"] for line in lines} | splits.keys():
        counts = [line["classes"] for line in lines if line["split"] == split]
        if split not in splits or splits[split]["classes"] != np.sum(counts, axis=0, dtype=int).tolist():
            return f"the manifest's samples of split {split} are not the sum of its shards"
    return ""


def _wrong_members(path: Path, rows: pd.DataFrame, picture: dict[str, Any]) -> str:
    """What is in a shard that does not belong there, or nothing: a sample is KEY.cls, KEY.jpg and KEY.json."""
    try:
        marks = told_marks(rows)
    except (ValueError, TypeError):
        return f"{path}: what {SAMPLES} says of its action units or votes cannot be read"
    with path.open("rb") as stream:
        members = ExpectedMembers(stream)
        try:
            for row, told in zip(rows.itertuples(index=False), marks, strict=True):
                if wrong := _wrong_sample(members, row, told, picture):
                    return f"{path}: sample {row.key!r}: {wrong}"
            members.finish()
        except UnexpectedMemberError as error:
            return f"{path}: {error}"
    return ""


def _wrong_sample(members: ExpectedMembers, row: Any, marks: dict[str, Any], picture: dict[str, Any]) -> str:
    key, label = sample_key(row.trial, row.frame_index), b"%d" % row.label
    if row.key != key:
        return f"must be called {key} after its trial and frame"
    if members.take(f"{key}.cls", most=len(label)) != label:
        return f"its .cls is not the label of {SAMPLES}, {row.label}"
    offset, jpeg = members.position + BLOCK, members.take(f"{key}.jpg", most=min(row.size, _LARGEST_PICTURE))
    if (offset, len(jpeg)) != (row.offset, row.size):
        return f"its .jpg is not where {SAMPLES} says"
    if not jpeg.endswith(JPEG_ENDS) or jpeg_size(jpeg) != (picture["width"], picture["height"]):
        return f"its .jpg is not a JPEG of {picture['width']} x {picture['height']} pixels"
    try:
        record = json.loads(members.take(f"{key}.json", most=_LONGEST_RECORD))
    except (ValueError, RecursionError):
        return "its .json cannot be read"
    named = ("video", row.video), ("trial", row.trial), ("subject", row.subject), ("frame", row.frame_index)
    if not isinstance(record, dict) or any(record.get(name) != value for name, value in named):
        return f"its .json is of another sample than {SAMPLES} says"
    if differing := [name for name, value in marks.items() if record.get(name) != value]:
        return f"{', '.join(differing)} in its .json is not what {SAMPLES} says"
    return ""
