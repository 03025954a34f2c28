"""Made-up results of a tiny shard set, with hostile names, and a reader of pages."""

import io
import json
import tarfile
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from pipeline.contract import DROP_COLUMNS, MISMATCH_COLUMNS, SAMPLE_COLUMNS, Drop, sample_key
from pipeline.files import digest_of, write_json
from pipeline.tables import write_table
from train.report.revision import Revision

CLASSES = ["Neutral", "Ärger & Wut", "<script>alert(1)</script>", "Quote\"'s"]
HOSTILE_VIDEO = '"><img src=x onerror=alert(1)>é'
PARAMS: dict[str, Any] = {
    "dataset": "tiny",
    "method": "cct",
    "backbone": "resnet18",
    "image_size": 64,
    "batch_size": 16,
    "noise_kind": "none",
    "noise_rate": 0.0,
    "noise_unit": "segment",
    "init": None,
    "epochs": 3,
    "rampup": 2.0,
    "after_rampup": "hold",
    "compat": "paper",
    "lambda_max": 0.9,
    "index": {"layout": "affwild2"},
    "report": {"faces_per_class": 3},
    "shard": {"effective_beta": 0.999},
}
RUN = {
    "manifest_sha256": "0123abcd" * 8,
    "versions": {"torch": "2.14.1", "opencv": "4.14.0"},
    "revision": Revision("beef" * 10, ("train/<b>loop</b>.py",)),
}
VOID = {"meta", "link", "img", "br", "wbr"}


class Page(HTMLParser):
    """Elements, ids, addresses and text of a page; notes what is not closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.handlers: list[str] = []
        self.words: list[str] = []
        self.pictures = 0
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("src", "href", "srcset", "action", "data", "poster"):
                self.addresses.append(value or "")
            if name.startswith("on"):
                self.handlers.append(name)
        self.pictures += tag == "img"

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> does not close the innermost element"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        """The page's words, single-spaced."""
        return " ".join(" ".join(self.words).split())


def jpeg(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).resize((224, 224)).save(stream, "JPEG")
    return stream.getvalue()


def write_shard(path: Path, samples: pd.DataFrame) -> None:
    """These samples in a tar, whole; fills in their offsets and sizes."""
    with tarfile.open(path, "w") as archive:
        for position, (key, label) in enumerate(zip(samples["key"], samples["label"], strict=True)):
            record = json.dumps(record_of(position)).encode()
            for name, content in (("jpg", jpeg(position)), ("cls", str(label).encode()), ("json", record)):
                member = tarfile.TarInfo(f"{key}.{name}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    with tarfile.open(path) as archive:
        members = [member for member in archive.getmembers() if member.name.endswith(".jpg")]
    samples["offset"] = [member.offset_data for member in members]
    samples["size"] = [member.size for member in members]
    samples["shard"] = path.name


def record_of(position: int) -> dict[str, Any]:
    """What is known of a sample: its numbers tell its position."""
    return {
        "box": [0.0, 0.0, 40.0 + position, 40.0 + position],
        "probability": 0.9 + position / 100,
        "pose": None if position == 3 else {"yaw": float(position), "pitch": -1.0, "roll": 2.0},
        "quality": {"brightness": 100.0 + position, "sharpness": 10.0 * position, "interocular": None},
    }


def sample_rows(split: str, labels: list[int], videos: list[str]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "key": [sample_key(trial, 7 * position) for position, trial in enumerate(videos)],
            "split": split,
            "trial": videos,
            "video": videos,
            "subject": "",
            "frame_index": [7 * position for position in range(len(labels))],
            "label": labels,
        }
    )


def scores(f1: float) -> dict[str, Any]:
    return {
        "f1": f1,
        "accuracy": f1 + 0.1,
        "score": f1 + 0.033,
        "f1_per_class": dict(zip(CLASSES, (f1, 0.5, 0.0, 0.25), strict=True)),
        "f1_batch_averaged": f1 - 0.05,
    }


