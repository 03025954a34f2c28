"""Labels and matrices that people bring: taken by key, or refused in one line that names the file."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.contract import UserError
from tests.method_cases import params
from train.label_files import given_labels, read_annotators, read_labels, read_matrix

KEYS = pd.Series(["a_000001", "a_000002", "b_000001"])


def write(folder: Path, text: str) -> Path:
    path = folder / "table.csv"
    path.write_text(text)
    return path


def test_labels_are_found_by_key_in_any_order(tmp_path: Path) -> None:
    path = write(tmp_path, "key,label\nb_000001,2\nz_000009,1\na_000001,0\n")
    assert read_labels(path, KEYS, 3).tolist() == [0, -1, 2]


def test_annotators_may_leave_gaps(tmp_path: Path) -> None:
    path = write(tmp_path, "one,key,two\n1,a_000001,\n-1,a_000002,0\n")
    assert read_annotators(path, KEYS, 3).tolist() == [[1, -1, -1], [-1, 0, -1]]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("key,label\na_000001,3\n", "label of 'a_000001' must be a class from 0 to 2, or empty or -1, got '3'"),
        ("key,label\na_000001,1.5\n", "must be a class from 0 to 2"),
        ("key,label\na_000001,happy\n", "got 'happy'"),
        ("key,label\na_000001,1\na_000001,2\n", "names 'a_000001' twice"),
        ("key,label\nz,1\n", "names none of the training samples; its first key is 'z'"),
        ("key,labels\na_000001,1\n", "must have the columns key and label, it has key, labels"),
        ("name,label\na_000001,1\n", "must have a column `key` and at least one row"),
        ("key,label\n", "at least one row"),
        ("", "cannot be read as CSV"),
    ],
)
def test_tables_that_are_none_are_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        read_labels(write(tmp_path, text), KEYS, 3)
    assert str(caught.value).startswith(str(tmp_path / "table.csv"))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1,0\n0,1\n", "must hold 3 rows of 3 numbers, one a class; it has (2, 2)"),
        ("1,0,0\n0,1,0\n0,0.5,0.4\n", "row 3 must be probabilities that sum to 1, their sum is 0.9"),
        ("1,0,0\n0,2,-1\n0,0,1\n", "row 2 must be probabilities"),
        ("a,b,c\n", "is not a CSV file of numbers alone"),
    ],
)
def test_matrices_that_are_none_are_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        read_matrix(write(tmp_path, text), 3)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_absent_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent\.csv not found"):
        read_labels(tmp_path / "absent.csv", KEYS, 3)
    with pytest.raises(UserError, match=r"absent\.csv not found; set noise_matrix"):
        read_matrix(tmp_path / "absent.csv", 3)


def test_folders_are_no_files_of_labels(tmp_path: Path) -> None:
    for read in (lambda: read_labels(tmp_path, KEYS, 3), lambda: read_matrix(tmp_path, 3)):
        with pytest.raises(UserError, match=r"cannot be read \(Is a directory\)"):
            read()


def test_training_is_given_what_the_parameters_ask_for(tmp_path: Path) -> None:
    samples = pd.DataFrame({"key": KEYS, "trial": "a", "frame_index": [1, 2, 1], "label": [0, 1, 2]})
    path = write(tmp_path, "key,label\na_000002,2\n")
    assert given_labels(params(), samples, 3).tolist() == [0, 1, 2]
    assert given_labels(params(noise_kind="list", noise_list=str(path)), samples, 3).tolist() == [0, 2, 2]
    matrix = write(tmp_path, "0,1,0\n0,0,1\n1,0,0\n")
    asked = params(noise_kind="confusion", noise_matrix=str(matrix))
    np.testing.assert_array_equal(given_labels(asked, samples, 3), [1, 2, 0])
