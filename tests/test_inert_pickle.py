"""The reader of pickles that never unpickles: equal to pickle on plain data, and refusing everything else."""

import os
import pickle
import pickletools
import random
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.contract import UserError
from pipeline.datasets.inert_pickle import Call, RefusedPickleError, load, read
from pipeline.datasets.pickled_arrays import array_of, number_of, values_of

KEYS = st.text(max_size=5) | st.integers()
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4) | st.tuples(inner, inner),
    max_leaves=20,
)
PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


@given(PLAIN, st.sampled_from(PROTOCOLS), st.binary(max_size=9))
def test_plain_data_is_what_pickle_says(data: Any, protocol: int, content: bytes) -> None:
    whole = [data, data, {"bytes": content} if protocol > 2 else None]
    assert read(pickle.dumps(whole, protocol)) == whole


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "array",
    [
        np.arange(12, dtype=np.int64),
        np.arange(12, dtype=">i4").reshape(3, 4),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.array([True, False]),
        np.array([0.5, -1], np.float16),
        np.array(["NAME/00001.jpg", "Zoë/2.jpg"]),
        np.array(["a", 3, None], dtype=object),
        np.array([np.int64(4), np.float32(0.5)], dtype=object),
        np.zeros((0, 2)),
        np.array(7),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_arrays_are_what_numpy_restores(array: Any, protocol: int) -> None:
    found = read(pickle.dumps({"label": array}, protocol))["label"]
    assert isinstance(found, Call)
    assert array_of(found).tolist() == array.tolist()
    assert array_of(found).dtype == array.dtype


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("number", [np.int64(-3), np.float32(0.25), np.bool_(True), np.str_("x")])
def test_numbers_of_numpy_become_plain(number: Any, protocol: int) -> None:
    found = values_of(read(pickle.dumps([number, 5, "x"], protocol)))
    assert found == [number.item(), 5, "x"] and type(found[0]) is type(number.item())


class Runs:
    """Unpickling it makes a folder."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_a_pickle_wants_called_is_not(tmp_path: Path, protocol: int) -> None:
    target = tmp_path / "made"
    content = pickle.dumps({"EXPR_Set": Runs(os.mkdir, str(target)), "label": [Runs(os.mkdir, str(target))]}, protocol)
    data = read(content)
    assert isinstance(data["EXPR_Set"], Call)
    for use in (array_of, number_of):
        with pytest.raises(RefusedPickleError, match=r"it asks for (posix|os)\.mkdir"):
            use(data["EXPR_Set"])
    with pytest.raises(RefusedPickleError, match="it asks for"):
        values_of(data["label"])
    assert not target.exists()
    pickle.loads(pickle.dumps(Runs(os.mkdir, str(target)), protocol))  # what a careless reader does
    assert target.exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not a whole pickle|ends without"),
        (b".", "does not end with one value"),
        (b"(.", "does not end with one value"),
        (b"(lp0\n", "not a whole pickle|ends without"),
        (b"cos\nsystem\n(S'true'\ntR.", "operation STRING at byte 12 is not of plain data"),
        (b"(S'true'\nios\nsystem\n.", "operation STRING"),
        (b"(ios\nsystem\n.", "operation INST at byte 1"),
        (b"(cos\nsystem\no.", "operation OBJ"),
        (b"Pid\n.", "operation PERSID"),
        (b"\x80\x02\x82\x01.", "operation EXT1"),
        (b"\x80\x02cbuiltins\nobject\n)\x81.", "operation NEWOBJ"),
        (b"]}b.", "a list where a Call belongs"),
        (b"cnumpy\ndtype\n}b.", "a Global where a Call belongs"),
        (b"]]\x8fa.", "operation EMPTY_SET"),
        (b"}" + b")" + b"\x85" * 20_000 + b"K\x01s.", "a key that is neither text nor whole number"),
        (b"](a.", "a mark where a value belongs"),
        (b"(p0\n.", "a mark where a value belongs"),
        (b"K\x01K\x01K\x01R.", "a call of something that is no name"),
        (b"g7\n.", "not a whole pickle"),
        (b"\x8d" + b"\xff" * 8 + b".", "not a whole pickle"),
    ],
    ids=range(20),
)
def test_anything_else_is_refused(content: bytes, said: str) -> None:
    with pytest.raises(RefusedPickleError, match=said):
        read(content)


def altered(call: Call, **changes: Any) -> Call:
    """An array's call with parts of its state replaced."""
    version, shape, dtype, is_fortran, content = call.state
    parts = {"shape": shape, "dtype": dtype, "content": content} | changes
    return Call(call.function, call.arguments, (version, parts["shape"], parts["dtype"], is_fortran, parts["content"]))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"shape": (10**9, 10**9)}, "impossible shape"),
        ({"shape": (-3,)}, "impossible shape"),
        ({"shape": ("3",)}, "impossible shape"),
        ({"shape": (4,)}, "more or less bytes"),
        ({"content": 5}, "more or less bytes"),
        ({"content": [1, 2, 3]}, "more or less bytes"),
        ({"dtype": 5}, "without a type"),
    ],
)
def test_arrays_that_lie_are_refused(changes: dict[str, Any], said: str) -> None:
    call = read(pickle.dumps(np.arange(3), 4))
    with pytest.raises(RefusedPickleError, match=said):
        array_of(altered(call, **changes))
    assert array_of(altered(call)).tolist() == [0, 1, 2]