def write_results(folder: Path) -> tuple[Path, Path]:
    """A shard set and its results: class 2 is absent from val, class 3 from train."""
    shard_set, results = folder / "shards", folder / "results"
    shard_set.mkdir()
    results.mkdir()
    train_labels, val_labels = [0, 0, 0, 0, 1, 1, 2, 0], [0, 1, 3, 1, 0, 0]
    train = sample_rows("train", train_labels, ["a", "a", "a", "b", "a", "b", "a", "c"])
    val = sample_rows("val", val_labels, [HOSTILE_VIDEO, HOSTILE_VIDEO, "NA", "NA", "NA", HOSTILE_VIDEO])
    write_shard(shard_set / "train-000000.tar", train)
    write_shard(shard_set / "val-000000.tar", val)
    write_table(shard_set / "samples.parquet", pd.concat([train, val]), SAMPLE_COLUMNS)
    write_json(shard_set / "manifest.json", manifest(train_labels, val_labels))
    write_json(results / "evaluation.json", evaluation())
    predictions = val[["key", "video", "label"]].assign(
        prediction=[0, 0, 1, 0, 1, 1], confidence=[0.99, 0.91, 0.82, 0.73, 0.64, 0.95]
    )
    predictions.to_parquet(results / "predictions.parquet")
    training().to_csv(results / "training.csv", index=False)
    write_table(shard_set / "drops.csv", drop_rows(), DROP_COLUMNS)
    write_table(shard_set / "trials.csv", trial_rows(), MISMATCH_COLUMNS)
    return shard_set, results


def manifest(train: list[int], val: list[int]) -> dict[str, Any]:
    shard = {"bytes": 10240, "sha256": "f" * 64, "classes": []}
    content = {
        "format": 1,
        "dataset": "tiny",
        "classes": CLASSES,
        "picture": {"width": 224, "height": 224, "encoding": "jpeg"},
        "splits": {
            split: {"samples": len(labels), "classes": []} for split, labels in (("train", train), ("val", val))
        },
        "shards": [
            shard | {"name": "train-000000.tar", "split": "train", "samples": len(train)},
            shard | {"name": "val-000000.tar", "split": "val", "samples": len(val)},
        ],
        "files": {},
        "params": {},
        "versions": {},
    }
    return content | {"digest": digest_of(content)}


def evaluation() -> dict[str, Any]:
    return {
        "dataset": "tiny",
        "split": "val",
        "classes": CLASSES,
        "samples": 6,
        "videos": 2,
        "epoch": 2,
        "ensemble": scores(0.4321),
        "networks": [scores(0.3111), scores(0.3222)],
        "networks_mean": {"f1": 0.31665, "accuracy": 0.41665, "score": 0.34965},
        "interval": {
            "level": 0.95,
            "unit": "video",
            "resamples": 100,
            "f1": [0.2011, 0.6022],
            "accuracy": [0.3011, 0.7022],
            "score": [0.2411, 0.6422],
        },
        "best": {"epoch": 1, "ensemble": scores(0.5678), "networks": [scores(0.4111), scores(0.4222)]},
        "confusion": [[1, 2, 0, 0], [2, 0, 0, 0], [0, 0, 0, 0], [0, 1, 0, 0]],
        "calibration_error": 0.1357,
        "per_video": [
            {"video": HOSTILE_VIDEO, "samples": 3, "accuracy": 0.7654, "f1": 0.6543},
            {"video": "NA", "samples": 3, "accuracy": 0.1234, "f1": 0.2345},
        ],
    }


def training() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "epoch": [0, 1, 2],
            "lambda": [0.1, 0.5, 0.9],
            "lr_backbone": 0.001,
            "loss": [6.1234, 3.2, 1.5],
            "supervision": [6.0, 4.0, 3.0],
            "consistency": [0.2, 0.1, 0.05],
            "train_accuracy": [0.3, 0.5, 0.8],
            "val_f1": [0.2, 0.5678, 0.4321],
            "val_accuracy": [0.3, 0.66, 0.53],
            "val_f1_1": [0.1, 0.2, 0.3111],
            "val_f1_2": [0.1, 0.2, 0.3222],
            "agree_all": [0.4, 0.6, 0.9],
            "seconds": [61.0, 60.0, 59.0],
        }
    )


def drop_rows() -> list[dict[str, object]]:
    common = {"stage": "align", "split": "train"}
    return [
        common | {"trial": "NA", "reason": str(Drop.NO_FACE), "frames": 1234, "detail": "<b>dark</b>"},
        common | {"trial": "b", "reason": str(Drop.NOT_SAMPLED), "frames": 66, "detail": ""},
        common | {"trial": "z", "split": "", "reason": str(Drop.VIDEO_MISSING), "frames": 0, "detail": "no z"},
        common | {"trial": "y", "reason": "of_a_later_version", "frames": 5, "detail": ""},
    ]


def trial_rows() -> list[dict[str, object]]:
    row: dict[str, object] = dict.fromkeys(MISMATCH_COLUMNS, "") | {
        name: 0 for name, kind in MISMATCH_COLUMNS.items() if kind != "string"
    }
    same = row | {"trial": "a", "split": "train", "rows": 50, "decoded_frames": 50, "declared_frames": 51}
    other = row | {"trial": "b", "split": "train", "rows": 97, "decoded_frames": 99, "action": "trimmed"}
    return [same, other]
