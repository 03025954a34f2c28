"""A raw set in which everything is wrong that can be, one trial a kind, and what the stages make of it.

Used by tests/test_damage.py and by benchmarks/damage.py, which writes docs/damage.md from it.
"""

import contextlib
import hashlib
import os
import re
import shutil
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image as PillowImage

from pipeline.contract import DROP_COLUMNS, MISMATCH_COLUMNS, SAMPLE_COLUMNS, Drop, Paths
from pipeline.params import Params
from pipeline.shards.reading import ShardReader
from pipeline.stages.align import align_all
from pipeline.stages.extract import extract_all
from pipeline.stages.index import build_index
from pipeline.stages.shard import shard_all
from pipeline.tables import read_table
from tests.encoding import damaged, edited, encode, encode_sound, shown_as
from tests.test_annotation import HEADER

DEMO = Path(__file__).parent.parent / "data/demo/raw"
PATHS = Paths(dataset="messy")
ROWS = 24
STRIDE = 6
HEALTHY = {
    "demo-001": "Train_Set",
    "demo-012_left": "Train_Set",
    "demo-012_right": "Train_Set",
    "demo-029": "Validation_Set",
}
FINE = ""
"""Expected of a trial from which nothing is lost but for what the sampling leaves out."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a case puts its files: a raw set, and the trial's name."""

    raw: Path
    name: str

    def video(self, suffix: str = ".mp4", name: str = "") -> Path:
        """A path below the videos."""
        path = self.raw / "videos/bad" / f"{name or self.name}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def annotation(self, split: str = "Train_Set", name: str = "") -> Path:
        """A path among the annotations."""
        path = self.raw / "annotations/EXPR_Set" / split / f"{name or self.name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def annotate(self, rows: int = ROWS, **where: str) -> None:
        """An annotation of so many rows, the first ignored."""
        labels = [-1, *(row % 7 for row in range(1, rows))]
        self.annotation(**where).write_text("\n".join([HEADER, *map(str, labels)]) + "\n")

    def clip(self, name: str = "demo-003.avi", *, target: str = "") -> Path:
        """A demo clip under the trial's name."""
        path = self.video(Path(name).suffix, target)
        content = (DEMO / "videos/batch1" / name).read_bytes()
        path.write_bytes(content + self.name.encode())  # no two trials have the same video
        return path


@dataclass(frozen=True, kw_only=True)
class RawCase:
    """One kind of bad input: how it is made, and the reason and the words that must be seen.

    `reason` is one of `Drop`, or `FINE`; `said` is part of that drop's detail or of the trial's note.
    """

    kind: str
    make: Callable[[Place], object]
    reason: str = FINE
    said: str = ""


def video_of(write: Callable[[Path], object], suffix: str = ".mp4") -> Callable[[Place], None]:
    """A plain annotation beside a video that `write` makes."""

    def make(place: Place) -> None:
        write(place.video(suffix))
        place.annotate()

    return make


def annotation_of(content: str | bytes) -> Callable[[Place], None]:
    """A good clip beside an annotation of this content."""

    def make(place: Place) -> None:
        place.clip()
        place.annotation().write_bytes(content.encode() if isinstance(content, str) else content)

    return make


def cut(share: float, suffix: str, **options: str) -> Callable[[Path], None]:
    """A video that ends after this share of its bytes."""

    def write(path: Path) -> None:
        noise = np.random.default_rng(0).integers(0, 255, (ROWS, 64, 128, 3), dtype=np.uint8)
        encode(path, list(noise), **options)
        os.truncate(path, int(path.stat().st_size * share))

    return write


def damaged_between_frames(path: Path) -> None:
    """The header of frame 20 is no header any more."""
    content = bytearray(encode(path, ROWS, "mjpeg", "yuvj420p").read_bytes())
    place = list(re.compile(b"00dc").finditer(content, content.index(b"movi")))[20].start()
    content[place : place + 4] = b"****"
    path.write_bytes(content)


def text(content: str) -> Callable[[Path], object]:
    """A file of this text."""
    return lambda path: path.write_text(content)


def picture(path: Path, kind: str) -> None:
    """One black picture."""
    PillowImage.new("RGB", (64, 64)).save(path, format=kind)


