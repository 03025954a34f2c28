"""Parquet and CSV tables of a stated schema, published whole."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.contract import UserError
from pipeline.files import publishing

_KINDS: dict[str, pa.DataType] = {
    "string": pa.string(),
    "int64": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
}


def table(rows: list[dict[str, object]] | pd.DataFrame, columns: Mapping[str, str]) -> pd.DataFrame:
    """Rows as a frame with exactly these columns and types, in this order. Raises KeyError if a column is missing."""
    frame = pd.DataFrame(rows, columns=None if len(rows) else list(columns))
    return pa.Table.from_pandas(frame[list(columns)], schema=_schema(columns), preserve_index=False).to_pandas()


def write_table(path: Path, rows: list[dict[str, object]] | pd.DataFrame, columns: Mapping[str, str]) -> None:
    """Publishes rows as Parquet (zstd), or as CSV if the name ends in .csv. The bytes depend on the rows alone."""
    frame = table(rows, columns)
    with publishing(path) as stream:
        if path.suffix == ".csv":
            stream.write(frame.to_csv(index=False, lineterminator="\n").encode())
        else:
            content = pa.Table.from_pandas(frame, schema=_schema(columns), preserve_index=False)
            pq.write_table(content.replace_schema_metadata(None), stream, compression="zstd")


def read_table(path: Path, columns: Mapping[str, str]) -> pd.DataFrame:
    """Reads a Parquet table and checks its schema.

    Raises:
        UserError: naming the file, if it is absent, unreadable or lacks a column.
    """
    try:
        content = pq.read_table(path, columns=list(columns))
        return content.cast(_schema(columns)).to_pandas()
    except FileNotFoundError:
        raise UserError(f"{path} not found; run `dvc repro`, or `dvc pull` if a teammate built it") from None
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path} is damaged or of another version ({reason}); delete it and run `dvc repro`") from None


def _schema(columns: Mapping[str, str]) -> pa.Schema:
    return pa.schema([(name, _KINDS[kind]) for name, kind in columns.items()])
