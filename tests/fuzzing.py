"""What is fed with damaged bytes: readers by name, each with a strategy and a check that only typed errors come out.

tests/test_fuzz.py runs each for a moment, benchmarks/fuzz.py for as long as one likes.
"""

import hashlib
import io
import itertools
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from hypothesis import strategies as st

from pipeline import containers, images, tables, tar, video
from pipeline.contract import SAMPLE_COLUMNS, UserError
from pipeline.datasets.annotation import read_annotation
from pipeline.datasets.base import NO_LABEL
from pipeline.interlacing import may_be_interlaced
from pipeline.shards.manifest import MANIFEST, SAMPLES, read_manifest
from pipeline.shards.verification import verify
from tests.encoding import encode
from tests.shard_sets import write_shard_set
from tests.test_annotation import HEADER
from tests.test_verification import FIRST, forge

POWERS = st.sampled_from([b"\0", b"\xff", b"\x7f\xff\xff\xff", b"\xff" * 8, b"7777777", b"0", b"-1", b"\0" * 512])
EDIT = st.tuples(
    st.sampled_from(["overwrite", "insert", "delete", "cut", "repeat"]),
    st.floats(0, 1, exclude_max=True),
    POWERS | st.binary(min_size=1, max_size=16),
)


class Fed(bytes):
    """Bytes that a failing example does not print."""

    def __repr__(self) -> str:
        return f"<{len(self)} bytes, sha256 {hashlib.sha256(self).hexdigest()[:16]}>"


def mutated(seeds: list[bytes], *, head: int | None = None) -> st.SearchStrategy[bytes]:
    """One of these with up to four edits, all in the first `head` bytes if that is given."""

    def apply(seed: bytes, edits: list[tuple[str, float, bytes]]) -> bytes:
        content = bytearray(seed)
        for kind, share, piece in edits:
            at = int(share * min(len(content), head or len(content)))
            if kind == "overwrite":
                content[at : at + len(piece)] = piece
            elif kind == "insert":
                content[at:at] = piece
            elif kind == "delete":
                del content[at : at + len(piece)]
            elif kind == "cut":
                del content[at:]
            else:
                content[at:at] = content[at : at + 600]
        return Fed(content)

    return st.builds(apply, st.sampled_from(seeds), st.lists(EDIT, min_size=1, max_size=4))


@dataclass(frozen=True, kw_only=True)
class Target:
    """A reader: what it is fed, and a check that raises if it does anything but answer or refuse."""

    inputs: st.SearchStrategy[bytes]
    check: Callable[[bytes], object]


def refused(action: Callable[[], object], *, kinds: tuple[type[Exception], ...] = (UserError,)) -> bool:
    """Whether an action ends in an error of these kinds, with one line; others come out."""
    try:
        action()
    except kinds as error:
        assert len(str(error).splitlines()) == 1, f"not one line: {str(error)!r}"
        return True
    return False


def targets(folder: Path) -> dict[str, Target]:
    """Every target; their files are in `folder`."""
    whole = write_shard_set(folder, {"train": 4, "val": 2}, samples_per_shard=2)
    return (
        shard_targets(whole, folder)
        | picture_targets(whole)
        | video_targets(folder)
        | {"annotation": annotations(folder)}
    )


def annotations(folder: Path) -> Target:
    """Annotation files."""
    path = folder / "v.txt"
    rows = "\n".join([HEADER, "0", "-1", "3.0", "", "6"])
    lines = st.lists(
        st.sampled_from([HEADER, "Fear,Anger", "0", "-1", "7", "1.0", "", " ", "x", "\0", "é", "9" * 5000])
    )

    def check(content: bytes) -> None:
        path.write_bytes(content)
        found = []
        if not refused(lambda: found.append(read_annotation(path, 7))):
            labels, dropped = found[0].labels, found[0].dropped
            assert len(labels) == np.count_nonzero(labels != NO_LABEL) + sum(dropped.values()) > 0
            assert ((labels >= NO_LABEL) & (labels < 7)).all()

    seeds = [rows.encode(code) for code in ("utf-8", "utf-8-sig", "utf-16", "utf-32")]
    inputs = mutated(seeds) | lines.map("\r\n".join).map(str.encode) | st.binary(max_size=300)
    return Target(inputs=inputs, check=check)


