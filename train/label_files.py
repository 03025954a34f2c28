"""Labels that people bring along: tables by sample key, and matrices of how labels are confused."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.contract import UserError
from pipeline.train_params import TrainParams
from train.noise import listed_labels, noisy_labels

_TOLERANCE = 1e-6


def given_labels(
    params: TrainParams, samples: pd.DataFrame, classes: int, *, listed: "pd.Series[int] | None" = None
) -> NDArray[np.int64]:
    """The labels that training is given, one a row of the sample table: the true ones, or with the asked noise.

    Args:
        params: of the noise.
        samples: of the training split.
        classes: C.
        listed: labels of the set's own noise list, for `noise_kind: listed`.

    Raises:
        UserError: if `noise_matrix` or `noise_list` is not what it should be, or the shards hold no list of their own.
    """
    if listed is not None:
        return listed_labels(listed, classes)
    matrix = None if params.noise_matrix is None else read_matrix(Path(params.noise_matrix), classes)
    brought = None if params.noise_list is None else read_labels(Path(params.noise_list), samples["key"], classes)
    return noisy_labels(
        samples,
        kind=params.noise_kind,
        rate=params.noise_rate,
        unit=params.noise_unit,
        seed=params.seed,
        classes=classes,
        matrix_cc=matrix,
        listed=brought,
    )


def read_annotators(path: Path, keys: "pd.Series[str]", classes: int) -> NDArray[np.int64]:
    """Labels of more annotators, A x N, in the order of `keys`; -1 where there is none.

    Args:
        path: a CSV file with a column `key` and one column an annotator: class indices, empty or -1 where absent.
        keys: of N samples; keys of other samples in the file are passed over.
        classes: C.

    Raises:
        UserError: if it is not such a file, names a key twice, or none of the samples.
    """
    table = _table(path)
    names = [str(name) for name in table.columns if name != "key"]
    if not names:
        raise UserError(f"{path} has no column of labels beside `key`")
    labels = np.stack([_labels(table, name, path, classes) for name in names])
    positions = pd.Index(table["key"]).get_indexer(pd.Index(keys.astype(str)))
    if not (positions >= 0).any():
        raise UserError(f"{path} names none of the training samples; its first key is {table['key'].iloc[0]!r}")
    found: NDArray[np.int64] = np.where(positions >= 0, labels[:, positions], -1)
    return found


def vote_shares(votes: "pd.Series[Any]", classes: int, *, source: str) -> NDArray[np.float32]:
    """The share of a sample's votes that each class got, N x C; 0 throughout where nobody voted for any.

    Args:
        votes: counts a class of each sample, as `ShardReader.marks("votes")`; null where unknown.
        classes: C.
        source: the shard set, for the message.

    Raises:
        UserError: if no sample has votes.
    """
    counts = np.zeros((len(votes), classes), np.float32)
    known = votes.notna().to_numpy()
    if not known.any():
        raise UserError(f"ltnet.labels is votes, but {source} holds none; name a CSV file of labels, or set it to null")
    counts[known] = np.stack(list(votes[known]))
    shares: NDArray[np.float32] = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    return shares


def read_labels(path: Path, keys: "pd.Series[str]", classes: int) -> NDArray[np.int64]:
    """The column `label` of a CSV file with the columns `key` and `label`, as `read_annotators`; N."""
    table = _table(path)
    if set(table.columns) != {"key", "label"}:
        raise UserError(f"{path} must have the columns key and label, it has {', '.join(map(str, table.columns))}")
    labels: NDArray[np.int64] = read_annotators(path, keys, classes)[0]
    return labels


def read_matrix(path: Path, classes: int) -> NDArray[np.float64]:
    """A C x C matrix from a CSV file without a header: row the true class, column the probability of what is said.

    Raises:
        UserError: if it is not C rows of C numbers in [0, 1] that sum to 1.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # of an empty file, which is told below
            matrix = np.loadtxt(path, delimiter=",", ndmin=2)
    except FileNotFoundError:
        raise UserError(f"{path} not found; set noise_matrix to a CSV file of {classes} x {classes} numbers") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise UserError(f"{path} is not a CSV file of numbers alone: {error}") from None
    matrix = np.asarray(matrix, np.float64)
    if matrix.shape != (classes, classes):
        raise UserError(f"{path} must hold {classes} rows of {classes} numbers, one a class; it has {matrix.shape}")
    for number, row in enumerate(matrix):
        if not (np.isfinite(row).all() and (row >= 0).all() and abs(row.sum() - 1) <= _TOLERANCE):
            raise UserError(f"{path}: row {number + 1} must be probabilities that sum to 1, their sum is {row.sum():g}")
    return matrix


def _table(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, dtype="string")
    except FileNotFoundError:
        raise UserError(f"{path} not found; it must be a CSV file with a column `key`") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as CSV: {' '.join(str(error).split())}") from None
    if "key" not in table or table.empty:
        raise UserError(f"{path} must have a column `key` and at least one row")
    twice = table["key"][table["key"].duplicated()]
    if len(twice):
        raise UserError(f"{path} names {twice.iloc[0]!r} twice")
    return table


def _labels(table: pd.DataFrame, name: str, path: Path, classes: int) -> NDArray[np.int64]:
    numbers = pd.to_numeric(table[name], errors="coerce").to_numpy(np.float64)
    absent = table[name].isna().to_numpy()
    valid = absent | ((numbers == np.floor(numbers)) & (numbers >= -1) & (numbers < classes))
    if not valid.all():
        worst = int(np.argmin(valid))
        raise UserError(
            f"{path}: {name} of {table['key'].iloc[worst]!r} must be a class from 0 to {classes - 1}, or empty or -1, "
            f"got {table[name].iloc[worst]!r}"
        )
    return np.where(absent, -1, np.nan_to_num(numbers, nan=-1)).astype(np.int64)
