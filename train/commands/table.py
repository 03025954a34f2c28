"""`cct table`: tables over many experiments, run and rendered."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.contract import RESULTS, UserError
from pipeline.files import publishing
from pipeline.params import Params
from train.tables.definition import Size, Table, build_table
from train.tables.experiments import finished_experiments, full_name
from train.tables.figure3 import figure3
from train.tables.filled import fill
from train.tables.locked import current_version
from train.tables.markdown import markdown, plot
from train.tables.memory import memory_curves
from train.tables.running import run_missing

FIGURE = "figure3"
OUT = RESULTS / "tables"


def table(
    name: Annotated[str, typer.Argument(help="A file of tables/ without its ending, or figure3.")],
    run: Annotated[bool, typer.Option("--run", help="First run what is missing, one after another.")] = False,
    queue: Annotated[bool, typer.Option("--queue", help="Put what is missing into DVC's queue, and end.")] = False,
    seeds: Annotated[int | None, typer.Option(min=1, help="Only the first so many seeds.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="Only this row or column; may be repeated.")] = None,
    size: Annotated[Size | None, typer.Option(help="Default: paper where params.yaml has affwild2.")] = None,
    commit: Annotated[str | None, typer.Option(help="Only experiments that began from this commit.")] = None,
    out: Annotated[Path, typer.Option(help="Folder of NAME.md and NAME.svg.")] = OUT,
) -> None:
    """Renders a table from the finished experiments that have its parameters, whoever ran them.

    Example: cct table table4 --run --seeds 1 --only 4.0 --only 5.0
    """
    if name == FIGURE:
        if run or queue or seeds is not None or only or commit is not None:
            raise UserError(f"{FIGURE} is computed and has no runs: only --size and --out concern it")
        _publish(out, FIGURE, *figure3(build_table("table4", size=size)))
        return
    if run and queue:
        raise UserError("--run makes what is missing now, --queue later; give one of them")
    asked = build_table(name, size=size, seeds=seeds, only=only)
    version = None
    if run or queue:
        if commit is not None:
            raise UserError("--commit chooses among finished experiments; a run is of the code that is here")
        version = current_version(_any_params(asked))
        run_missing(fill(asked, finished_experiments(), version=version), version, queued=queue)
        if queue:
            print("table: `dvc queue start` runs them; then render without --queue")
            return
    filled = fill(asked, finished_experiments(), version=version, commit=commit and full_name(commit))
    if filled.version is None or not any(filled.found.values()):
        if filled.others:
            raise UserError(
                f"{name}: no finished experiment that began from {commit} has its parameters, but some from "
                f"{', '.join(filled.others)} have; choose with --commit"
            )
        raise UserError(f"{name}: no finished experiment has its parameters; `cct table {name} --run` makes them")
    _publish(out, name, markdown(filled), plot(filled))
    if memory := memory_curves(filled):
        _publish(out, f"{name}-memory", *memory)


def _any_params(asked: Table) -> Params:
    """Of any run: all are on the same shard set."""
    for cell in asked.cells:
        if cell.changes is not None:
            return asked.params(cell, asked.seeds[0])
    raise UserError(f"{asked.name}: none of these rows has runs in size {asked.size}")


def _publish(folder: Path, name: str, text: str, svg: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for path, content in ((folder / f"{name}.md", text), (folder / f"{name}.svg", svg)):
        with publishing(path) as stream:
            stream.write(content.encode())
    print(f"{text}\ntable: {folder / name}.md and .svg")
