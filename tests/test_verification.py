"""Verification: any damage is found and named, and nothing but samples passes, whatever the manifest says."""

import io
import json
import os
import random
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import files
from pipeline.contract import SAMPLE_COLUMNS, UserError
from pipeline.images import jpeg_size
from pipeline.marks import MARK_COLUMNS, NO_LISTED_LABEL
from pipeline.shards.manifest import MANIFEST, SAMPLES, read_manifest
from pipeline.shards.verification import require_verified, verify
from pipeline.tables import read_table, write_table

FIRST = "train-000000.tar"

Members = list[tuple[tarfile.TarInfo, bytes]]


def found_wrong(folder: Path) -> list[str]:
    """What verification says; a manifest that is not believed at all counts as one finding."""
    try:
        return verify(folder)
    except UserError as error:
        return [str(error)]


def forge(folder: Path, change: Callable[[dict[str, Any]], object] = lambda manifest: None) -> None:
    """Makes the manifest true again, byte counts, digests and all, but for what `change` does to it."""
    manifest = json.loads((folder / MANIFEST).read_text())
    del manifest["digest"]
    lines = {line["name"]: line for line in manifest["shards"]} | manifest["files"]
    for name, line in lines.items():
        if (folder / name).is_file():
            line |= {"bytes": (folder / name).stat().st_size, "sha256": files.digest_file(folder / name)}
    change(manifest)
    files.write_json(folder / MANIFEST, manifest | {"digest": files.digest_of(manifest)})


def members_of(path: Path) -> Members:
    with tarfile.open(path) as archive:
        return [(member, io.BytesIO(archive.extractfile(member).read()).getvalue()) for member in archive]  # type: ignore[union-attr]


def write_members(path: Path, members: Members) -> None:
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for member, content in members:
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def test_a_whole_set_passes(whole: Path) -> None:
    assert verify(whole) == []
    require_verified(whole)


def test_any_changed_byte_of_shards_and_tables_is_found_and_its_file_named(folder: Path) -> None:
    places = random.Random(0)
    for path in sorted(set(folder.iterdir()) - {folder / MANIFEST}):
        content = path.read_bytes()
        for position in (0, len(content) - 1, *(places.randrange(len(content)) for _ in range(12))):
            damaged = bytearray(content)
            damaged[position] ^= 1 << places.randrange(8)
            path.write_bytes(damaged)
            assert [str(path) in problem for problem in verify(folder)] == [True]
        path.write_bytes(content)
    require_verified(folder)


def test_any_changed_byte_of_the_manifest_is_found(folder: Path) -> None:
    path = folder / MANIFEST
    content = path.read_bytes()
    unnoticed = []
    for position in range(0, len(content), 11):
        damaged = bytearray(content)
        damaged[position] ^= 1
        path.write_bytes(damaged)
        if not found_wrong(folder):
            unnoticed.append(content[max(0, position - 20) : position + 10])
    assert unnoticed == []


@pytest.mark.parametrize("name", [FIRST, "val-000000.tar", SAMPLES])
def test_a_cut_or_missing_file_is_named(folder: Path, name: str) -> None:
    os.truncate(folder / name, (folder / name).stat().st_size - 1)
    assert [str(folder / name) in problem for problem in verify(folder)] == [True]
    (folder / name).unlink()
    assert verify(folder) == [f"{folder / name}: missing"]


@pytest.mark.parametrize("name", ["train-000009.tar", "notes.txt", ".hidden"])
def test_an_extra_file_is_named(folder: Path, name: str) -> None:
    (folder / name).touch()
    assert verify(folder) == [f"{folder / name}: not in the manifest"]


