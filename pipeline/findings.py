"""What a check found, and the line that mends it."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

State = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: of the thing, a word or two.
        state: `fail` if something will not work, `warn` if something may not, or costs more than it must.
        text: what was seen, in one line.
        mend: the line that mends it, a command where there is one; empty where nothing has to be done.
    """

    name: str
    state: State
    text: str
    mend: str = ""

    def json(self) -> dict[str, Any]:
        """As it is printed with `--json`."""
        return asdict(self)


def ok(name: str, text: str) -> Finding:
    """All is well."""
    return Finding(name=name, state="ok", text=text)


def warn(name: str, text: str, mend: str) -> Finding:
    """It may not work, or costs more than it must."""
    return Finding(name=name, state="warn", text=text, mend=mend)


def fail(name: str, text: str, mend: str) -> Finding:
    """It will not work."""
    return Finding(name=name, state="fail", text=text, mend=mend)
