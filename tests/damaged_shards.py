"""Kinds of damage to a shard set: how each is done, and what `cct verify` and training say about it.

Used by tests/test_damage.py and by benchmarks/damage.py, which writes docs/damage.md from it.
"""

import json
import os
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.contract import SAMPLE_COLUMNS
from pipeline.shards.manifest import MANIFEST, SAMPLES
from pipeline.tables import read_table, write_table
from pipeline.tar import BLOCK
from tests.test_verification import FIRST, Members, content, first, forge, members_of, write_members

SIZE, CHECKSUM, KIND, MAGIC = 124, 148, 156, 257
"""Where fields of a tar header begin."""


@dataclass(frozen=True, kw_only=True)
class ShardCase:
    """One kind of damage. `named` is the file that must be named, `said` a part of the line."""

    kind: str
    make: Callable[[Path], object]
    named: str = FIRST
    said: str = "sha256 differs"


def flipped(name: str, place: Callable[[bytes], int]) -> Callable[[Path], None]:
    """One bit of a file at a place that depends on its content."""

    def make(folder: Path) -> None:
        content = bytearray((folder / name).read_bytes())
        content[place(bytes(content))] ^= 4
        (folder / name).write_bytes(content)

    return make


def of_member(suffix: str, offset: int, *, header: bool = False) -> Callable[[bytes], int]:
    """A place in the first member of this suffix: in its header, or in its content (negative: from its end)."""

    def place(whole: bytes) -> int:
        at = 0
        while not whole[at : at + 100].rstrip(b"\0").endswith(suffix.encode()):
            size = int(whole[at + SIZE : at + SIZE + 11], 8)
            at += BLOCK + size + -size % BLOCK
        size = int(whole[at + SIZE : at + SIZE + 11], 8)
        return at + offset if header else at + BLOCK + (offset if offset >= 0 else size + offset)

    return place


def cut(name: str, place: Callable[[bytes], int]) -> Callable[[Path], None]:
    """A file that ends at a place that depends on its content."""
    return lambda folder: os.truncate(folder / name, place((folder / name).read_bytes()))


def replaced(name: str, make: Callable[[Path], object]) -> Callable[[Path], None]:
    """Something else under a file's name."""

    def act(folder: Path) -> None:
        (folder / name).unlink()
        make(folder / name)

    return act


def appended(folder: Path) -> None:
    """The same values in other bytes."""
    content = (folder / MANIFEST).read_bytes()
    (folder / MANIFEST).unlink()
    (folder / MANIFEST).write_bytes(content + b"\n")


def forged(change: Callable[[Members], Members]) -> Callable[[Path], None]:
    """Other members, with a manifest whose digests are right again: what an attacker would send."""

    def make(folder: Path) -> None:
        write_members(folder / FIRST, change(members_of(folder / FIRST)))
        forge(folder)

    return make


def renamed(name: str) -> Callable[[Path], None]:
    """Another shard's name in a manifest whose digest is right."""
    return lambda folder: forge(folder, lambda manifest: manifest["shards"][0].update(name=name))


def bomb(folder: Path) -> None:
    """A sample table of a hundred thousand equal rows in a few kilobytes, with a manifest that agrees."""
    row = read_table(folder / SAMPLES, SAMPLE_COLUMNS).head(1)
    write_table(folder / SAMPLES, row.loc[row.index.repeat(100_000)], SAMPLE_COLUMNS)
    forge(folder)


def claiming(width: int) -> Callable[[bytes], bytes]:
    """A JPEG whose frame header claims another width; its length stays."""

    def change(jpeg: bytes) -> bytes:
        at = jpeg.index(b"\xff\xc0") + 7
        return jpeg[:at] + width.to_bytes(2) + jpeg[at + 2 :]

    return change


