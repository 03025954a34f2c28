"""Parquet and CSV tables of a stated schema, published whole; long ones are written and read piece by piece."""

import contextlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.contract import UserError
from pipeline.files import publishing

ROW_GROUP = 1 << 16
"""Rows that are encoded together; the bytes of longer tables depend on it."""

Rows = list[dict[str, object]] | pd.DataFrame | pa.Table

_KINDS: dict[str, pa.DataType] = {
    "string": pa.string(),
    "int64": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "bool": pa.bool_(),
    "counts": pa.list_(pa.int64()),
}


class TableWriter:
    """Appends rows to a Parquet table (zstd) that appears, whole, when the `with` block succeeds.

    Holds a row group in memory; the bytes depend on the rows alone and not on how they were cut into pieces.
    """

    def __init__(self, path: Path, columns: Mapping[str, str]) -> None:
        self._path, self._columns = path, columns
        self._waiting: list[pa.Table] = []

    def add(self, rows: Rows) -> None:
        """Appends rows. Raises KeyError if a column is missing, ArrowInvalid if a value does not fit its type."""
        self._waiting.append(_arrow(rows, self._columns))
        if sum(map(len, self._waiting)) >= ROW_GROUP:
            waiting = pa.concat_tables(self._waiting)
            whole = len(waiting) // ROW_GROUP * ROW_GROUP
            for begin in range(0, whole, ROW_GROUP):
                self._write(waiting.slice(begin, ROW_GROUP))
            self._waiting = [waiting.slice(whole)]

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            stream = stack.enter_context(publishing(self._path))
            self._parquet = stack.enter_context(pq.ParquetWriter(stream, _schema(self._columns), compression="zstd"))
            stack.push(self._finish)
            self._closing = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.__exit__(kind, value, trace)

    def _finish(self, kind: object, _value: object, _trace: object) -> None:
        if kind is None and any(map(len, self._waiting)):
            self._write(pa.concat_tables(self._waiting))

    def _write(self, rows: pa.Table) -> None:
        """Encodes one row group. Its pages would follow the borders of the chunks."""
        self._parquet.write_table(rows.combine_chunks())


def table(rows: Rows, columns: Mapping[str, str]) -> pd.DataFrame:
    """Rows as a frame with exactly these columns and types, in this order. Raises KeyError if a column is missing."""
    return _arrow(rows, columns).to_pandas()


def write_table(path: Path, rows: Rows, columns: Mapping[str, str]) -> None:
    """Publishes rows as Parquet (zstd), or as CSV if the name ends in .csv. The bytes depend on the rows alone."""
    if path.suffix == ".csv":
        with publishing(path) as stream:
            stream.write(table(rows, columns).to_csv(index=False, lineterminator="\n").encode())
    else:
        with TableWriter(path, columns) as writer:
            writer.add(rows)


def read_table(
    path: Path, columns: Mapping[str, str], *, categories: Collection[str] = (), only: tuple[str, str] | None = None
) -> pd.DataFrame:
    """Reads columns of a Parquet table and checks their types.

    Args:
        path: the table.
        columns: names and kinds of what is read.
        categories: text columns of few values, which come as categoricals: a code a row instead of a string.
        only: a column and the value that rows must have there.

    Raises:
        UserError: naming the file, if it is absent, unreadable or lacks a column.
    """
    with _readable(path):
        content = pq.read_table(path, columns=list(columns), read_dictionary=list(categories))
        if only is not None:
            content = content.filter(pc.field(only[0]) == only[1])
        kinds = _schema(columns)
        for name in categories:
            kinds = kinds.set(kinds.get_field_index(name), pa.field(name, content.schema.field(name).type))
        frame = content.unify_dictionaries().cast(kinds).to_pandas()
    del content
    pa.default_memory_pool().release_unused()  # or the process would keep several times the table's size
    return frame


def read_stretch(path: Path, columns: Mapping[str, str], *, where: tuple[str, str]) -> pd.DataFrame:
    """Reads the few rows that have a value in a column by which the table is ordered: only row groups that may hold it.

    Raises:
        UserError: like `read_table`.
    """
    with _readable(path):
        rows = pq.read_table(path, columns=list(columns), filters=[(where[0], "=", where[1])])
        return rows.cast(_schema(columns)).to_pandas()


def narrowed(column: "pd.Series[Any]") -> "pd.Series[Any]":
    """The same numbers in fewer bytes, if that changes none of them: pixels in 64ths fit into single precision."""
    if column.dtype == np.float64:
        with np.errstate(over="ignore"):
            single = column.astype(np.float32)
        return single if (single == column).all() else column
    return pd.to_numeric(column, downcast="integer") if column.dtype == np.int64 else column


def extent(path: Path) -> tuple[int, int]:
    """Rows of a Parquet table and its bytes when unpacked, as its own footer states them."""
    with _readable(path):
        footer = pq.read_metadata(path)
        return footer.num_rows, sum(footer.row_group(group).total_byte_size for group in range(footer.num_row_groups))


def column_names(path: Path) -> list[str]:
    """The columns of a Parquet table; raises `UserError` like `read_table`."""
    with _readable(path):
        return list(pq.read_schema(path).names)


def read_pieces(path: Path, columns: Mapping[str, str]) -> Iterator[pa.Table]:
    """Reads a Parquet table like `read_table`, but a piece of at most `ROW_GROUP` rows at a time."""
    with _readable(path), pq.ParquetFile(path) as content:
        for batch in content.iter_batches(ROW_GROUP, columns=list(columns)):
            yield pa.Table.from_batches([batch]).select(list(columns)).cast(_schema(columns))


def join_tables(path: Path, parts: Iterable[Path], columns: Mapping[str, str]) -> None:
    """Publishes the rows of several Parquet tables as one, in their order, a piece at a time."""
    with TableWriter(path, columns) as writer:
        for part in parts:
            for rows in read_pieces(part, columns):
                writer.add(rows)


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise UserError(f"{path} not found; run `dvc repro`, or `dvc pull` if a teammate built it") from None
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path} is damaged or of another version ({reason}); delete it and run `dvc repro`") from None


def _arrow(rows: Rows, columns: Mapping[str, str]) -> pa.Table:
    schema = _schema(columns)
    if isinstance(rows, pa.Table):
        return rows.select(list(columns)).cast(schema).replace_schema_metadata(None)
    frame = pd.DataFrame(rows, columns=None if len(rows) else list(columns))
    return pa.Table.from_pandas(frame[list(columns)], schema=schema, preserve_index=False).replace_schema_metadata(None)


def _schema(columns: Mapping[str, str]) -> pa.Schema:
    return pa.schema([(name, _KINDS[kind]) for name, kind in columns.items()])
