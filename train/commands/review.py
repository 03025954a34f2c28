"""`cct review`: going through suspect labels in a browser, on this machine alone."""

import getpass
import subprocess
import webbrowser
from importlib.resources import files as resources
from pathlib import Path
from typing import Annotated

import typer

from pipeline.contract import Paths, UserError
from pipeline.overrides import OVERRIDES
from pipeline.params import load_params
from pipeline.shards.manifest import read_manifest
from pipeline.shards.reading import ShardReader
from train.review.server import ReviewServer
from train.review.session import Session
from train.suspects import SUSPECTS, read_suspects


def review(
    suspects: Annotated[Path, typer.Option(help="The table that the stage audit writes.")] = SUSPECTS,
    most: Annotated[int, typer.Option(min=1, help="How many of the most suspect stretches to go through.")] = 500,
    overrides: Annotated[Path, typer.Option(help="Where decisions are written down.")] = OVERRIDES,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 0,
    browser: Annotated[bool, typer.Option(help="Open the page in the browser.")] = True,
) -> None:
    """Opens a page with the labels that are most likely wrong: keys 0 to 7 relabel, space keeps, x excludes, u undoes.

    Every decision is written to labels/overrides.csv at once; the next `dvc repro` uses them. Ctrl-C ends it.

    Example: cct review --most 200
    """
    params = load_params()
    if params.noise_kind != "none":
        raise UserError(
            f"noise_kind is {params.noise_kind}: labels in {suspects} are wrong on purpose, and decisions would not be "
            "about the annotations; set it to none, then `dvc repro audit`"
        )
    shards = Paths(dataset=params.dataset).shards
    classes = read_manifest(shards)["classes"]
    table = read_suspects(suspects, classes)
    if table.empty:
        raise UserError(f"{suspects} lists no suspects; there is nothing to review")
    session = Session(
        suspects=table.head(most),
        reader=ShardReader(shards, "train"),
        overrides=overrides,
        who=reviewer(),
        classes=classes,
    )
    page = resources("train").joinpath("templates/review.html").read_text(encoding="utf-8")
    try:
        opened = ReviewServer(session, page, port=port)
    except OSError as error:
        raise UserError(f"--port {port} cannot be had ({error.strerror}); choose another, or 0") from None
    with opened as server:
        print(f"review: {server.url}\nreview: Ctrl-C ends it; decisions are in {overrides}", flush=True)
        if browser:
            webbrowser.open(server.url)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            counts = session.counts()
            print(f"\nreview: {counts['decided']} of {counts['suspects']} decided; `dvc repro` uses them")


def reviewer() -> str:
    """Who decides: git's user name, else the login name."""
    try:
        told = subprocess.run(
            ["git", "config", "user.name"], capture_output=True, text=True, check=False
        ).stdout.strip()
    except OSError:
        told = ""
    return told or getpass.getuser()
