"""Pickles of plain data without unpickling: nothing that a file names is ever looked up, called or constructed.

`pickletools` splits the file into operations; this is a stack machine for those that build plain containers. Where a
pickle asks for a global, a call or a state (GLOBAL, REDUCE, BUILD), only a note is made of what was asked: an inert
`Global` or `Call`. What numpy needs to restore an array or a number is then read from such notes by `array_of`, for an
allow-list of names and of numeric types; any other operation or name is refused. See docs/decisions/041.
"""

import pickletools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.contract import UserError


class Global(NamedTuple):
    """A name that the file mentions. It stays a name."""

    module: str
    name: str

    @property
    def told(self) -> str:
        """`module.name`, of a bearable length."""
        return f"{self.module}.{self.name}"[:80]


@dataclass(eq=False)
class Call:
    """What the file wants called, with what, and the state it wants set. Nothing is."""

    function: Global
    arguments: tuple[Any, ...]
    state: Any = None


class RefusedPickleError(Exception):
    """Something that plain data does not need, or a file that is no pickle."""


_MARK = object()
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY: dict[str, Callable[[], Any]] = {
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_TUPLE": tuple,
}
_VALUES = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
_IGNORED = {"PROTO", "FRAME"}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def load(path: Path) -> Any:
    """The plain data of a pickle, with inert notes where arrays are.

    Raises:
        UserError: if it cannot be read, is no pickle, or holds anything but plain data and numpy's arrays.
    """
    try:
        return read(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})") from None
    except RefusedPickleError as error:
        raise UserError(f"{path}: {error}; only plain lists, dicts, texts, numbers and numpy arrays are read") from None


def read(content: bytes) -> Any:
    """Like `load`, from bytes; raises `RefusedPickleError`."""
    machine = _Machine()
    try:
        for operation, argument, position in pickletools.genops(content):
            if operation.name == "STOP":
                return machine.result()
            machine.run(operation.name, argument, position)
    except RefusedPickleError:
        raise
    except (ValueError, IndexError, TypeError, KeyError, OverflowError, AttributeError, MemoryError) as error:
        raise RefusedPickleError(f"not a whole pickle ({' '.join(str(error).split())[:80]})") from None
    raise RefusedPickleError("ends without a STOP")


class _Machine:
    """The stack, the memo, and what each operation does to them."""

    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def result(self) -> Any:
        """What is left at the end."""
        if len(self._stack) != 1 or self._stack[0] is _MARK:
            raise RefusedPickleError("does not end with one value")
        return self._stack[0]

    def run(self, name: str, argument: Any, position: int | None) -> None:
        """One operation."""
        if name in _IGNORED:
            return
        if name in _VALUES:
            self._stack.append(argument)
        elif name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            self._stack.append(_EMPTY[name]())
        elif name in _TUPLES:
            self._stack.append(self._several(_TUPLES[name]))
        elif handler := _HANDLERS.get(name):
            handler(self, argument)
        else:
            raise RefusedPickleError(f"operation {name} at byte {position} is not of plain data{self._asked()}")

    def _pop(self) -> Any:
        value = self._stack.pop()
        if value is _MARK:
            raise RefusedPickleError("a mark where a value belongs")
        return value

    def _asked(self) -> str:
        """The name that the file mentioned last, if it is still in hand."""
        named = [value for value in self._stack[-4:] if isinstance(value, Global)]
        return f"; it asks for {named[-1].told}" if named else ""

    def _several(self, count: int) -> tuple[Any, ...]:
        return tuple(reversed([self._pop() for _ in range(count)]))

    def _since_mark(self) -> list[Any]:
        values: list[Any] = []
        while (value := self._stack.pop()) is not _MARK:
            values.append(value)
        values.reverse()
        return values

    def mark(self, _: Any) -> None:
        self._stack.append(_MARK)

    def put(self, number: int) -> None:
        value = self._stack[-1]
        if value is _MARK:
            raise RefusedPickleError("a mark where a value belongs")
        self._memo[number] = value

    def memoize(self, _: Any) -> None:
        self.put(len(self._memo))

    def get(self, number: int) -> None:
        self._stack.append(self._memo[number])

    def pop(self, _: Any) -> None:
        self._stack.pop()

    def tuple_(self, _: Any) -> None:
        self._stack.append(tuple(self._since_mark()))

    def list_(self, _: Any) -> None:
        self._stack.append(self._since_mark())

    def append(self, _: Any) -> None:
        value = self._pop()
        self._top(list).append(value)

    def appends(self, _: Any) -> None:
        values = self._since_mark()
        self._top(list).extend(values)

    def dict_(self, _: Any) -> None:
        self._stack.append(dict(_pairs(self._since_mark())))

    def setitem(self, _: Any) -> None:
        pair = self._several(2)
        self._top(dict).update(_pairs(list(pair)))

    def setitems(self, _: Any) -> None:
        pairs = _pairs(self._since_mark())
        self._top(dict).update(pairs)

    def global_(self, names: str) -> None:
        self._stack.append(Global(*names.split(" ", 1)))

    def stack_global(self, _: Any) -> None:
        module, name = self._several(2)
        if not (isinstance(module, str) and isinstance(name, str)):
            raise RefusedPickleError("a global whose name is no text")
        self._stack.append(Global(module, name))

    def reduce(self, _: Any) -> None:
        function, arguments = self._several(2)
        if not (isinstance(function, Global) and type(arguments) is tuple):
            raise RefusedPickleError("a call of something that is no name")
        self._stack.append(Call(function, arguments))

    def build(self, _: Any) -> None:
        state = self._pop()
        self._top(Call).state = state

    def _top(self, kind: type[Any]) -> Any:
        top = self._stack[-1]
        if type(top) is not kind:
            called = f" of {top.function.told}" if isinstance(top, Call) else ""
            raise RefusedPickleError(f"a {type(top).__name__}{called} where a {kind.__name__} belongs")
        return top


def _pairs(values: list[Any]) -> Iterator[tuple[Any, Any]]:
    """Keys with their values. Keys are texts or numbers: those of a nest of tuples could exhaust the C stack."""
    if len(values) % 2 or not all(isinstance(key, (str, int)) for key in values[::2]):
        raise RefusedPickleError("a key that is neither text nor whole number")
    return zip(values[::2], values[1::2], strict=True)


_HANDLERS: dict[str, Callable[[_Machine, Any], None]] = {
    "MARK": _Machine.mark,
    "POP": _Machine.pop,
    "PUT": _Machine.put,
    "BINPUT": _Machine.put,
    "LONG_BINPUT": _Machine.put,
    "MEMOIZE": _Machine.memoize,
    "GET": _Machine.get,
    "BINGET": _Machine.get,
    "LONG_BINGET": _Machine.get,
    "TUPLE": _Machine.tuple_,
    "LIST": _Machine.list_,
    "APPEND": _Machine.append,
    "APPENDS": _Machine.appends,
    "DICT": _Machine.dict_,
    "SETITEM": _Machine.setitem,
    "SETITEMS": _Machine.setitems,
    "GLOBAL": _Machine.global_,
    "STACK_GLOBAL": _Machine.stack_global,
    "REDUCE": _Machine.reduce,
    "BUILD": _Machine.build,
}
