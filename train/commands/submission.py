"""`cct submission`: predictions as the challenge wants them, and a check of such files that says what is wrong."""

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
import typer

from pipeline import files, video
from pipeline.commands.faces import silence_decoder
from pipeline.contract import CLASSES, SUBJECTS, UserError
from pipeline.progress import Progress
from pipeline.sources import VIDEO_SUFFIXES
from train import submission

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

Format = Literal["early", "later"]

LATER_NAME = "predictions.txt"
COMPRESSED = (b"PK\x03\x04", b"\x1f\x8b")
"""How zip and gzip files begin."""

COUNTS_COLUMNS = {"video": "string", "frames": "int64"}
_NEEDED = {"frame_index": "int64", "person": "int64", "subject": "string", "prediction": "string"}

TrialList = Annotated[
    Path, typer.Option("--trials", help="The challenge's list of test trials, one name a line (test_set.txt).")
]
FormatOption = Annotated[
    Format, typer.Option("--format", help="early: a file a trial (2020, 2021); later: one file for all (from 2022).")
]
ClassCount = Annotated[
    int | None, typer.Option(min=7, max=8, help="7, or 8 with Other; default: 7 early, 8 later, as the challenge had.")
]


@app.callback()
def _submission() -> None:
    """Writes and checks prediction files for the expression challenge on Aff-Wild2's test set.

    Examples: cct submission make predicted --trials test_set.txt --out submission; cct submission check
    submission/predictions.txt --trials test_set.txt --videos test_videos
    """


@app.command()
def make(
    predictions: Annotated[Path, typer.Argument(help="What `cct predict FOLDER --out` wrote: a table a video.")],
    trials: TrialList,
    out: Annotated[Path, typer.Option(help="A new folder.")],
    form: FormatOption = "later",
    classes: ClassCount = None,
) -> None:
    """Turns predictions into submission files: every frame present, one without a face repeats the one before.

    Example: cct submission make predicted --trials test_set.txt --format later --out submission
    """
    names = _names(classes, form)
    frames = _counts(predictions / "videos.csv")
    wanted = _trials(trials)
    predicted = {}
    for trial in wanted:
        name, subject = _video_of(trial, frames)
        rows = _rows(predictions / f"{name}.csv", names)
        own = (
            rows[rows["subject"] == subject] if subject and (rows["subject"] != "").any() else rows[rows["person"] == 0]
        )
        labels = own["prediction"].map(names.index)
        predicted[trial] = submission.every_frame(own["frame_index"], labels, frames[name])
    with files.fresh_folder(_new(out)) as folder:
        _write(folder, predicted, names, form)
    print(f"{out}: {len(predicted)} trials, {sum(map(len, predicted.values()))} frames, {form} format")


@app.command()
def check(
    files_: Annotated[Path, typer.Argument(metavar="PATH", help="A folder of early files, or the one later file.")],
    trials: TrialList,
    videos: Annotated[
        Path,
        typer.Option(
            help="The folder of the test videos (every frame is counted), or the videos.csv of `cct predict`."
        ),
    ],
    classes: ClassCount = None,
) -> None:
    """Says what is wrong with submission files; exit code 0 only if nothing is.

    Examples: cct submission check submission/predictions.txt --trials test_set.txt --videos test_videos
    """
    names = _names(classes, "early" if files_.is_dir() else "later")
    wanted = _trials(trials)
    frames = _counts(videos) if videos.is_file() else _counted(videos, wanted)
    expected = {trial: frames[_video_of(trial, frames)[0]] for trial in wanted}
    if files_.is_dir():
        problems = _folder_problems(files_, expected, names)
    else:
        problems = _problems(files_, lambda text: submission.later_problems(text, expected, names))
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        many = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        print(f"{files_}: not fit to be submitted, {many}", file=sys.stderr)
        sys.exit(1)
    print(f"{files_}: {len(expected)} trials, {sum(expected.values())} frames, all there and well formed")


def _names(classes: int | None, form: Format) -> tuple[str, ...]:
    return CLASSES[: classes or (7 if form == "early" else 8)]


def _new(out: Path) -> Path:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} exists and is not an empty folder; choose another --out")
    return out


def _trials(path: Path) -> list[str]:
    names = [line.strip() for line in _text(path).splitlines() if line.strip()]
    if not names:
        raise UserError(f"{path} names no trial; it must hold one name a line")
    if len(set(names)) < len(names):
        raise UserError(f"{path} names a trial twice: {next(name for name in names if names.count(name) > 1)}")
    return names


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a text file in UTF-8") from None


