"""`cct predict`: what trained networks read in the faces of a video, a folder or a stream of pictures."""

import contextlib
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pipeline import files, tables
from pipeline.commands.faces import align_params, silence_decoder
from pipeline.contract import UserError
from pipeline.progress import Progress
from pipeline.sources import Pictures, Source, Video, sources, spooled, told_lost
from pipeline.watched import Watched
from train.overlay import CODECS, write_overlay
from train.timeline import timeline_page

if TYPE_CHECKING:
    from train.predict import Predicted, Session

SUMMARY = "videos.csv"
SUMMARY_COLUMNS = {
    "video": "string",
    "frames": "int64",
    "people": "int64",
    "faces": "int64",
    "frames_with_main": "int64",
}
"""Beside the predictions of a folder of videos: one row a video."""

TABLES = (".csv", ".parquet")

_ENDINGS = {"--out": ".csv", "--overlay": ".webm", "--timeline": ".html"}
"""Of what is written for each video of a folder."""


Named = Annotated[
    str,
    typer.Argument(help="A video, a picture, a folder of either, or - for JPEGs one after another on standard input."),
]
Model = Annotated[Path, typer.Option(help="A model folder, such as models/demo.")]
Out = Annotated[Path, typer.Option(help="A .csv or .parquet file; for a folder of videos, a new folder: a .csv each.")]
Weights = Annotated[Literal["last", "best"], typer.Option(help="last, or best (chosen on the validation set).")]
Student = Annotated[bool, typer.Option("--student", help="Ask the student, not the ensemble (distill: on).")]
Smoothing = Annotated[
    float, typer.Option(min=0, max=1000, help="Gaussian mean over time: its standard deviation in frames; 0 is off.")
]
Overlay = Annotated[
    Path | None, typer.Option(help="A video (.webm, .mp4, .avi) with the predictions drawn in; a folder for several.")
]
Timeline = Annotated[Path | None, typer.Option(help="An .html page with the course over time; a folder for several.")]
Device = Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="auto: a GPU where there is one.")]
ParamsFile = Annotated[
    Path | None, typer.Option(help="Where the group `align` is read from; default: params.yaml here or the project's.")
]


def predict(
    pictures: Named,
    model: Model,
    out: Out,
    weights: Weights = "last",
    student: Student = False,
    smoothing: Smoothing = 0.0,
    overlay: Overlay = None,
    timeline: Timeline = None,
    device: Device = "auto",
    params: ParamsFile = None,
) -> None:
    """Follows every face and gives the probabilities of all classes for each, a row a face and frame.

    Example: cct predict clip.mp4 --model models/demo --out clip.csv --overlay clip.webm --timeline clip.html
    """
    align = align_params(params)
    silence_decoder()
    with _opened(pictures) as found:
        several = len(found) > 1 or (Path(pictures).is_dir() and isinstance(found[0], Video))
        _check_out(out, several)
        _check_drawn("--overlay", overlay, tuple(CODECS), several)
        _check_drawn("--timeline", timeline, (".html", ".htm"), several)
        _check_targets(found, {"--out": out, "--overlay": overlay, "--timeline": timeline}, several)
        from train.predict import Session  # loads torch, for seconds

        session = Session.load(model, align, weights=weights, student=student, device=device, smoothing=smoothing)
        if several:
            sys.exit(_all(session, found, out, overlay, timeline))
        began = time.monotonic()
        done = session.predict(Watched(found[0], "predict"))
        seconds = time.monotonic() - began
        _publish(session, Watched(found[0], "overlay"), done, out, overlay, timeline)
        if lost := told_lost(found[0], done.frames):
            print(lost, file=sys.stderr)
        print(
            f"{out}: {done.people} {'person' if done.people == 1 else 'people'}, the main one in "
            f"{done.frames_with_main} of {done.frames} frames; {done.frames / seconds:.0f} frames/s"
        )


@contextlib.contextmanager
def _opened(pictures: str) -> Iterator[list[Source]]:
    if pictures != "-":
        yield sources(Path(pictures))
        return
    with tempfile.TemporaryDirectory() as folder:
        yield [spooled(sys.stdin.buffer, Path(folder))]