def change_of_size(path: Path) -> None:
    """Two MPEG-2 videos of different sizes, one behind the other."""
    parts = [
        encode(path.with_name(f"part{width}.mpg"), ROWS // 2, "mpeg2video", size=(width, 64)) for width in (128, 64)
    ]
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    for part in parts:
        part.unlink()


def huge_frames(path: Path) -> None:
    """A small file that claims 81 million pixels."""
    encode(path, [np.zeros((9000, 9000, 3), np.uint8)], "png", "gray")


def not_utf8(place: Place) -> None:
    name = place.name + os.fsdecode(b"\xe9")
    place.clip(target=name)
    place.annotate(name=name)


def in_two_splits(place: Place) -> None:
    place.clip()
    place.annotate()
    place.annotate(split="Validation_Set")


def copied_across_splits(place: Place) -> None:
    encode(place.video(), ROWS, g="7")
    shutil.copyfile(place.video(), place.video(name=f"{place.name} again"))
    place.annotate()
    place.annotate(split="Validation_Set", name=f"{place.name} again")


def copied_within_a_split(place: Place) -> None:
    encode(place.video(), ROWS, g="5")
    shutil.copyfile(place.video(), place.video(name=f"{place.name} again"))
    place.annotate()
    place.annotate(name=f"{place.name} again")


def two_containers(place: Place) -> None:
    encode(place.video(".avi"), ROWS, "mpeg4")
    encode(place.video(".mkv"), ROWS + 3)
    place.annotate()


def two_spellings(place: Place) -> None:
    encode(place.video(name=f"{place.name} Zoë"), ROWS, g="11")
    for form in ("NFC", "NFD"):
        place.annotate(name=unicodedata.normalize(form, f"{place.name} Zoë"))


def odd_annotation(make: Callable[[Path], object]) -> Callable[[Place], None]:
    """A good clip beside what is no annotation file."""

    def write(place: Place) -> None:
        place.clip()
        make(place.annotation())

    return write


def endless(path: Path) -> None:
    path.touch()
    os.truncate(path, 1 << 40)


def named(name: str) -> Callable[[Place], None]:
    """A good video of an odd name."""

    def make(place: Place) -> None:
        encode(place.video(".MP4", f"{place.name}{name}"), ROWS, g="9")
        place.annotate(name=f"{place.name}{name}")

    return make


def rows(count: int) -> Callable[[Place], None]:
    """So many rows for a video of `ROWS` frames."""

    def make(place: Place) -> None:
        encode(place.video(), ROWS, g=str(count))
        place.annotate(rows=count)

    return make


LABELS = "\n".join([HEADER, *["2"] * (ROWS - 2)])
UNREADABLE, UNDECODABLE = Drop.VIDEO_UNREADABLE, Drop.FRAME_UNDECODABLE
NO_ANNOTATION = Drop.ANNOTATION_UNREADABLE

RAW_CASES = [
    RawCase(kind="video of no bytes", make=video_of(Path.touch), reason=UNREADABLE, said="it is empty"),
    RawCase(kind="text called .mp4", make=video_of(text("hello\n" * 99)), reason=UNREADABLE, said="it is text"),
    RawCase(
        kind="PNG called .mp4", make=video_of(lambda p: picture(p, "PNG")), reason=UNREADABLE, said="a PNG picture"
    ),
    RawCase(
        kind="JPEG called .avi", make=video_of(lambda p: picture(p, "JPEG"), ".avi"), reason=UNREADABLE, said="a JPEG"
    ),
    RawCase(
        kind="AVIF called .mp4", make=video_of(lambda p: picture(p, "AVIF")), reason=UNREADABLE, said="AVIF picture"
    ),
    RawCase(
        kind="GIF called .mov", make=video_of(lambda p: picture(p, "GIF"), ".mov"), reason=UNREADABLE, said="a GIF"
    ),
    RawCase(
        kind="playlist of other files (concat)",
        make=video_of(text("ffconcat version 1.0\nfile ../batch1/demo-001.mp4\n")),
        reason=UNREADABLE,
        said="a playlist",
    ),
    RawCase(
        kind="playlist of addresses (m3u8)",
        make=video_of(text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/x.ts\n")),
        reason=UNREADABLE,
        said="a playlist",
    ),
    RawCase(
        kind="sound without a picture", make=video_of(encode_sound), reason=UNREADABLE, said="without a video track"
    ),
    RawCase(
        kind="mp4 cut before its index", make=video_of(cut(0.6, ".mp4")), reason=UNREADABLE, said="cut short: the index"
    ),
    RawCase(
        kind="mp4 cut behind its index",
        make=video_of(cut(0.6, ".mp4", movflags="faststart")),
        reason=UNDECODABLE,
        said="of the container's 24",
    ),
    RawCase(
        kind="avi cut",
        make=video_of(cut(0.6, ".avi", codec="mjpeg", pixels="yuvj420p"), ".avi"),
        reason=UNDECODABLE,
        said="of the container's 24",
    ),
    RawCase(
        kind="avi damaged between two frames",
        make=video_of(damaged_between_frames, ".avi"),
        reason=UNDECODABLE,
        said="decoding ends after 4 of the container's 24",
    ),
    RawCase(kind="mkv cut", make=video_of(cut(0.5, ".mkv"), ".mkv"), reason=UNDECODABLE, said="of"),
    RawCase(
        kind="webm cut", make=video_of(cut(0.5, ".webm", codec="libvpx-vp9"), ".webm"), reason=UNDECODABLE, said="of"
    ),
    RawCase(
        kind="a frame in the middle does not decode",
        make=video_of(lambda p: damaged(encode(p, ROWS, "mjpeg", "yuvj420p"), 12), ".avi"),
        reason=UNDECODABLE,
        said="1 of its frames cannot be decoded",
    ),
    RawCase(
        kind="frames of 9000 x 9000 in a small file",
        make=video_of(huge_frames, ".mov"),
        reason=UNREADABLE,
        said="claims frames of 9000 x 9000",
    ),
    RawCase(
        kind="interlaced",
        make=video_of(lambda p: encode(p, ROWS, flags="+ildct+ilme", **{"x264-params": "tff=1"})),
        reason=UNREADABLE,
        said="deinterlace it first",
    ),
    RawCase(kind="folder called .mp4", make=video_of(Path.mkdir), reason=UNREADABLE, said="not a file"),
    RawCase(kind="pipe called .mp4", make=video_of(os.mkfifo), reason=UNREADABLE, said="not a file"),
    RawCase(
        kind="link to nothing", make=video_of(lambda p: p.symlink_to("nowhere")), reason=UNREADABLE, said="not a file"
    ),
    RawCase(kind="link to itself", make=video_of(lambda p: p.symlink_to(p)), reason=UNREADABLE, said="not a file"),
    RawCase(
        kind="link to a device without end",
        make=video_of(lambda p: p.symlink_to("/dev/zero")),
        reason=UNREADABLE,
        said="not a file",
    ),
    RawCase(kind="name that is not UTF-8", make=not_utf8, reason=UNREADABLE, said="not UTF-8"),
    RawCase(
        kind="annotation without a video",
        make=lambda place: place.annotate(),
        reason=Drop.VIDEO_MISSING,
        said="no video named",
    ),
    RawCase(kind="video without an annotation", make=lambda place: place.clip(), reason=Drop.VIDEO_WITHOUT_ANNOTATION),
    RawCase(kind="one trial in two splits", make=in_two_splits, reason=Drop.SPLIT_CONFLICT, said="that split keeps it"),
    RawCase(
        kind="one video under two names in two splits",
        make=copied_across_splits,
        reason=Drop.DUPLICATE_VIDEO,
        said="is the same video",
    ),
    RawCase(kind="one video under two names in one split", make=copied_within_a_split, said="same content as"),
    RawCase(kind="two videos of one name", make=two_containers, said="several videos named"),
    RawCase(
        kind="one name in two spellings", make=two_spellings, reason=NO_ANNOTATION, said="spelled with other bytes"
    ),
    RawCase(kind="name with quotes, a line feed and %05d", make=named("'\"\n%05d"), said=""),
    RawCase(kind="to be shown turned by 90 degrees", make=video_of(lambda p: shown_as(encode(p, ROWS), 0, 1, -1, 0))),
    RawCase(kind="pixels of 4 : 3", make=video_of(lambda p: encode(p, ROWS, aspect=Fraction(4, 3)))),
    RawCase(
        kind="variable frame rate", make=video_of(lambda p: encode(p, ROWS, times=[i * i * 7 for i in range(ROWS)]))
    ),
    RawCase(
        kind="edit list that skips a third",
        make=video_of(lambda p: edited(encode(p, ROWS, g="8", bf="0"), start_ms=800, length_ms=1600)),
        reason=Drop.BEYOND_VIDEO,
        said="skipped by its edit list",
    ),
    RawCase(
        kind="change of size in mid-stream",
        make=video_of(change_of_size, ".mpg"),
        reason=UNDECODABLE,
        said="of the container's 24",
    ),
    RawCase(
        kind="more rows than frames",
        make=rows(ROWS + 8),
        reason=Drop.BEYOND_VIDEO,
        said="32 annotation rows, 24 decoded frames",
    ),
    RawCase(kind="fewer rows than frames", make=rows(ROWS - 8)),
    RawCase(kind="annotation of no bytes", make=annotation_of(""), reason=NO_ANNOTATION, said="no rows"),
    RawCase(
        kind="annotation with a header only", make=annotation_of(f"{HEADER}\n"), reason=NO_ANNOTATION, said="no rows"
    ),
    RawCase(
        kind="annotation of another kind",
        make=annotation_of("valence,arousal\n.1,.2\n"),
        reason=NO_ANNOTATION,
        said="header names 'valence'",
    ),
    RawCase(kind="annotation of zero bytes", make=annotation_of(bytes(200)), reason=NO_ANNOTATION, said="header names"),
    RawCase(kind="annotation without a header", make=annotation_of("2\n" * ROWS), said="no header line"),
    RawCase(kind="annotation in UTF-16", make=annotation_of(LABELS.encode("utf-16")), said="UTF-16"),
    RawCase(
        kind="annotation with bytes that are not UTF-8",
        make=annotation_of(LABELS.encode() + b"\n\xe9\n2\n"),
        reason=Drop.LABEL_UNREADABLE,
    ),
    RawCase(
        kind="byte-order mark, CRLF and blanks",
        make=annotation_of("\ufeff" + LABELS.replace("\n", " \r\n") + "\r\n\r\n \n"),
    ),
    RawCase(kind="blank line in the middle", make=annotation_of(f"{LABELS}\n\n2\n"), reason=Drop.LABEL_UNREADABLE),
    RawCase(kind="labels out of range", make=annotation_of(f"{LABELS}\n9\n-7\n"), reason=Drop.LABEL_OUT_OF_RANGE),
    RawCase(kind="labels with decimals", make=annotation_of(f"{LABELS}\n3.0\n2.50\n"), reason=Drop.LABEL_UNREADABLE),
    RawCase(kind="rows of two columns", make=annotation_of(f"{LABELS}\n2,0.9\n"), reason=Drop.LABEL_UNREADABLE),
    RawCase(
        kind="folder for an annotation",
        make=odd_annotation(Path.mkdir),
        reason=NO_ANNOTATION,
        said="not a regular file",
    ),
    RawCase(
        kind="pipe for an annotation", make=odd_annotation(os.mkfifo), reason=NO_ANNOTATION, said="not a regular file"
    ),
    RawCase(
        kind="annotation of a terabyte",
        make=odd_annotation(endless),
        reason=NO_ANNOTATION,
        said="larger than any annotation",
    ),
]


@dataclass(frozen=True, kw_only=True)
class RunCase:
    """What stops a run: stages that end in one line, of which `said` is a part."""

    kind: str
    run: Callable[[Path, Params], object]
    said: str


def indexed(prepare: Callable[[Path], object], **changes: object) -> Callable[[Path, Params], None]:
    """The stage index on `folder/raw` as `prepare` makes it, with some of its parameters changed."""

    def run(folder: Path, params: Params) -> None:
        prepare(folder / "raw")
        with inside(folder):
            build_index(changed(params, **changes))

    return run


def extracted(
    prepare: Callable[[Path], object], *, spoil: Callable[[Path], object], **changes: object
) -> Callable[[Path, Params], None]:
    """The stage extract behind the stage index, whose frame table `spoil` damages."""

    def run(folder: Path, params: Params) -> None:
        prepare(folder / "raw")
        with inside(folder):
            build_index(changed(params, **changes))
            spoil(PATHS.index)
            extract_all(changed(params, **changes))

    return run


def changed(params: Params, **changes: object) -> Params:
    """The parameters for a messy set, with `max_failures` or keys of the group `index` changed."""
    params = small(params)
    budget = {name: changes.pop(name) for name in ("max_failures",) if name in changes}
    return params.model_copy(
        update={
            "index": params.index.model_copy(update=changes),
            "engine": params.engine.model_copy(update={"workers": 1, **budget}),
        }
    )


def trials(*cases: Callable[[Place], object]) -> Callable[[Path], None]:
    """A raw set of these alone."""

    def prepare(raw: Path) -> None:
        for number, case in enumerate(cases):
            case(Place(raw=raw, name=f"v{number}"))

    return prepare


BROKEN = video_of(Path.touch)
RUN_CASES = [
    RunCase(kind="no raw set", run=indexed(lambda raw: None), said="index.raw: no folder raw"),
    RunCase(kind="no annotations", run=indexed(Path.mkdir), said="index.annotations: no folder raw/annotations"),
    RunCase(
        kind="annotations of another task only",
        run=indexed(lambda raw: (raw / "annotations/VA_Set").mkdir(parents=True)),
        said="holds none of EXPR_Set",
    ),
    RunCase(
        kind="several sets of annotations",
        run=indexed(lambda raw: [(raw / "annotations" / name / "EXPR_Set").mkdir(parents=True) for name in "ab"]),
        said="several sets, choose one",
    ),
    RunCase(
        kind="no video with a label",
        run=indexed(trials(BROKEN)),
        said="has no video or picture with a usable label: 1 x video_unreadable (v0.mp4: not a video",
    ),
    RunCase(
        kind="more bad videos than engine.max_failures",
        run=indexed(trials(BROKEN, BROKEN, rows(ROWS)), max_failures=1),
        said="more than engine.max_failures = 1",
    ),
    RunCase(
        kind="counts disagree and index.mismatch is error",
        run=extracted(trials(rows(ROWS + 9)), spoil=lambda path: None, mismatch="error"),
        said="index.mismatch is error and v0 disagrees",
    ),
    RunCase(
        kind="frame table missing",
        run=extracted(trials(rows(ROWS)), spoil=Path.unlink),
        said="not found; run `dvc repro`",
    ),
    RunCase(
        kind="frame table cut",
        run=extracted(trials(rows(ROWS)), spoil=lambda path: os.truncate(path, 99)),
        said="is damaged or of another version",
    ),
]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a run leaves for the user to see."""

    drops: pd.DataFrame
    mismatch: pd.DataFrame
    samples: pd.DataFrame
    pictures: dict[str, str]
    """Digest of every stored face, by sample key."""


def make_raw(folder: Path, cases: list[RawCase]) -> dict[str, str]:
    """A raw set of four healthy trials and these cases; returns the trial's name of each kind."""
    (folder / "videos/batch1").mkdir(parents=True)
    for trial, split in HEALTHY.items():
        video = f"{trial.removesuffix('_left').removesuffix('_right')}.mp4"
        shutil.copyfile(DEMO / "videos/batch1" / video, folder / "videos/batch1" / video)
        lines = (DEMO / "annotations/EXPR_Set" / split / f"{trial}.txt").read_text().splitlines()[: 3 * ROWS + 1]
        target = folder / "annotations/EXPR_Set" / split / f"{trial}.txt"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text("\n".join(lines) + "\n")
    names = {case.kind: f"bad-{number:02d}" for number, case in enumerate(cases)}
    for case in cases:
        case.make(Place(raw=folder, name=names[case.kind]))
    return names


def build(folder: Path, params: Params) -> Outcome:
    """Runs index, extract, align and shard on `folder/raw`."""
    params = small(params)
    with inside(folder):
        for stage in (build_index, extract_all, align_all, shard_all):
            stage(params)
        samples = read_table(PATHS.shards / "samples.parquet", SAMPLE_COLUMNS)
        pictures = {}
        for split in sorted(set(samples["split"])):
            reader = ShardReader(PATHS.shards, split)
            pictures |= {reader.key(at): hashlib.sha256(reader.jpeg(at)).hexdigest() for at in range(len(reader))}
        return Outcome(
            drops=pd.read_csv("results/quarantine.csv", keep_default_na=False)[list(DROP_COLUMNS)],
            mismatch=pd.read_csv(PATHS.mismatch, keep_default_na=False)[list(MISMATCH_COLUMNS)],
            samples=samples,
            pictures=pictures,
        )


def small(params: Params) -> Params:
    """The committed parameters for a messy set: few frames, and failures allowed."""
    return params.model_copy(
        update={
            "dataset": PATHS.dataset,
            "index": params.index.model_copy(update={"raw": "raw"}),
            "extract": params.extract.model_copy(update={"stride": STRIDE}),
            "engine": params.engine.model_copy(update={"max_failures": 99}),
        }
    )


@contextlib.contextmanager
def inside(folder: Path) -> Iterator[None]:
    """The folder as the working directory."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def seen(outcome: Outcome, name: str) -> list[str]:
    """What the user finds about a trial: lines of quarantine.csv, notes of mismatch.csv, and its number of samples."""
    lines = []
    for row in outcome.drops[outcome.drops["trial"].str.startswith(name)].to_dict("records"):
        if row["reason"] not in (Drop.NOT_SAMPLED, Drop.LABEL_IGNORED, Drop.NO_FACE):
            count = f" ({row['frames']} frames)" if row["frames"] else ""
            lines.append(f"`{row['reason']}`{count}{': ' if row['detail'] else ''}{row['detail']}")
    for row in outcome.mismatch[outcome.mismatch["trial"].str.startswith(name)].to_dict("records"):
        if row["note"]:
            lines += [f"note: {row['note']}"] * all(row["note"] not in line for line in lines)
        elif row["action"] != "equal":
            lines.append(f"{row['action']}: {row['rows']} rows, {row['decoded_frames']} frames")
    return list(dict.fromkeys(lines)) or ["nothing is lost"]