def _counts(path: Path) -> dict[str, int]:
    try:
        table = pd.read_csv(path, dtype={"video": "string"}, keep_default_na=False)
        return {str(name): int(count) for name, count in zip(table["video"], table["frames"], strict=True)}
    except FileNotFoundError:
        raise UserError(f"{path} not found; make it with `cct predict FOLDER_OF_VIDEOS --out FOLDER`") from None
    except (ValueError, KeyError) as error:
        raise UserError(f"{path} is not a table with the columns video and frames ({error})") from None


def _counted(folder: Path, trials: Sequence[str]) -> dict[str, int]:
    """Decodes every video that a trial needs, to its end: declared counts are not to be trusted."""
    silence_decoder()
    found = {path.stem: path for path in sorted(files.walk(folder)) if path.suffix.lower() in VIDEO_SUFFIXES}
    if not found:
        what = "holds no video" if folder.is_dir() else "not found"
        raise UserError(f"--videos {folder} {what}; give the folder of the test videos, or videos.csv of `cct predict`")
    needed = sorted({_video_of(trial, found)[0] for trial in trials})
    frames = {}
    with Progress("count frames", len(needed), unit="videos") as progress:
        for name in needed:
            frames[name] = sum(1 for _ in video.read_frames(found[name], frozenset()))
            progress.step()
    return frames


def _video_of(trial: str, videos: Mapping[str, object]) -> tuple[str, str]:
    """The video and subject of a trial: a video of that very name first, then without `_left` or `_right`."""
    for subject in SUBJECTS:
        name = trial.removesuffix(f"_{subject}") if subject else trial
        if name in videos and (not subject or name != trial):
            return name, subject
    raise UserError(
        f"no video of trial {trial} was read; its name must be {trial}, without _left or _right if it ends so, and "
        "`cct predict` names those that it cannot read"
    )


def _rows(path: Path, classes: Sequence[str]) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, keep_default_na=False, usecols=list(_NEEDED))
        rows = table.astype({name: "str" if kind == "string" else kind for name, kind in _NEEDED.items()})
    except FileNotFoundError:
        raise UserError(f"{path} not found; predict that video with `cct predict`") from None
    except ValueError as error:
        raise UserError(f"{path} is not what `cct predict` writes ({error})") from None
    unknown = sorted(set(rows["prediction"]) - set(classes))
    if unknown:
        raise UserError(f"{path} predicts {unknown[0]!r}, which is none of the {len(classes)} classes; see --classes")
    return rows


def _write(folder: Path, predicted: submission.FrameClasses, classes: Sequence[str], form: Format) -> None:
    if form == "later":
        with (folder / LATER_NAME).open("w", encoding="utf-8", newline="") as stream:
            stream.writelines(submission.later_file(predicted, classes))
        return
    for trial, labels in predicted.items():
        (folder / f"{trial}.txt").write_text(submission.early_file(labels, classes), encoding="utf-8", newline="")


def _folder_problems(folder: Path, expected: Mapping[str, int], classes: Sequence[str]) -> list[str]:
    wanted = {folder / f"{trial}.txt": frames for trial, frames in expected.items()}
    others = sorted(set(folder.iterdir()) - set(wanted))
    if folder / LATER_NAME in others and not any(path.exists() for path in wanted):
        return [f"{folder}: it holds {LATER_NAME}, which is the later format; check {folder / LATER_NAME}"]
    problems = []
    for path, frames in wanted.items():
        if path.is_file():
            problems += _problems(path, partial(submission.early_problems, frames=frames, classes=classes))
        else:
            problems.append(f"{path}: missing; every trial of the test set needs a file")
    return problems + [f"{path}: names no trial of the test set; take it out" for path in others]


def _problems(path: Path, judged: Callable[[str], list[str]]) -> list[str]:
    """What is wrong with one file; one that cannot be read does not keep others from being judged."""
    try:
        content = path.read_bytes()
        if content.startswith(COMPRESSED):
            return [f"{path}: it is compressed; unpack it, then check what was inside"]
        return [f"{path}: {problem}" for problem in judged(content.decode())]
    except OSError as error:
        return [f"{path}: it cannot be read ({error.strerror})"]
    except UnicodeDecodeError:
        return [f"{path}: it is not a text file in UTF-8; save it as UTF-8"]