def _check_out(out: Path, several: bool) -> None:
    if not several and out.suffix not in TABLES:
        raise UserError(f"--out {out} must end in {' or '.join(TABLES)}")
    if several and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} exists and is not an empty folder; choose another --out for a folder of videos")


def _check_drawn(option: str, path: Path | None, suffixes: tuple[str, ...], several: bool) -> None:
    """What is drawn beside the table has a suffix that can be written, or is a folder: known before minutes of work."""
    if path is None or (path.suffix.lower() in suffixes) != several:
        return
    if several:
        raise UserError(f"{option} {path} must be a folder, since there are several videos")
    raise UserError(f"{option} {path} must end in {' or '.join(suffixes)}")


def _check_targets(found: list[Source], asked: dict[str, Path | None], several: bool) -> None:
    """Nothing that is written replaces what is read or something else that is written, or meets a folder."""
    if several:
        _check_names(found)
    read = {path.resolve() for source in found for path in _files(source)}
    for option, path in asked.items():
        if path is None:
            continue
        for target in (path / f"{source.name}{_ENDINGS[option]}" for source in found) if several else (path,):
            if target.resolve() in read:
                raise UserError(f"{option} {path} would replace {target}, which is read; choose another name")
            if target.is_dir():
                raise UserError(f"{option}: {target} is a folder; name a file")
        above = next(folder for folder in path.absolute().parents if folder.exists())
        if not above.is_dir():
            raise UserError(f"{option} {path}: {above} is a file, not a folder")
        if several and path.exists() and not path.is_dir():
            raise UserError(f"{option} {path} must be a folder, since there are several videos, and is a file")


def _check_names(found: list[Source]) -> None:
    """Raises `UserError` if two videos differ in nothing but their suffix, so that one would get the other's name."""
    named: dict[str, Source] = {}
    for source in found:
        other = named.setdefault(source.name, source)
        if other is not source:
            one, two = _files(other)[0], _files(source)[0]
            raise UserError(f"{one} and {two} have the same name, and so would what is written; rename one of them")


def _files(source: Source) -> Sequence[Path]:
    if isinstance(source, Video):
        return [source.path]
    return source.paths if isinstance(source, Pictures) else []


def _publish(
    session: "Session", source: Source, done: "Predicted", out: Path, overlay: Path | None, timeline: Path | None
) -> None:
    classes = session.predictor.classes
    tables.write_table(out, done.table, done.columns)
    if overlay is not None:
        write_overlay(overlay, source, done.table, classes)
    if timeline is not None:
        with files.publishing(timeline) as stream:
            stream.write(timeline_page(source.name, done.table, classes, done.frames).encode())


def _all(session: "Session", found: list[Source], out: Path, overlay: Path | None, timeline: Path | None) -> int:
    """Every video of a folder; one that fails does not stop the others. Returns the exit code."""
    rows: list[dict[str, object]] = []
    failures: list[str] = []
    lost: list[str | None] = []
    with Progress("predict", len(found), unit="videos") as progress:
        for source in found:
            try:
                done = session.predict(source)
            except UserError as error:
                failures.append(f"{source.name}: {error}")
            else:
                drawn = overlay / f"{source.name}{_ENDINGS['--overlay']}" if overlay else None
                page = timeline / f"{source.name}{_ENDINGS['--timeline']}" if timeline else None
                _publish(session, source, done, out / f"{source.name}{_ENDINGS['--out']}", drawn, page)
                lost.append(told_lost(source, done.frames))
                rows.append({"video": source.name, "faces": len(done.table)})
                rows[-1] |= {name: getattr(done, name) for name in ("frames", "people", "frames_with_main")}
            progress.step(note=f"{len(failures)} failed" if failures else "")
    tables.write_table(out / SUMMARY, rows, SUMMARY_COLUMNS)
    for line in filter(None, lost):
        print(line, file=sys.stderr)
    for failure in failures:
        print(f"cct: error: {failure}", file=sys.stderr)
    print(f"{out}: predictions of {len(rows)} videos" + (f", {len(failures)} failed" if failures else ""))
    return int(bool(failures))
