"""Kinds of values that parameters have, with their ranges, and the base of every group of them."""

from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, BeforeValidator, ConfigDict, StringConstraints

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
Count = Annotated[int, Ge(1)]
Share = Annotated[float, Ge(0), Le(1)]
Shares = dict[Name, Annotated[float, Gt(0), Lt(1)]]
"""Shard sets beside the main one, and how much of what is shown is theirs; the rest is the main one's."""

Positive = Annotated[float, Gt(0), Lt(float("inf"))]


def _switched(value: object) -> object:
    """YAML 1.1 reads a bare on or off as a truth value."""
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else value


Switch = Annotated[Literal["on", "off"], BeforeValidator(_switched)]


class Group(BaseModel):
    """Frozen, without conversions, without unknown keys."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)