def test_other_types_are_refused() -> None:
    for array in (np.array(["2020-01-01"], "M8[D]"), np.array([(1, 2.0)], [("a", "i4"), ("b", "f8")]), np.array([1j])):
        with pytest.raises(RefusedPickleError, match=r"numbers or texts|without a type"):
            array_of(read(pickle.dumps(array, 4)))


def test_no_damage_does_anything_but_be_refused() -> None:
    """Bytes of real pickles changed, cut, repeated and mixed: there is a value, or `RefusedPickleError`."""
    luck = random.Random(0)
    data = {"EXPR_Set": {"Train_Set": {"v": {"label": np.arange(5), "path": ["v/00001.jpg"] * 5, "ids": [1.5, None]}}}}
    seeds = [pickle.dumps(data, protocol) for protocol in PROTOCOLS]
    codes = [operation.code.encode("latin-1") for operation in pickletools.opcodes]
    outcomes = {"read": 0, "refused": 0}
    for _ in range(4000):
        content = bytearray(luck.choice(seeds))
        for _ in range(luck.randint(1, 6)):
            place = luck.randrange(len(content))
            piece = luck.choice([luck.choice(codes), luck.randbytes(3), bytes(content[place : place + 20]), b""])
            content[place : place + luck.choice([0, 1, len(piece)])] = piece
        try:
            found = read(bytes(content))
            outcomes["read"] += 1
            if isinstance(found, Call):
                array_of(found)
        except RefusedPickleError:
            outcomes["refused"] += 1
    assert min(outcomes.values()) > 100


@pytest.mark.parametrize("protocol", PROTOCOLS[2:])
def test_what_a_file_asks_for_is_named(protocol: int) -> None:
    for data, said in (
        ({"v": pd.DataFrame({"label": [1]})}, r"it asks for pandas\.\S*DataFrame"),
        ({"v": OrderedDict(label=[1])}, r"a Call of collections\.OrderedDict where a dict belongs"),
    ):
        with pytest.raises(RefusedPickleError, match=said):
            read(pickle.dumps(data, protocol))


def test_a_refused_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(UserError, match=r"a\.pkl: operation STRING .*; only plain lists, dicts"):
        load(tmp_path / "a.pkl")
    with pytest.raises(UserError, match=r"b\.pkl cannot be read"):
        load(tmp_path / "b.pkl")
