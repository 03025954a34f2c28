"""Arrays and numbers of numpy from the notes that `inert_pickle` made: their bytes are looked at, nothing runs."""

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.datasets.inert_pickle import Call, Global, RefusedPickleError

_MODULES = {f"{package}.{module}" for package in ("numpy.core", "numpy._core") for module in ("multiarray", "numeric")}
_SIMPLE = re.compile(r"b1|[iu][1248]|f[248]")
_TEXT = re.compile(r"U[1-9][0-9]{0,3}")
_MOST_ITEMS = 1 << 27


def values_of(value: Any) -> list[Any]:
    """The items of a list, a tuple or an array; numbers and texts of numpy become plain ones.

    Raises:
        RefusedPickleError: if it is none of these.
    """
    if isinstance(value, Call):
        items = _plain(array_of(value))
        return items if isinstance(items, list) else [items]
    if type(value) not in (list, tuple):
        raise RefusedPickleError(f"a {type(value).__name__} where a list or an array belongs")
    return [number_of(item) if isinstance(item, Call) else item for item in value]


def array_of(call: Call) -> NDArray[Any]:
    """The array that a call of numpy's `_reconstruct` (with its state) or `_frombuffer` would restore."""
    module, name = call.function
    if module in _MODULES and name == "_reconstruct":
        _, shape, dtype, is_fortran, content = _fields(call.state, 5)
    elif module in _MODULES and name == "_frombuffer":
        content, dtype, shape, order = _fields(call.arguments, 4)
        is_fortran = order == "F"
    else:
        raise RefusedPickleError(f"it asks for {call.function.told}")
    sides = _shape(shape)
    if type(dtype) is Call and dtype.arguments[:1] == ("O8",) and type(content) is list:
        return _objects(content, sides)
    return _from_bytes(content, _type(dtype), sides, is_fortran=is_fortran is True)


def number_of(call: Call) -> Any:
    """The plain number or text that a call of numpy's `scalar` would restore."""
    module, name = call.function
    if module not in _MODULES or name != "scalar":
        raise RefusedPickleError(f"it asks for {call.function.told}")
    dtype, content = _fields(call.arguments, 2)
    return _plain(_from_bytes(content, _type(dtype), (), is_fortran=False))


def _plain(array: NDArray[Any]) -> Any:
    try:
        return array.tolist()
    except ValueError as error:
        raise RefusedPickleError(f"an array of no texts ({error})") from None


def _fields(values: Any, count: int) -> Sequence[Any]:
    if type(values) is not tuple or len(values) != count:
        raise RefusedPickleError("an array that is not described as numpy does it")
    return values


def _shape(shape: Any) -> tuple[int, ...]:
    is_shape = type(shape) is tuple and len(shape) <= 4 and all(type(side) is int and side >= 0 for side in shape)
    if not is_shape or math.prod(shape) > _MOST_ITEMS:
        raise RefusedPickleError("an array of an impossible shape")
    sides: tuple[int, ...] = shape
    return sides


def _objects(content: list[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    if math.prod(shape) != len(content):
        raise RefusedPickleError("an array with more or less items than its shape says")
    array = np.empty(len(content), dtype=object)
    for place, item in enumerate(content):
        array[place] = number_of(item) if isinstance(item, Call) else item
    return array.reshape(shape)


def _type(call: Any) -> np.dtype[Any]:
    """A numeric or text type from a call of `numpy.dtype`: its code, and the byte order of its state."""
    if type(call) is not Call or call.function != Global("numpy", "dtype") or not call.arguments:
        raise RefusedPickleError("an array without a type")
    code, state = call.arguments[0], call.state
    order = state[1] if type(state) is tuple and len(state) > 1 else "|"
    if type(code) is not str or not (_SIMPLE.fullmatch(code) or _TEXT.fullmatch(code)) or order not in ("<", ">", "|"):
        raise RefusedPickleError("an array of something else than numbers or texts")
    return np.dtype(f"{order}{code}")


def _from_bytes(content: Any, dtype: np.dtype[Any], shape: tuple[int, ...], *, is_fortran: bool) -> NDArray[Any]:
    if type(content) is Call:
        content = _old_bytes(content)
    if type(content) not in (bytes, bytearray) or len(content) != math.prod(shape) * dtype.itemsize:
        raise RefusedPickleError("an array with more or less bytes than its shape says")
    return np.frombuffer(bytes(content), dtype=dtype).reshape(shape, order="F" if is_fortran else "C")


def _old_bytes(call: Call) -> bytes | None:
    """Bytes as protocols 0 to 2 write them: a text to be encoded as Latin-1, or a call of `bytes` for none."""
    if call.function == Global("__builtin__", "bytes") and call.arguments == ():
        return b""
    if call.function != Global("_codecs", "encode"):
        return None
    text, encoding = _fields(call.arguments, 2)
    if type(text) is not str or encoding != "latin1" or any(ord(letter) > 255 for letter in set(text)):
        return None
    return text.encode("latin-1")
