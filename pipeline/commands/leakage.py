"""`cct leakage`: pictures that shard sets share, across sets and across splits."""

import contextlib
import itertools
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from pipeline import tables
from pipeline.contract import UserError
from pipeline.params import PARAMS_FILE
from pipeline.shards import leakage as search
from pipeline.shards.manifest import MANIFEST
from pipeline.shards.twins import MOST_DISTANCE
from pipeline.shards.verification import require_verified
from pipeline.store import WorkStore, work_store


def leakage(
    folders: Annotated[list[Path], typer.Argument(help="Shard sets: folders that hold manifest.json.")],
    distance: Annotated[
        int, typer.Option(min=0, max=MOST_DISTANCE, help="Bits of 128 in which near twins may differ; 0: hardly any.")
    ] = 7,
    out: Annotated[Path | None, typer.Option(help="CSV file that lists the pictures.")] = None,
) -> None:
    """Looks for training pictures that an evaluation split of the same or another set has too, exactly or nearly.

    Pictures that two sets both train on are listed as well. Exit code 1 if a picture is trained on and evaluated on.

    Example: cct leakage data/shards/demo data/shards/rafdb --out shared.csv
    """
    sets = {folder.resolve().name: folder for folder in folders}
    if len(sets) < len(folders):
        raise UserError("two of the shard sets have the same name, or one is named twice; name each once")
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"{folder} is not a folder; name one that holds {MANIFEST}")
        require_verified(folder)
    with _store() as store, store.in_use():
        leaks = search.leaks(sets, sets, distance=distance, store=store, within=True)
        doubles = search.doubles(sets, distance=distance, store=store)
    for line in itertools.chain(search.told(leaks), search.told(doubles)):
        print(line)
    if out is not None:
        rows = search.joined([leaks, doubles])
        tables.write_table(out, rows, search.TWIN_COLUMNS)
    if len(leaks):
        sys.exit(1)
    print("no picture is both trained on and evaluated on")


@contextlib.contextmanager
def _store() -> Iterator[WorkStore]:
    """The project's work store; one that goes away where there is no project, as in the folder of a set."""
    if os.environ.get("CCT_STORE") or PARAMS_FILE.exists():
        yield work_store()
        return
    with tempfile.TemporaryDirectory() as folder:
        yield WorkStore(Path(folder))
