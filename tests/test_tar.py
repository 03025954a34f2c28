"""Deterministic tar archives, against the standard library's writer and reader, and damage that must be noticed."""

import io
import subprocess
import tarfile
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.contract import UserError
from pipeline.tar import TarWriter, read_members

MEMBERS = [("a.jpg", b""), ("b.cls", b"3"), ("c.json", bytes(range(256)) * 2), ("d_%C3%A9.jpg", b"x" * 513)]
HEADERS = (0, 1 * 512, 3 * 512, 5 * 512)
ENDED = 8 * 512
"""Where the headers are, and where the last content ends; see `test_the_layout_is_as_counted`."""


def packed(members: Iterable[tuple[str, bytes]]) -> bytes:
    """A whole archive in memory."""
    stream = io.BytesIO()
    writer = TarWriter(stream)
    for name, content in members:
        writer.add(name, content)
    writer.close()
    return stream.getvalue()


def archive() -> bytes:
    return packed(iter(MEMBERS))


def reference(members: list[tuple[str, bytes]]) -> bytes:
    """The same archive by the standard library."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as writer:
        for name, content in members:
            header = tarfile.TarInfo(name)
            header.size, header.mode = len(content), 0o444
            writer.addfile(header, io.BytesIO(content))
    return stream.getvalue()


def read(path: Path, content: bytes) -> list[tuple[str, bytes]]:
    path.write_bytes(content)
    return list(read_members(path))


def test_the_layout_is_as_counted() -> None:
    content = archive()
    assert [content[begin : begin + 5] for begin in HEADERS] == [name[:5].encode() for name, _ in MEMBERS]
    assert not any(content[ENDED:])
    assert any(content[ENDED - 512 : ENDED])


@given(st.lists(st.tuples(st.from_regex(r"[a-z0-9_%-]{1,60}\.(jpg|cls|json)", fullmatch=True), st.binary())))
def test_bytes_are_those_of_the_standard_library(members: list[tuple[str, bytes]]) -> None:
    assert packed(iter(members)) == reference(members)


@given(st.lists(st.integers(0, 1600), max_size=12))
def test_an_offset_points_at_the_very_content(sizes: list[int]) -> None:
    stream = io.BytesIO()
    writer = TarWriter(stream)
    contents = [bytes([index + 1]) * size for index, size in enumerate(sizes)]
    offsets = [writer.add(f"{index}.bin", content) for index, content in enumerate(contents)]
    writer.close()
    for offset, content in zip(offsets, contents, strict=True):
        assert stream.getvalue()[offset : offset + len(content)] == content


def test_headers_carry_no_trace_of_machine_or_time() -> None:
    with tarfile.open(fileobj=io.BytesIO(archive())) as reader:
        for member in reader:
            fields = (member.mtime, member.uid, member.gid, member.uname, member.gname, member.mode, member.type)
            assert fields == (0, 0, 0, "", "", 0o444, tarfile.REGTYPE)
    assert archive()[257:265] == b"ustar\x0000"


def test_the_system_tar_agrees(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(archive())
    listed = subprocess.run(["tar", "-tf", tmp_path / "a.tar"], capture_output=True, text=True, check=True)
    assert listed.stdout.splitlines() == [name for name, _ in MEMBERS]
    assert listed.stderr == ""


def test_a_name_beyond_the_header_is_refused() -> None:
    assert packed(iter([("n" * 100, b"")]))
    with pytest.raises(ValueError, match="long"):
        packed(iter([("n" * 101, b"")]))


def test_members_are_read_back_in_order(tmp_path: Path) -> None:
    assert read(tmp_path / "a.tar", archive()) == MEMBERS


def test_archives_of_others_are_read_too(tmp_path: Path) -> None:
    assert read(tmp_path / "a.tar", reference(MEMBERS)) == MEMBERS


def test_a_cut_archive_is_never_taken_for_a_shorter_one(tmp_path: Path) -> None:
    content = archive()
    unnoticed = []
    for length in range(0, ENDED + 512, 16):
        try:
            read(tmp_path / "cut.tar", content[:length])
            unnoticed.append(length)
        except UserError as error:
            assert "cut.tar" in str(error)
    assert unnoticed == []


def test_a_changed_header_never_loses_members_in_silence(tmp_path: Path) -> None:
    content = archive()
    for header in HEADERS:
        for position in range(header, header + 500, 7):
            damaged = bytearray(content)
            damaged[position] ^= 0x41
            with pytest.raises(UserError, match=r"bad\.tar"):
                read(tmp_path / "bad.tar", bytes(damaged))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE])
def test_anything_but_a_file_is_refused_by_name(tmp_path: Path, kind: bytes) -> None:
    member = tarfile.TarInfo("odd")
    member.type, member.linkname = kind, "/etc/passwd"
    content = member.tobuf(tarfile.USTAR_FORMAT) + bytes(1024)
    with pytest.raises(UserError, match=r"a\.tar: member 'odd' is not a regular file"):
        read(tmp_path / "a.tar", content)


@pytest.mark.parametrize("content", [b"", b"not a tar" * 200, None])
def test_what_is_no_tar_is_named(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.tar .*`dvc repro`"):
        list(read_members(tmp_path / "a.tar"))
