"""What the report is made of, and its loading."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline import files, tables
from pipeline.contract import DROP_COLUMNS, SAMPLE_COLUMNS, STILL_LAYOUTS, TRIAL_COLUMNS, Paths, UserError
from pipeline.shards.manifest import SAMPLES, read_manifest
from pipeline.statistics import balance_report
from pipeline.streaming.feed import Feed
from train.report.examples import LostFrame, kept_faces, lost_frames
from train.report.pictures import Face, confident_mistakes, contact_sheet, thumbnails
from train.report.quality import read_quality
from train.report.reasons import BY_CHOICE

PREDICTION_COLUMNS = {
    "key": "string",
    "video": "string",
    "label": "int64",
    "prediction": "int64",
    "confidence": "double",
}
TRAINING_COLUMNS = ("epoch", "loss", "val_f1", "val_accuracy")
"""What training.csv must have; the report shows what else it finds there."""

_TYPES = {"string": "str", "int64": "int64", "double": "float64"}


@dataclass(frozen=True, kw_only=True)
class ReportInputs:
    """Everything that the page shows.

    Attributes:
        manifest: of the shard set.
        samples: sample table of the shard set, in stored order.
        drops: `DROP_COLUMNS`.
        trials: `TRIAL_COLUMNS`, and `decoded_frames` and `action` where decoding has been compared.
        balance: by split, as in `results/balance.json`.
        training: one row an epoch.
        evaluation: as in `results/evaluation.json`.
        predictions: `PREDICTION_COLUMNS`, of the evaluated split.
        params: all parameters, nested by group.
        run: `manifest_sha256` and `versions`.
        pictures: small JPEGs by sample key; a face without one is shown as a blank.
        quality: as `quality.read_quality` gives it.
        kept: by reason for leaving out, faces that were kept of the trials concerned.
        lost: by reason, frames that were left out, where this machine has them.
    """

    manifest: Mapping[str, Any]
    samples: pd.DataFrame
    drops: pd.DataFrame
    trials: pd.DataFrame
    balance: Mapping[str, Any]
    training: pd.DataFrame
    evaluation: Mapping[str, Any]
    predictions: pd.DataFrame
    params: Mapping[str, Any]
    run: Mapping[str, Any]
    pictures: Mapping[str, bytes]
    quality: pd.DataFrame
    kept: Mapping[str, list[Face]]
    lost: Mapping[str, list[LostFrame]]

    @property
    def is_of_stills(self) -> bool:
        """Whether the samples are pictures by themselves, so that no frames and videos are to be spoken of."""
        return (self.params.get("index") or {}).get("layout") in STILL_LAYOUTS


def load_inputs(
    shard_set: Path,
    results: Path,
    *,
    params: Mapping[str, Any],
    run: Mapping[str, Any],
    local: Paths | None = None,
    feed: Feed | None = None,
) -> ReportInputs:
    """Reads the tables of a shard set and of `results/`, and the faces that the page will show.

    Args:
        shard_set: folder of the shards.
        results: folder of the results.
        params: all parameters.
        run: as in `ReportInputs`.
        local: where frames that were left out may still lie.
        feed: what brings the shards, if they are streamed.

    Raises:
        UserError: naming a file that is absent, damaged or lacks a column.
    """
    manifest = read_manifest(shard_set)
    samples = tables.read_table(shard_set / SAMPLES, SAMPLE_COLUMNS)
    predictions = tables.read_table(results / "predictions.parquet", PREDICTION_COLUMNS)
    sheet = contact_sheet(samples, len(manifest["classes"]), params["report"]["faces_per_class"])
    drops = _read_csv(shard_set / "drops.csv", DROP_COLUMNS)
    kept = kept_faces(drops, samples, sorted(set(drops["reason"]) - set(BY_CHOICE)))
    shown = [face.key for row in (*sheet, *kept.values()) for face in row]
    shown += [mistake.face.key for mistake in confident_mistakes(predictions, samples)]
    return ReportInputs(
        manifest=manifest,
        samples=samples,
        drops=drops,
        trials=_read_csv(shard_set / "trials.csv", TRIAL_COLUMNS),
        balance=balance_report(samples, manifest["classes"], effective_beta=params["shard"]["effective_beta"]),
        training=_read_csv(results / "training.csv", dict.fromkeys(TRAINING_COLUMNS, "double")),
        evaluation=files.read_json(results / "evaluation.json"),
        predictions=predictions,
        params=params,
        run=run,
        pictures=thumbnails(shard_set, shown, feed=feed),
        quality=read_quality(shard_set, feed=feed),
        kept=kept,
        lost=lost_frames(local, drops) if local else {},
    )


def _read_csv(path: Path, columns: Mapping[str, str]) -> pd.DataFrame:
    """Reads a CSV that must have these columns. Text stays as it is written: `NA` is a name."""
    numbers = [name for name, kind in columns.items() if kind != "string"]
    text = {name: _TYPES[kind] for name, kind in columns.items() if kind == "string"}
    try:
        frame = pd.read_csv(path, dtype=text, keep_default_na=False, na_values={name: [""] for name in numbers})
        missing = [name for name in columns if name not in frame.columns]
        if missing:
            raise ValueError(f"it lacks {', '.join(missing)}")
        return frame.astype({name: _TYPES[columns[name]] for name in numbers})
    except FileNotFoundError:
        raise UserError(f"{path} not found; run `dvc repro`, or `dvc pull` if a teammate built it") from None
    except (ValueError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path} is damaged or of another version ({reason}); delete it and run `dvc repro`") from None
