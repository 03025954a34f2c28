from collections.abc import Callable, Sequence
from typing import Protocol

from dvc.exceptions import DvcException

class _Error(Protocol):
    path: Sequence[object]

class _Errors(Protocol):
    errors: Sequence[_Error]

class YAMLValidationError(DvcException):
    exc: _Errors

def validate(data: object, schema: Callable[[object], object]) -> object: ...
