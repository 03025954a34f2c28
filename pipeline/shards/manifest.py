"""The manifest of a shard set: every file with its bytes and digest, counts, and what the bytes depend on."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, MinLen
from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from pipeline import files
from pipeline.contract import FACE_SIZE, UserError
from pipeline.libraries import recorded_versions
from pipeline.params import Params

MANIFEST = "manifest.json"
SAMPLES = "samples.parquet"
FORMAT = 1
_MOST_BYTES = 1 << 26
"""Of a manifest; one of five thousand shards has two million."""

Amount = Annotated[int, Ge(0)]
Split = Literal["train", "val", "test"]
ShardName = Annotated[str, StringConstraints(pattern=r"^(train|val|test)-[0-9]{6}\.tar$")]
TableName = Annotated[str, StringConstraints(pattern=r"^[a-z_]+\.(parquet|csv|json|md)$")]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class FileLine(_Part):
    """A file by its length and SHA-256."""

    bytes: Amount
    sha256: Digest


class ShardLine(FileLine):
    """A shard with its numbers of samples, all and a class."""

    name: ShardName
    split: Split
    samples: Amount
    classes: list[Amount]


class SplitLine(_Part):
    """Samples of a split, all and a class."""

    samples: Amount
    classes: list[Amount]


class Picture(_Part):
    """What every picture of the set is."""

    width: Annotated[int, Ge(1)]
    height: Annotated[int, Ge(1)]
    encoding: Literal["jpeg"]


class Manifest(_Part):
    """The whole of `manifest.json`; its names cannot lead out of the folder."""

    format: Literal[1]
    dataset: str
    classes: Annotated[list[str], MinLen(1)]
    picture: Picture
    splits: dict[Split, SplitLine]
    shards: list[ShardLine]
    files: dict[TableName, FileLine]
    params: dict[str, Any]
    versions: dict[str, str]
    digest: Digest


def write_manifest(folder: Path, params: Params, classes: Sequence[str], lines: Sequence[dict[str, Any]]) -> None:
    """Publishes `manifest.json`, last: digests of every file, counts, and what the bytes depend on."""
    described = sorted(path for path in folder.iterdir() if path.suffix != ".tar")
    splits: dict[str, dict[str, Any]] = {}
    for line in lines:
        split = splits.setdefault(line["split"], {"samples": 0, "classes": [0] * len(classes)})
        split["samples"] += line["samples"]
        split["classes"] = [a + b for a, b in zip(split["classes"], line["classes"], strict=True)]
    manifest = {
        "format": FORMAT,
        "dataset": params.dataset,
        "classes": list(classes),
        "picture": {"width": FACE_SIZE, "height": FACE_SIZE, "encoding": "jpeg"},
        "splits": splits,
        "shards": list(lines),
        "files": {path.name: {"bytes": path.stat().st_size, "sha256": files.digest_file(path)} for path in described},
        "params": {
            "index": params.index.model_dump(exclude={"raw", "annotations"}),
            "extract": params.extract.model_dump(),
            "align": params.align.model_dump(exclude={"device"}),
            "shard": params.shard.model_dump(),
        },
        "versions": recorded_versions(),
    }
    files.write_json(folder / MANIFEST, manifest | {"digest": files.digest_of(manifest)})


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a shard set, with the keys of `Manifest`.

    Raises:
        UserError: if it is absent, of another form, or not what was written.
    """
    path = folder / MANIFEST
    try:
        if not path.exists():
            raise UserError(f"{path} not found; run `dvc repro shard`, or `cct team pull` if it was built before")
        if not can_be_manifest(path):
            raise UserError(f"{path} is not a file, or too large for a manifest; {remedy(folder)}")
        manifest: dict[str, Any] = files.read_json(path)
        Manifest.model_validate(manifest)
        digest = files.digest_of({name: value for name, value in manifest.items() if name != "digest"})
        as_written = manifest["digest"] == digest and path.read_bytes() == files.json_text(manifest)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))[:200]
        raise UserError(f"{path}: {place!r}: {' '.join(first['msg'].split())}; {remedy(folder)}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not a manifest ({type(error).__name__}); {remedy(folder)}") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); {remedy(folder)}") from None
    if not as_written:
        raise UserError(f"{path}: its text is not what was written; {remedy(folder)}")
    return manifest


def can_be_manifest(path: Path) -> bool:
    """Whether a path is a file, and not too large: what may be read without waiting for a pipe or for hours."""
    return path.is_file() and path.stat().st_size <= _MOST_BYTES


def remedy(folder: Path) -> str:
    """What to do about a shard set that is not as it was written."""
    return (
        f"fetch {folder} again with `cct team pull --force`, or rebuild it with `dvc repro --force --single-item shard`"
    )
