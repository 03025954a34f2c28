"""Tables: the same rows give the same bytes however they come, and a table is whole or absent."""

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import contract, tables
from pipeline.contract import UserError
from pipeline.tables import ROW_GROUP, TableWriter, narrowed, read_pieces, read_table, write_table

COLUMNS = {"key": "string", "name": "string", "number": "int64", "share": "double", "known": "bool"}
LENGTH = 2 * ROW_GROUP + 17


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    """Two row groups and a bit."""
    generator = np.random.default_rng(0)
    number = generator.integers(-(2**40), 2**40, LENGTH)
    names = [f"video {index // 5000}" for index in range(LENGTH)]
    keys = [f"a key that no other row has {index:06d}" for index in range(LENGTH)]
    return pd.DataFrame({"key": keys, "share": number / 7, "name": names, "known": number % 2 == 0, "number": number})


@pytest.fixture(scope="module")
def written(rows: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rows as a table, added at once."""
    path = tmp_path_factory.mktemp("table") / "whole.parquet"
    write_table(path, rows, COLUMNS)
    return path


@settings(max_examples=8)
@given(cuts=st.lists(st.integers(0, LENGTH), max_size=6), kind=st.sampled_from(["frame", "arrow", "categories"]))
def test_bytes_do_not_depend_on_the_pieces(written: Path, rows: pd.DataFrame, cuts: list[int], kind: str) -> None:
    path = written.parent / "pieces.parquet"
    borders = [0, *sorted(cuts), LENGTH]
    with TableWriter(path, COLUMNS) as writer:
        for begin, end in itertools.pairwise(borders):
            piece = rows.iloc[begin:end]
            if kind == "categories":
                piece = piece.astype({"name": "category"})
            writer.add(pa.Table.from_pandas(piece) if kind == "arrow" else piece)
    assert path.read_bytes() == written.read_bytes()


def test_what_was_written_is_read_back_at_once_or_in_pieces(written: Path, rows: pd.DataFrame) -> None:
    expected = rows[list(COLUMNS)]
    pd.testing.assert_frame_equal(read_table(written, COLUMNS), expected)
    pieces = list(read_pieces(written, {"number": "int64", "name": "string"}))
    assert max(map(len, pieces)) <= ROW_GROUP
    pd.testing.assert_frame_equal(pa.concat_tables(pieces).to_pandas(), expected[["number", "name"]])


def test_categories_hold_the_same_text_in_less_memory(written: Path, rows: pd.DataFrame) -> None:
    table = read_table(written, COLUMNS, categories=("name",))
    assert table["name"].astype(str).tolist() == rows["name"].tolist()
    assert table["name"].memory_usage() < 3 * LENGTH
    assert table["number"].tolist() == rows["number"].tolist()


def test_a_table_without_rows_has_its_columns(tmp_path: Path) -> None:
    write_table(tmp_path / "none.parquet", [], COLUMNS)
    assert list(read_table(tmp_path / "none.parquet", COLUMNS)) == list(COLUMNS)
    assert list(read_pieces(tmp_path / "none.parquet", COLUMNS)) == []
    write_table(tmp_path / "none.csv", [], COLUMNS)
    assert (tmp_path / "none.csv").read_text() == "key,name,number,share,known\n"


@pytest.mark.parametrize("added", [10, ROW_GROUP + 10])
def test_a_table_that_fails_leaves_nothing_behind(tmp_path: Path, rows: pd.DataFrame, added: int) -> None:
    with pytest.raises(KeyError), TableWriter(tmp_path / "t.parquet", COLUMNS) as writer:
        writer.add(rows.head(added))
        writer.add(rows[["key", "name", "number"]])
    assert list(tmp_path.iterdir()) == []


def test_a_value_of_another_type_is_refused(tmp_path: Path) -> None:
    with pytest.raises(pa.ArrowException):
        write_table(tmp_path / "t.parquet", [{"number": "seven"}], {"number": "int64"})


@pytest.mark.parametrize("read", [read_table, lambda path, columns: list(read_pieces(path, columns))])
def test_a_table_that_cannot_be_read_is_named(written: Path, tmp_path: Path, read: type[object]) -> None:
    with pytest.raises(UserError, match=r"absent\.parquet not found; run `dvc repro`"):
        read(tmp_path / "absent.parquet", COLUMNS)
    with pytest.raises(UserError, match=r"whole\.parquet is damaged or of another version"):
        read(written, {"nobody": "string"})
    content = written.read_bytes()
    for damaged in (b"", content[:-1], content[: len(content) // 2], b"x" * 100):
        (tmp_path / "cut.parquet").write_bytes(damaged)
        with pytest.raises(UserError, match=r"cut\.parquet is damaged"):
            read(tmp_path / "cut.parquet", COLUMNS)


def test_schemas_know_every_kind_of_the_contract() -> None:
    kinds = {
        kind
        for name, value in vars(contract).items()
        if name.endswith("_COLUMNS") and isinstance(value, dict)
        for kind in value.values()
    }
    assert kinds <= tables._KINDS.keys()


@pytest.mark.parametrize("categories", [(), ("name", "key")])
def test_only_rows_with_a_value_can_be_read(written: Path, rows: pd.DataFrame, categories: tuple[str, ...]) -> None:
    for value in ("video 20", "video 0", "nothing"):
        found = read_table(written, COLUMNS, categories=categories, only=("name", value))
        expected = rows[rows["name"] == value]
        for column in COLUMNS:
            assert found[column].tolist() == expected[column].tolist()


@given(
    st.lists(st.floats() | st.integers(-(2**24), 2**24).map(lambda n: n / 64), max_size=20)
    | st.lists(st.integers(-(2**63), 2**63 - 1), max_size=20)
    | st.lists(st.integers(0, 300), max_size=20)
)
def test_narrowed_numbers_are_the_same_numbers(numbers: list[float]) -> None:
    kind = "int64" if all(isinstance(number, int) for number in numbers) else "float64"
    column = narrowed(pd.Series(numbers, dtype=kind))
    assert list(map(repr, column.tolist())) == list(map(repr, numbers))


def test_pixels_and_small_numbers_are_narrowed() -> None:
    assert narrowed(pd.Series([0.015625, 4000.5])).dtype == np.float32
    assert narrowed(pd.Series([0.1])).dtype == np.float64
    assert narrowed(pd.Series([3, 70_000])).dtype == np.int32
