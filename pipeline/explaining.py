"""What is wrong with a parameter, in one line that names its key and says what is allowed."""

import difflib
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, StringConstraints
from pydantic_core import ErrorDetails

_YAML = {"None": "null", "True": "true", "False": "false"}
"""How a value is written in params.yaml, where Python writes it differently."""


def explain(details: ErrorDetails, root: type[BaseModel]) -> str:
    """One line about a wrong, missing or unknown value: the (dotted) key, what it must be, and what it is.

    Args:
        details: of one problem that pydantic found.
        root: the whole of what was checked.
    """
    location = [str(part) for part in details["loc"] if not str(part).startswith("constrained-")]
    group = _group_at(location[:-1], root)
    key, name = ".".join(location), location[-1]
    if details["type"] in ("extra_forbidden", "invalid_key"):
        close = difflib.get_close_matches(name, group.model_fields, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"allowed here: {', '.join(group.model_fields)}"
        return f"unknown key {key!r}; {hint}"
    while name not in group.model_fields:
        location = location[:-1]
        key, name, group = ".".join(location), location[-1], _group_at(location[:-1], root)
    allowed = _allowed(group.model_fields[name].annotation, group.model_fields[name].metadata)
    if details["type"] == "missing":
        return f"key {key!r} is missing; it must be {allowed}"
    return f"{key} must be {allowed}, got {_YAML.get(repr(details['input']), repr(details['input']))}"


def _group_at(location: list[str], root: type[BaseModel]) -> type[BaseModel]:
    group = root
    for name in location:
        annotation = group.model_fields[name].annotation if name in group.model_fields else None
        for child in (annotation, *get_args(annotation)):  # a group, or a group or null
            if isinstance(child, type) and issubclass(child, BaseModel):
                group = child
    return group


def _allowed(annotation: Any, metadata: list[Any]) -> str:
    """What a field accepts, in words: `a number in [0, 1]`, `one of cct, ce`."""
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *extra = get_args(annotation)
        return _allowed(inner, [*metadata, *extra])
    if origin is Literal:
        names = ", ".join(map(str, get_args(annotation)))
        return f"one of {names}" if len(get_args(annotation)) > 1 else names
    if origin in (Union, UnionType):
        parts = ["null" if part is type(None) else _allowed(part, metadata) for part in get_args(annotation)]
        return " or ".join(parts)
    if origin in (list, tuple):
        return f"a list, each of it {_allowed(get_args(annotation)[0], [])}"
    if origin is dict:
        _, values = get_args(annotation)
        return f"names in small letters, each with {_allowed(values, [])}"
    if annotation is bool:
        return "true or false"
    if annotation is str:
        pattern = next((entry.pattern for entry in metadata if isinstance(entry, StringConstraints)), None)
        return f"text that matches {pattern}" if pattern else "text"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"a group with the keys {', '.join(annotation.model_fields)}"
    return ("a whole number" if annotation is int else "a number") + _range(metadata)


def _range(metadata: list[Any]) -> str:
    low, high = "(-inf", "inf)"
    for bound in metadata:
        match bound:
            case Ge(ge=value):
                low = f"[{_number(value)}"
            case Gt(gt=value):
                low = f"({_number(value)}"
            case Le(le=value):
                high = f"{_number(value)}]"
            case Lt(lt=value):
                high = f"{_number(value)})"
    return f" in {low}, {high}"


def _number(value: Any) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"