def shard_targets(whole: Path, scratch: Path) -> dict[str, Target]:
    """Manifest, sample table and tar, alone and as parts of a set whose digests are right."""
    copy = shutil.copytree(whole, scratch / "fuzzed")

    def in_set(name: str) -> Callable[[bytes], None]:
        def check(content: bytes) -> None:
            for path in whole.iterdir():
                shutil.copyfile(path, copy / path.name)
            (copy / name).write_bytes(content)
            if name != MANIFEST:
                forge(copy)
            told: list[str] = []
            if not refused(lambda: told.extend(verify(copy))):
                assert all(str(copy) in line and len(line.splitlines()) == 1 for line in told)

        return check

    def members(content: bytes) -> None:
        (scratch / "a.tar").write_bytes(content)
        refused(lambda: [len(each) for _, each in tar.read_members(scratch / "a.tar")])
        expected = tar.ExpectedMembers(io.BytesIO(content))
        refused(lambda: expected.take("a", most=1 << 20), kinds=(tar.UnexpectedMemberError,))

    def table(content: bytes) -> None:
        path = scratch / "a.parquet"
        path.write_bytes(content)
        if not refused(lambda: tables.extent(path)) and tables.extent(path)[1] < 1 << 20:
            refused(lambda: tables.read_table(path, SAMPLE_COLUMNS, categories=("split", "shard")))
            refused(lambda: list(tables.read_pieces(path, SAMPLE_COLUMNS)))

    def manifest(content: bytes) -> None:
        (copy / MANIFEST).write_bytes(content)
        refused(lambda: read_manifest(copy))

    seeds = {name: [(whole / name).read_bytes()] for name in (FIRST, SAMPLES, MANIFEST)}
    return {
        "tar": Target(inputs=mutated(seeds[FIRST], head=4096) | st.binary(max_size=2000), check=members),
        "tar in a set": Target(inputs=mutated(seeds[FIRST]), check=in_set(FIRST)),
        "sample table": Target(inputs=mutated(seeds[SAMPLES]) | st.binary(max_size=300), check=table),
        "sample table in a set": Target(inputs=mutated(seeds[SAMPLES]), check=in_set(SAMPLES)),
        "manifest": Target(inputs=mutated(seeds[MANIFEST]) | st.binary(max_size=300), check=manifest),
        "manifest of a set": Target(inputs=mutated(seeds[MANIFEST]), check=in_set(MANIFEST)),
    }


def picture_targets(whole: Path) -> dict[str, Target]:
    """JPEG headers and payloads."""
    (first,) = itertools.islice((each for name, each in tar.read_members(whole / FIRST) if name.endswith("jpg")), 1)

    def check(content: bytes) -> None:
        size = images.jpeg_size(content)
        pictures: list[images.Image] = []
        if not refused(lambda: pictures.append(images.decode_jpeg(content)), kinds=(images.DamagedPictureError,)):
            assert pictures[0].size <= 3 * images.MAX_PIXELS
            assert size is None or pictures[0].shape[:2] == size[::-1]

    junk = st.binary(max_size=200).map(lambda rest: b"\xff\xd8" + rest)
    return {"jpeg": Target(inputs=mutated([first], head=700) | junk, check=check)}


def video_targets(folder: Path) -> dict[str, Target]:
    """Containers, streams, and the parsers that look at them first."""

    def check(suffix: str) -> Callable[[bytes], None]:
        path = folder / f"v.{suffix}"

        def read(content: bytes) -> None:
            path.write_bytes(content)
            containers.told(path), containers.display(path)
            frames: list[int] = []
            refused(lambda: video.probe(path))
            if not refused(lambda: frames.extend(index for index, _ in video.read_frames(path, {0, 3}))):
                assert frames == sorted(set(frames))
                assert video.expected_frames(path, video.frame_times(path)) >= 0

        return read

    kinds = {
        "mp4": ("libx264", "yuv420p"),
        "avi": ("mjpeg", "yuvj420p"),
        "mkv": ("mpeg4", "yuv420p"),
        "webm": ("libvpx-vp9", "yuv420p"),
        "wmv": ("wmv2", "yuv420p"),
    }
    found = {}
    for suffix, (codec, pixels) in kinds.items():
        flags = {"movflags": "faststart"} if suffix == "mp4" else {}
        seed = encode(folder / f"seed.{suffix}", 6, codec, pixels, **flags).read_bytes()
        found[suffix] = Target(inputs=mutated([seed], head=1500) | mutated([seed]), check=check(suffix))
    packets = st.binary(max_size=99) | st.binary(max_size=99).map(lambda rest: b"\0\0\1\x67\x64" + rest)

    def headers(head: bytes) -> None:
        for codec in ("h264", "mpg2", "FMP4", "hevc", "apch", "AVdn", "dvsd"):
            may_be_interlaced(cv2.VideoWriter.fourcc(*codec), head)

    return found | {"first packet": Target(inputs=packets, check=headers)}


def quiet() -> None:
    """Silences decoders, whose complaints would fill a screen; for a process that only feeds them."""
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, 2)
