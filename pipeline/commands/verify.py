"""`cct verify`: every byte of a shard set against its manifest."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from pipeline.contract import UserError
from pipeline.shards import verification
from pipeline.shards.manifest import MANIFEST, read_manifest


def verify(
    folder: Annotated[Path, typer.Argument(help="A shard set: the folder that holds manifest.json.")],
) -> None:
    """Checks every byte of a shard set against its manifest; exit code 0 only if all are right.

    Example: cct verify data/shards/demo
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder; name one that holds {MANIFEST}")
    problems = verification.verify(folder)
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        sys.exit(1)
    manifest = read_manifest(folder)
    samples = sum(split["samples"] for split in manifest["splits"].values())
    print(f"{folder}: {len(manifest['shards'])} shards, {samples} samples, every byte as in the manifest")
