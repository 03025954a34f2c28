"""The console command `cct`: what is not a DVC stage."""

import sys
from typing import ClassVar, NoReturn

import typer

from pipeline import disk
from pipeline.contract import UserError
from train.lazily import LazyGroup, Place


def _place(module: str, summary: str, name: str = "") -> Place:
    return Place(module=module, name=name or module.rsplit(".", 1)[1], summary=summary)


class _Commands(LazyGroup):
    places: ClassVar[dict[str, Place]] = {
        "verify": _place("pipeline.commands.verify", "Checks every byte of a shard set against its manifest"),
        "leakage": _place(
            "pipeline.commands.leakage",
            "Looks for training pictures that an evaluation split of the same or another set has too",
        ),
        "faces": _place("pipeline.commands.faces", "Finds, follows and cuts out every face of one video"),
        "predict": _place(
            "train.commands.predict", "Follows every face and gives the probabilities of all classes for each"
        ),
        "review": _place("train.commands.review", "Opens a page with the labels that are most likely wrong"),
        "export": _place("train.commands.export", "Writes the ensemble in each format, compares each with PyTorch"),
        "table": _place(
            "train.commands.table", "Renders a table from the finished experiments that have its parameters"
        ),
        "submission": _place(
            "train.commands.submission", "Writes and checks prediction files for the expression challenge", "app"
        ),
        "store": _place("pipeline.commands.store", "Lists, checks and prunes the work store", "app"),
        "team": _place("pipeline.commands.team", "Shares shard sets", "app"),
        "doctor": _place("train.commands.doctor", "Says what this machine and this folder have and lack"),
        "completion": _place(
            "train.commands.completion", "Prints a script that completes commands, options and files in your shell"
        ),
    }


app = typer.Typer(cls=_Commands, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.callback()
def _cct() -> None:
    """Facial-expression shards and what is done with them. Stages run with `dvc repro`.

    Examples: cct doctor; cct predict clip.mp4 --model models/demo --out clip.csv
    """


def main() -> None:
    """Runs the command line; what the user can mend is one line on stderr and exit code 1."""
    try:
        app()
    except UserError as error:
        _fail(str(error))
    except OSError as error:
        line = disk.told(error)
        if line is None:
            raise
        _fail(line)


def _fail(lines: str) -> NoReturn:
    for line in lines.splitlines():
        print(f"cct: error: {line}", file=sys.stderr)
    sys.exit(1)


if __name__ == "__main__":
    main()