def test_training_is_refused_with_the_file_and_what_to_run(folder: Path) -> None:
    (folder / "val-000000.tar").unlink()
    (folder / "notes.txt").touch()
    with pytest.raises(UserError) as caught:
        require_verified(folder)
    message = str(caught.value)
    assert message.startswith(f"{folder / 'val-000000.tar'}: missing (and 1 more); ")
    assert "`cct team pull --force`" in message and "`dvc repro --force --single-item shard`" in message
    assert "\n" not in message


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_what_is_no_regular_file_is_never_read(folder: Path, make: Callable[[Path], None]) -> None:
    (folder / FIRST).unlink()
    make(folder / FIRST)
    assert verify(folder) == [f"{folder / FIRST}: not a regular file"]


def test_a_file_whose_reading_fails_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a failing disk, or without the permission."""

    def fail(path: Path) -> str:
        raise OSError(5, "Input/output error", str(path))

    monkeypatch.setattr(files, "digest_file", fail)
    assert verify(folder)[0] == f"{folder / SAMPLES}: cannot be read (Input/output error)"
    monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.raises(UserError, match=r"manifest\.json cannot be read \(Input/output error\)"):
        verify(folder)


def test_links_as_dvc_makes_them_pass(folder: Path, tmp_path: Path) -> None:
    """With `cache.type: symlink` every file of a pulled set is a link into the cache."""
    for path in list(folder.iterdir()):
        cached = tmp_path / f"cached-{path.name}"
        path.rename(cached)
        path.symlink_to(cached)
    assert verify(folder) == []


@pytest.mark.parametrize(
    "content",
    [None, b"", b"[]", b"{}", b"\xff", b'{"format": 2}', b'{"format": 1}', b"[" * 99_999, b'{"a": NaN}', b"1" * 9999],
)
def test_a_manifest_of_another_kind_is_refused_by_name(folder: Path, content: bytes | None) -> None:
    (folder / MANIFEST).unlink()
    if content is not None:
        (folder / MANIFEST).write_bytes(content)
    with pytest.raises(UserError, match=r"manifest\.json.*`dvc repro") as caught:
        verify(folder)
    assert "\n" not in str(caught.value)


def rename(manifest: dict[str, Any], name: str) -> None:
    manifest["shards"][0]["name"] = name


FORGED_NAMES = ["../train-000000.tar", "/etc/passwd", "train-000000.tar/..", "", ".", "train-0.tar", "x-000000.tar"]
FORGED_NAMES += [
    "train-000000.tar\n",
    "pipe:rm -r x",
    "train-000000.TAR",
    "train-٠٠٠٠٠٠.tar",
    "http://x/train-000000.tar",
]


@pytest.mark.parametrize("name", FORGED_NAMES)
def test_a_name_that_leads_elsewhere_is_refused(folder: Path, name: str) -> None:
    forge(folder, lambda manifest: rename(manifest, name))
    with pytest.raises(UserError, match=r"manifest\.json: 'shards\.0\.name'"):
        verify(folder)
    forge(folder, lambda manifest: rename(manifest, FIRST))
    forge(folder, lambda manifest: manifest["files"].update({name: manifest["files"][SAMPLES]}))
    with pytest.raises(UserError, match=r"manifest\.json: ['\"]files\."):
        verify(folder)


FORGED_MANIFESTS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "no samples": (lambda m: m["files"].pop(SAMPLES), "samples.parquet"),
    "a shard twice": (lambda m: m["shards"].append(m["shards"][0]), "not those of the manifest"),
    "a shard less": (lambda m: m["shards"].pop(), "not those of the manifest"),
    "another split": (lambda m: m["shards"][0].update(split="val"), "not those of the manifest"),
    "more samples": (lambda m: m["shards"][0].update(samples=99), "not the sum of its classes"),
    "other classes": (lambda m: m["shards"][0].update(classes=[9] * 7), "not those of the manifest"),
    "fewer classes": (lambda m: m.update(classes=["a"]), "has a label that is none of the 1 classes"),
    "other totals": (lambda m: m["splits"]["val"].update(samples=1, classes=[1]), "split val are not the sum"),
    "a split less": (lambda m: m["splits"].pop("val"), "split val are not the sum"),
    "a split more": (lambda m: m["splits"].update(test={"samples": 0, "classes": []}), "split test are not the sum"),
    "another size": (lambda m: m["picture"].update(width=225), "its .jpg is not a JPEG of 225 x 224 pixels"),
}


@pytest.mark.parametrize(("change", "said"), FORGED_MANIFESTS.values(), ids=FORGED_MANIFESTS)
def test_counts_that_are_not_true_are_refused(
    folder: Path, change: Callable[[dict[str, Any]], object], said: str
) -> None:
    forge(folder, change)
    problems = verify(folder)
    assert problems and said in problems[0]


def first(suffix: str, /, **fields: object) -> Callable[[Members], Members]:
    """Changes fields of the first member with this suffix."""

    def change(members: Members) -> Members:
        for member, _ in members:
            if member.name.endswith(suffix):
                for field, value in fields.items():
                    setattr(member, field, value)
                return members
        raise AssertionError

    return change


def content(suffix: str, new: Callable[[bytes], bytes]) -> Callable[[Members], Members]:
    """Changes the content of the first member with this suffix."""

    def change(members: Members) -> Members:
        place = next(i for i, (member, _) in enumerate(members) if member.name.endswith(suffix))
        return [*members[:place], (members[place][0], new(members[place][1])), *members[place + 1 :]]

    return change


def record(**fields: object) -> Callable[[bytes], bytes]:
    """Changes fields of a json; it keeps its length where the values do."""
    return lambda old: json.dumps(json.loads(old) | fields, sort_keys=True, separators=(",", ":")).encode()


def picture(width: int) -> bytes:
    return bytes(cv2.imencode(".jpg", np.zeros((224, width, 3), np.uint8))[1])


FORGED_TARS: dict[str, tuple[Callable[[Members], Members], str]] = {
    "symbolic link": (first("jpg", type=tarfile.SYMTYPE, linkname="/etc/passwd"), "found a symbolic link"),
    "hard link": (first("jpg", type=tarfile.LNKTYPE, linkname="x"), "found a link"),
    "folder": (first("cls", type=tarfile.DIRTYPE), "found a folder"),
    "fifo": (first("json", type=tarfile.FIFOTYPE), "found something special"),
    "device": (first("json", type=tarfile.CHRTYPE), "found something special"),
    "path upward": (first("jpg", name="../../x.jpg"), "found a file, '../../x.jpg'"),
    "absolute path": (first("cls", name="/tmp/x.cls"), "found a file, '/tmp/x.cls'"),
    "line feed": (first("cls", name="x\ny.cls"), r"found a file, 'x\ny.cls'"),
    "pickle": (first("json", name="x.pyd"), "found a file, 'x.pyd'"),
    "set-uid": (first("cls", mode=0o4755), "expected member"),
    "mtime": (first("cls", mtime=1), "expected member"),
    "sample twice": (lambda members: members[:3] * 2 + members[3:], "expected member"),
    "member twice": (lambda members: [members[0], *members], "expected member"),
    "one less": (lambda members: members[:-1], "expected member"),
    "one more": (lambda members: [*members, members[0]], "more, or less, than an end mark"),
    "swapped": (lambda members: [*members[3:6], *members[:3], *members[6:]], "expected member"),
    "other label": (content("cls", lambda old: b"6"), "its .cls is not the label of samples.parquet"),
    "code for a label": (content("cls", lambda old: b"__import__('os')"), "more than 1"),
    "empty label": (content("cls", lambda old: b""), "its .cls is not the label"),
    "no picture": (content("jpg", lambda old: b"x" * len(old)), "its .jpg is not a JPEG"),
    "cut picture": (content("jpg", lambda old: old[:-2] + b"xx"), "its .jpg is not a JPEG of 224 x 224"),
    "shorter picture": (content("jpg", lambda old: old[:-1]), "its .jpg is not where"),
    "wide picture": (content("jpg", lambda old: picture(99) + old[len(picture(99)) :]), "not a JPEG of 224 x 224"),
    "no json": (content("json", lambda old: old[:-1]), "its .json cannot be read"),
    "list": (content("json", lambda old: b"[1]"), "its .json is of another sample"),
    "deep json": (content("json", lambda old: b"[" * 60_000), "its .json cannot be read"),
    "huge json": (content("json", lambda old: b" " * 70_000), "more than 65536"),
    "other video": (content("json", record(video="x")), "its .json is of another sample"),
    "other frame": (content("json", record(frame=123)), "its .json is of another sample"),
}


@pytest.mark.parametrize(("change", "said"), FORGED_TARS.values(), ids=FORGED_TARS)
def test_nothing_but_samples_is_in_a_shard_even_with_right_digests(
    folder: Path, change: Callable[[Members], Members], said: str
) -> None:
    write_members(folder / FIRST, change(members_of(folder / FIRST)))
    forge(folder)
    (problem,) = verify(folder)
    assert problem.startswith(f"{folder / FIRST}: ") and said in problem
    assert len(problem.splitlines()) == 1


def test_an_empty_shard_is_refused_even_with_the_right_digest(folder: Path) -> None:
    (folder / FIRST).write_bytes(b"")
    forge(folder)
    assert [str(folder / FIRST) in problem for problem in verify(folder)] == [True]


FORGED_TABLES: dict[str, tuple[Callable[[pd.DataFrame], pd.DataFrame], str]] = {
    "label": (lambda t: t.assign(label=t["label"].replace(0, 7)), "has a label that is none of the 7 classes"),
    "negative": (lambda t: t.assign(label=t["label"].replace(0, -1)), "has a label that is none of the 7 classes"),
    "twice": (lambda t: pd.concat([t, t.head(1)]), "has a sample twice"),
    "fewer": (lambda t: t.iloc[1:], "not those of the manifest"),
    "elsewhere": (lambda t: t.assign(shard="/etc/passwd"), "not those of the manifest"),
    "offset": (lambda t: t.assign(offset=t["offset"] + 512), "its .jpg is not where"),
    "size": (lambda t: t.assign(size=-1), "more than -1"),
    "huge": (lambda t: t.assign(size=2**62), "its .jpg is not where"),
    "key": (lambda t: t.assign(key="../x"), "must be called"),
    "frame": (lambda t: t.assign(frame_index=t["frame_index"] - 2**40), "must be called"),
}


@pytest.mark.parametrize(("change", "said"), FORGED_TABLES.values(), ids=FORGED_TABLES)
def test_a_table_that_is_not_true_is_refused_even_with_the_right_digest(
    folder: Path, change: Callable[[pd.DataFrame], pd.DataFrame], said: str
) -> None:
    write_table(folder / SAMPLES, change(read_table(folder / SAMPLES, SAMPLE_COLUMNS)), SAMPLE_COLUMNS)
    forge(folder)
    problems = verify(folder)
    assert problems and said in problems[0]


@pytest.mark.parametrize("column", ["key", "label", "trial", "offset"])
def test_an_empty_cell_is_refused(folder: Path, column: str) -> None:
    table = read_table(folder / SAMPLES, SAMPLE_COLUMNS).astype({column: object})
    table.loc[0, column] = None
    write_table(folder / SAMPLES, table, SAMPLE_COLUMNS)
    forge(folder)
    assert verify(folder) == [f"{folder / SAMPLES}: has an empty cell"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(data=st.data())
def test_any_other_manifest_gives_a_typed_error(whole: Path, data: st.DataObject) -> None:
    """One value of the manifest, anywhere in it, becomes anything else; the digest is made right again."""
    manifest = read_manifest(whole)
    del manifest["digest"]
    place: Any = manifest
    while True:
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        if not isinstance(place[key], dict | list) or not place[key] or data.draw(st.booleans()):
            break
        place = place[key]
    place[key] = data.draw(JSON)
    folder = whole.parent / "forged"
    folder.mkdir(exist_ok=True)
    text = json.dumps(manifest | {"digest": files.digest_of(json.loads(json.dumps(manifest), parse_constant=str))})
    (folder / MANIFEST).write_text(text)
    for problem in found_wrong(folder):
        assert str(folder) in problem and len(problem.splitlines()) == 1


@given(st.integers(1, 900), st.integers(1, 900), st.booleans())
def test_the_size_in_a_header_is_what_a_decoder_finds(width: int, height: int, progressive: bool) -> None:
    options = [cv2.IMWRITE_JPEG_PROGRESSIVE, int(progressive)]
    encoded = bytes(cv2.imencode(".jpg", np.zeros((height, width, 3), np.uint8), options)[1])
    assert jpeg_size(encoded) == (width, height)


@given(st.binary(max_size=300).map(lambda junk: b"\xff\xd8" + junk))
def test_no_header_is_looked_for_beyond_the_end(junk: bytes) -> None:
    assert jpeg_size(junk) is None or b"\xff" in junk[2:]
    assert jpeg_size(junk[2:]) is None or junk[2:].startswith(b"\xff\xd8")


MARKS: dict[str, tuple[list[Any], list[Any]]] = {
    "picture": (["a.jpg", None], ["a.jpg", None]),
    "valence": ([0.25, float("nan")], [0.25, None]),
    "arousal": ([-1.0, 1.0], [-1.0, 1.0]),
    "action_units": (["AU12=1 AU1=0", None], [{"AU1": 0, "AU12": 1}, None]),
    "votes": ([[0, 9], None], [[0, 9], None]),
    "listed_label": ([3, NO_LISTED_LABEL], [3, None]),
}
"""Of each column what the table says of two samples, and what their json does."""


def with_marks(folder: Path, table: dict[str, list[Any]], told: dict[str, list[Any]]) -> Path:
    """Gives the two samples of the second shard what is known of them, in the table and in their json."""
    rows = read_table(folder / SAMPLES, SAMPLE_COLUMNS)
    own = np.flatnonzero(rows["shard"] == "val-000000.tar")[:2]
    for name, values in table.items():
        column = pd.Series([None] * len(rows), dtype=object)
        column[own[0]], column[own[1]] = values
        rows[name] = column.fillna(NO_LISTED_LABEL).astype(int) if name == "listed_label" else column
    write_table(folder / SAMPLES, rows, SAMPLE_COLUMNS | {name: MARK_COLUMNS[name] for name in table})
    members = members_of(folder / "val-000000.tar")
    records = [place for place, (member, _) in enumerate(members) if member.name.endswith(".json")]
    for number, place in enumerate(records[:2]):
        content = json.loads(members[place][1])
        content |= {name: values[number] for name, values in told.items() if values[number] is not None}
        members[place] = members[place][0], json.dumps(content).encode()
    write_members(folder / "val-000000.tar", members)
    forge(folder)
    return folder


def test_what_else_is_known_passes_where_table_and_json_agree(folder: Path) -> None:
    table = {name: values for name, (values, _) in MARKS.items()}
    assert verify(with_marks(folder, table, {name: told for name, (_, told) in MARKS.items()})) == []


@pytest.mark.parametrize("name", MARKS)
@pytest.mark.parametrize("change", ["another", "absent", "too much"])
def test_a_mark_that_differs_from_the_json_is_found_even_with_right_digests(
    folder: Path, name: str, change: str
) -> None:
    values, told = MARKS[name]
    wrong = {"another": ["x", told[1]], "absent": [None, told[1]], "too much": [told[0], 0.5]}[change]
    (problem,) = verify(with_marks(folder, {name: values}, {name: wrong}))
    assert f"{name} in its .json is not what samples.parquet says" in problem


def test_marks_that_cannot_be_read_are_refused(folder: Path) -> None:
    (problem,) = verify(with_marks(folder, {"action_units": ["AU1", None]}, {}))
    assert "action units or votes cannot be read" in problem
