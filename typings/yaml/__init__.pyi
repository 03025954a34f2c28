"""Stub of what the project uses of PyYAML."""

import re
from typing import Any

class CSafeLoader:
    @classmethod
    def add_implicit_resolver(cls, tag: str, regexp: re.Pattern[str], first: list[str]) -> None: ...

class YAMLError(Exception): ...

def load(stream: str | bytes, Loader: type[CSafeLoader]) -> Any: ...  # noqa: N803