END = -2 * BLOCK
MISSING = "missing"
NOT_FILE = "not a regular file"
SHARD_CASES = [
    ShardCase(kind="bit of a member's name", make=flipped(FIRST, lambda _: 3)),
    ShardCase(kind="bit of a member's size", make=flipped(FIRST, lambda _: SIZE + 9)),
    ShardCase(kind="bit of a header's checksum", make=flipped(FIRST, lambda _: CHECKSUM + 2)),
    ShardCase(kind="bit of a member's kind", make=flipped(FIRST, lambda _: KIND)),
    ShardCase(kind="bit of a header's magic", make=flipped(FIRST, lambda _: MAGIC)),
    ShardCase(kind="bit of a header's unused part", make=flipped(FIRST, lambda _: BLOCK - 1)),
    ShardCase(kind="bit of a label", make=flipped(FIRST, of_member(".cls", 0))),
    ShardCase(kind="bit of the padding behind a label", make=flipped(FIRST, of_member(".cls", 100))),
    ShardCase(kind="bit of a JPEG's header", make=flipped(FIRST, of_member(".jpg", 4))),
    ShardCase(kind="bit of a JPEG's payload", make=flipped(FIRST, of_member(".jpg", -900))),
    ShardCase(kind="bit of a JPEG's last byte", make=flipped(FIRST, of_member(".jpg", -1))),
    ShardCase(kind="bit of a record", make=flipped(FIRST, of_member(".json", 20))),
    ShardCase(kind="bit of a later member's header", make=flipped(FIRST, of_member(".json", 5, header=True))),
    ShardCase(kind="bit of the end mark", make=flipped(FIRST, lambda whole: len(whole) - 1)),
    ShardCase(kind="bit of the sample table", make=flipped(SAMPLES, lambda whole: len(whole) // 2), named=SAMPLES),
    ShardCase(
        kind="bit of a digest in the manifest",
        make=flipped(MANIFEST, lambda whole: whole.index(b'"sha256":') + 14),
        named=MANIFEST,
        said="",
    ),
    ShardCase(
        kind="bit of a count in the manifest",
        make=flipped(MANIFEST, lambda whole: whole.index(b'"samples":') + 11),
        named=MANIFEST,
        said="",
    ),
    ShardCase(
        kind="bit of a brace of the manifest",
        make=flipped(MANIFEST, lambda _: 0),
        named=MANIFEST,
        said="not valid JSON",
    ),
    ShardCase(
        kind="blank line behind the manifest",
        make=appended,
        named=MANIFEST,
        said="its text is not what was written",
    ),
    ShardCase(kind="shard of no bytes", make=cut(FIRST, lambda _: 0), said="0 bytes, the manifest says"),
    ShardCase(kind="shard cut in its first header", make=cut(FIRST, lambda _: 100), said="100 bytes"),
    ShardCase(kind="shard cut in a picture", make=cut(FIRST, of_member(".jpg", 999)), said="bytes, the manifest says"),
    ShardCase(
        kind="shard cut between two members",
        make=cut(FIRST, of_member(".json", 0, header=True)),
        said="bytes, the manifest says",
    ),
    ShardCase(
        kind="shard cut before its end mark",
        make=cut(FIRST, lambda whole: len(whole.rstrip(b"\0"))),
        said="bytes, the manifest says",
    ),
    ShardCase(
        kind="shard cut in its end mark",
        make=cut(FIRST, lambda whole: len(whole) + END),
        said="bytes, the manifest says",
    ),
    ShardCase(
        kind="bytes behind a shard",
        make=lambda folder: os.truncate(folder / FIRST, (folder / FIRST).stat().st_size + 1),
        said="bytes, the manifest says",
    ),
    ShardCase(kind="shard missing", make=replaced(FIRST, lambda _: None), said=MISSING),
    ShardCase(kind="shard that is a folder", make=replaced(FIRST, Path.mkdir), said=NOT_FILE),
    ShardCase(kind="shard that is a pipe", make=replaced(FIRST, os.mkfifo), said=NOT_FILE),
    ShardCase(
        kind="shard that links to a device without end",
        make=replaced(FIRST, lambda path: path.symlink_to("/dev/zero")),
        said=NOT_FILE,
    ),
    ShardCase(
        kind="shard that nobody wrote",
        make=lambda folder: (folder / "train-000099.tar").touch(),
        named="train-000099.tar",
        said="not in the manifest",
    ),
    ShardCase(
        kind="two shards swapped", make=lambda folder: swap(folder / FIRST, folder / "train-000001.tar"), said="bytes"
    ),
    ShardCase(kind="sample table missing", make=replaced(SAMPLES, lambda _: None), named=SAMPLES, said=MISSING),
    ShardCase(
        kind="sample table cut",
        make=cut(SAMPLES, lambda whole: len(whole) - 9),
        named=SAMPLES,
        said="bytes, the manifest says",
    ),
    ShardCase(kind="manifest missing", make=replaced(MANIFEST, lambda _: None), named=MANIFEST, said="cct team pull"),
    ShardCase(kind="manifest of no bytes", make=cut(MANIFEST, lambda _: 0), named=MANIFEST, said="not valid JSON"),
    ShardCase(
        kind="manifest cut", make=cut(MANIFEST, lambda whole: len(whole) // 2), named=MANIFEST, said="not valid JSON"
    ),
    ShardCase(kind="manifest that is a pipe", make=replaced(MANIFEST, os.mkfifo), named=MANIFEST, said="not a file"),
    ShardCase(
        kind="manifest of a terabyte",
        make=lambda folder: os.truncate(folder / MANIFEST, 1 << 40),
        named=MANIFEST,
        said="too large for a manifest",
    ),
    ShardCase(
        kind="manifest that names a shell command", make=renamed("pipe:touch x"), named=MANIFEST, said="shards.0.name"
    ),
    ShardCase(
        kind="manifest that names an address",
        make=renamed("http://127.0.0.1/train-000000.tar"),
        named=MANIFEST,
        said="shards.0.name",
    ),
    ShardCase(
        kind="manifest that names a file elsewhere",
        make=renamed("../train-000000.tar"),
        named=MANIFEST,
        said="shards.0.name",
    ),
    ShardCase(
        kind="forged: a symbolic link",
        make=forged(first("jpg", type=tarfile.SYMTYPE, linkname="/etc/passwd")),
        said="found a symbolic link",
    ),
    ShardCase(kind="forged: a device", make=forged(first("cls", type=tarfile.CHRTYPE)), said="found something special"),
    ShardCase(kind="forged: a PAX header", make=forged(first("cls", type=tarfile.XHDTYPE)), said="expected member"),
    ShardCase(
        kind="forged: a global PAX header", make=forged(first("cls", type=tarfile.XGLTYPE)), said="expected member"
    ),
    ShardCase(
        kind="forged: a GNU long name", make=forged(first("cls", type=tarfile.GNUTYPE_LONGNAME)), said="expected member"
    ),
    ShardCase(
        kind="forged: a GNU sparse file", make=forged(first("cls", type=tarfile.GNUTYPE_SPARSE)), said="expected member"
    ),
    ShardCase(kind="forged: a path upward", make=forged(first("cls", name="../../x.cls")), said="'../../x.cls'"),
    ShardCase(kind="forged: a pickle", make=forged(first("cls", name="x.pickle")), said="'x.pickle'"),
    ShardCase(
        kind="forged: a sample twice",
        make=forged(lambda members: members[:3] * 2 + members[3:]),
        said="expected member",
    ),
    ShardCase(
        kind="forged: another label",
        make=forged(content("cls", lambda old: b"6")),
        said="not the label of samples.parquet",
    ),
    ShardCase(
        kind="forged: a JPEG that claims 30,000 pixels across",
        make=forged(content("jpg", claiming(30_000))),
        said="not a JPEG of 224 x 224",
    ),
    ShardCase(
        kind="forged: a record that is no JSON",
        make=forged(content("json", lambda old: b"{" * len(old))),
        said="cannot be read",
    ),
    ShardCase(
        kind="forged: a record of another sample",
        make=forged(content("json", lambda old: json.dumps({"video": "x"}).encode())),
        said="of another sample",
    ),
    ShardCase(
        kind="forged: a table of a hundred thousand rows", make=bomb, named=SAMPLES, said="more samples than fit"
    ),
]


def swap(one: Path, other: Path) -> None:
    """Two files change names."""
    between = one.with_suffix(".between")
    one.rename(between)
    other.rename(one)
    between.rename(other)
