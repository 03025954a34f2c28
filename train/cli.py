"""The console command `cct`: what is not a DVC stage."""

import sys

import typer

from pipeline.commands.faces import faces
from pipeline.commands.leakage import leakage
from pipeline.commands.store import app as store
from pipeline.commands.team import app as team
from pipeline.commands.verify import verify
from pipeline.contract import UserError
from train.commands.completion import completion
from train.commands.doctor import doctor
from train.commands.export import export
from train.commands.predict import predict
from train.commands.review import review
from train.commands.submission import app as submission
from train.commands.table import table

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.callback()
def _cct() -> None:
    """Facial-expression shards and what is done with them. Stages run with `dvc repro`.

    Examples: cct doctor; cct predict clip.mp4 --model models/demo --out clip.csv
    """


app.command()(verify)
app.command()(leakage)
app.command()(faces)
app.command()(predict)
app.command()(review)
app.command()(export)
app.command()(table)
app.add_typer(submission, name="submission")
app.add_typer(store, name="store")
app.add_typer(team, name="team")
app.command()(doctor)
app.command()(completion)


def main() -> None:
    """Runs the command line; what the user can mend is one line on stderr and exit code 1."""
    try:
        app()
    except UserError as error:
        for line in str(error).splitlines():
            print(f"cct: error: {line}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
