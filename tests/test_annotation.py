"""One annotation file: every row keeps its place, and is a label or has a reason; only typed errors come out."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.contract import CLASSES, Drop, UserError
from pipeline.datasets.annotation import read_annotation
from pipeline.datasets.base import NO_LABEL, Labels

HEADER = ",".join(CLASSES[:7])
HEADER_8 = ",".join(CLASSES)
ROWS = f"{HEADER}\n0\n-1\n3\n"


def by_frame(found: Labels) -> dict[int, int]:
    """Usable labels by frame index."""
    return {frame_index: label for frame_index, label in enumerate(found.tolist()) if label != NO_LABEL}


def labels(folder: Path, content: str | bytes, classes: int = 7) -> tuple[dict[int, int], dict[Drop, int], int]:
    """Usable labels by frame, what was left out, and the number of rows."""
    (folder / "v.txt").write_bytes(content.encode() if isinstance(content, str) else content)
    annotation = read_annotation(folder / "v.txt", classes)
    usable = by_frame(annotation.labels)
    assert len(annotation.labels) == len(usable) + sum(annotation.dropped.values())
    return usable, dict(annotation.dropped), len(annotation.labels)


def test_the_eighth_class_is_kept_or_left_out(tmp_path: Path) -> None:
    content = f"{HEADER_8}\n7\n6\n8\n"
    assert labels(tmp_path, content, 8) == ({0: 7, 1: 6}, {Drop.LABEL_OUT_OF_RANGE: 1}, 3)
    assert labels(tmp_path, content, 7) == ({1: 6}, {Drop.CLASS_EXCLUDED: 1, Drop.LABEL_OUT_OF_RANGE: 1}, 3)
    assert labels(tmp_path, f"{HEADER}\n7\n6\n", 8) == ({1: 6}, {Drop.LABEL_OUT_OF_RANGE: 1}, 2)


def test_classes_are_mapped_by_name(tmp_path: Path) -> None:
    header = "Surprise, happiness ,OTHER,Neutral"
    found = ({0: 6, 1: 4, 3: 0}, {Drop.CLASS_EXCLUDED: 1}, 4)
    assert labels(tmp_path, f"{header}\n0\n1\n2\n3\n") == found


def test_every_row_without_a_label_has_its_reason_and_keeps_its_place(tmp_path: Path) -> None:
    unreadable = [
        "x",
        "",
        "1.5",
        ".0",
        "3.0.",
        "1,0",
        "0,1",
        "1 2",
        "1_0",
        "0x1",
        "1e0",
        "٣",
        "３",
        "²",
        "--1",
        "−1",
        "nan",
        "9" * 5000,
    ]
    out_of_range = ["7", "-5", "-2", "+8", "10000000000", "9" * 4000]
    rows = ["0", "-1", *unreadable, *out_of_range, "+2", "02"]
    expected = {
        Drop.LABEL_IGNORED: 1,
        Drop.LABEL_OUT_OF_RANGE: len(out_of_range),
        Drop.LABEL_UNREADABLE: len(unreadable),
    }
    usable = {0: 0, len(rows) - 2: 2, len(rows) - 1: 2}
    assert labels(tmp_path, "\n".join([HEADER, *rows])) == (usable, expected, len(rows))


@pytest.mark.parametrize(
    "content",
    [
        f"{HEADER}\n0\n-1\n3",
        f"{HEADER}\n0\n-1\n3\n\n \n\t\n",
        f"{HEADER}\r\n0\r\n-1\r\n3\r\n",
        f"{HEADER}\r0\r-1\r3\r",
        f"{HEADER}\r\r\n0\r\r\n-1\r\r\n3\r\r\n",
        f"{HEADER}  \n0 \n -1\t\n3\n",
        f"\ufeff{HEADER}\n0\n-1\n3\n",
    ],
    ids=["no newline", "blank end", "CRLF", "CR", "CRCRLF", "blanks", "BOM"],
)
def test_line_ends_blanks_and_marks_change_nothing(tmp_path: Path, content: str) -> None:
    assert labels(tmp_path, content) == ({0: 0, 2: 3}, {Drop.LABEL_IGNORED: 1}, 3)


def test_blank_lines_before_a_header_are_noted_and_before_rows_are_rows(tmp_path: Path) -> None:
    expected = ({0: 0, 2: 3}, {Drop.LABEL_IGNORED: 1}, 3)
    assert labels(tmp_path, f"\n \r\n{HEADER}\n0\n-1\n3\n") == expected
    assert read_annotation(tmp_path / "v.txt", 7).note == "blank lines before the header"
    (tmp_path / "v.txt").write_text("\n0\n-1\n3\n")
    with pytest.raises(UserError, match=r"^v\.txt: header names ''"):
        read_annotation(tmp_path / "v.txt", 7)


@pytest.mark.parametrize("junk", [b"\x00", b"\x85", b"\x0c", b"\x1c", "\u2028".encode(), b"\xe9"])
def test_a_damaged_row_never_moves_the_ones_below(tmp_path: Path, junk: bytes) -> None:
    content = HEADER.encode() + b"\n0\n1" + junk + b"1\n3\n"
    assert labels(tmp_path, content) == ({0: 0, 2: 3}, {Drop.LABEL_UNREADABLE: 1}, 3)


def test_a_whole_number_may_have_decimals(tmp_path: Path) -> None:
    found = ({0: 3, 2: 3}, {Drop.LABEL_IGNORED: 1, Drop.LABEL_OUT_OF_RANGE: 1}, 4)
    assert labels(tmp_path, f"{HEADER}\n3.0\n-1.00\n3.\n9.0\n") == found
    assert read_annotation(tmp_path / "v.txt", 7).note == "labels with decimals"
    (tmp_path / "v.txt").write_text("3.0\n")
    assert read_annotation(tmp_path / "v.txt", 7).note.startswith("no header line")


@pytest.mark.parametrize(("encoding", "note"), [("utf-16", "UTF-16"), ("utf-8-sig", ""), ("latin-1", "")])
def test_an_encoding_that_tells_itself_is_read(tmp_path: Path, encoding: str, note: str) -> None:
    (tmp_path / "v.txt").write_bytes(ROWS.encode(encoding))
    annotation = read_annotation(tmp_path / "v.txt", 7)
    assert (by_frame(annotation.labels), annotation.note) == ({0: 0, 2: 3}, note)


def fifo(path: Path) -> None:
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.mkdir()


def loop(path: Path) -> None:
    path.symlink_to(path)


def dangling(path: Path) -> None:
    path.symlink_to("nowhere")


def failing(path: Path) -> None:
    """A regular file whose reading fails, for root too."""
    path.symlink_to("/proc/self/mem")


def endless(path: Path) -> None:
    with path.open("wb") as stream:
        stream.truncate(1 << 40)


ODD_FILES = {
    fifo: "v.txt: not a regular file",
    folder: "v.txt: not a regular file",
    loop: "v.txt: not a regular file",
    dangling: "v.txt: not a regular file",
    failing: "v.txt: cannot be read (",
    endless: "v.txt: larger than any annotation",
}


@pytest.mark.parametrize(("make", "said"), ODD_FILES.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_what_is_no_readable_file_is_refused_in_one_line(
    tmp_path: Path, make: Callable[[Path], None], said: str
) -> None:
    make(tmp_path / "v.txt")
    with pytest.raises(UserError) as caught:
        read_annotation(tmp_path / "v.txt", 7)
    assert str(caught.value).startswith(said) and "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "v.txt"


LINES = st.lists(st.sampled_from([HEADER, HEADER_8, "Fear,Anger", "0", "7", "-1", "", " ", "x", "\x00", "é"]))


@given(content=st.binary(max_size=200) | st.text(max_size=200).map(str.encode) | LINES.map("\r\n".join).map(str.encode))
def test_any_bytes_are_read_or_refused_in_one_line(scratch: Path, content: bytes) -> None:
    scratch.write_bytes(content)
    try:
        annotation = read_annotation(scratch, 7)
    except UserError as error:
        assert str(error).startswith("v.txt: ") and len(str(error).splitlines()) == 1
    else:
        labels = annotation.labels
        assert len(labels) == len(by_frame(labels)) + sum(annotation.dropped.values()) > 0
        assert ((labels == NO_LABEL) | ((labels >= 0) & (labels < 7))).all()
