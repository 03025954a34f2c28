"""The typed parameters of every stage and of training, and the checking of params.yaml. Values live there, not here."""

import difflib
from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, BeforeValidator, ConfigDict, StringConstraints, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pipeline.contract import UserError

PARAMS_FILE = Path("params.yaml")

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
Count = Annotated[int, Ge(1)]
Share = Annotated[float, Ge(0), Le(1)]
Positive = Annotated[float, Gt(0), Lt(float("inf"))]


def _switched(value: object) -> object:
    """YAML 1.1 reads a bare on or off as a truth value."""
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else value


Switch = Annotated[Literal["on", "off"], BeforeValidator(_switched)]


class _Group(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)


class IndexParams(_Group):
    """Which raw set is read, and what is done when its counts disagree."""

    layout: Literal["affwild2"]
    raw: str
    annotations: str
    classes: Annotated[int, Ge(7), Le(8)]
    mismatch: Literal["trim", "error", "skip"]
    tolerance: Annotated[int, Ge(0)]


class ExtractParams(_Group):
    """Frames as they are taken from the videos."""

    stride: Count
    max_side: Annotated[int, Ge(64), Le(8192)]
    quality: Annotated[int, Ge(50), Le(100)]


class AlignParams(_Group):
    """Face detection, the choice of the subject, and the crop."""

    min_face: Annotated[int, Ge(12), Le(1024)]
    min_confidence: Share
    tracking: Switch
    search_every: Count
    working_side: Annotated[int, Ge(160), Le(8192)]
    link_iou: Share
    max_gap: Annotated[int, Ge(0)]
    max_bridge: Annotated[int, Ge(0)]
    smoothing: Annotated[float, Ge(0), Le(100)]
    template_scale: Annotated[float, Ge(0.4), Le(1.2)]
    quality: Annotated[int, Ge(50), Le(100)]
    device: Literal["auto", "cpu", "cuda"]


class ShardParams(_Group):
    """How samples are laid into shards."""

    seed: Annotated[int, Ge(0)]
    samples_per_shard: Count
    effective_beta: Annotated[float, Ge(0), Lt(1)]


class EngineParams(_Group):
    """How work is spread; never what comes out."""

    workers: Annotated[int, Ge(0)]
    max_failures: Annotated[int, Ge(0)]


class EvaluateParams(_Group):
    """How scores are estimated."""

    bootstrap: Annotated[int, Ge(100), Le(100_000)]


class ReportParams(_Group):
    """What the report shows."""

    faces_per_class: Annotated[int, Ge(1), Le(50)]


class TrainParams(_Group):
    """Everything that training depends on: the top-level keys of params.yaml."""

    dataset: Name
    method: Literal["cct", "ce"]
    networks: Annotated[int, Ge(1), Le(16)]
    beta: Annotated[float, Ge(0), Le(100)]
    lambda_max: Share
    rampup: Annotated[float, Gt(0)] | None
    after_rampup: Literal["hold", "fall"]
    compat: Literal["paper", "original"]
    epochs: Count
    iterations_per_epoch: Count | None
    batch_size: Count
    image_size: Annotated[int, Ge(32), Le(224)]
    backbone: Literal["resnet18", "resnet34", "resnet50"]
    init: str | None
    lr_backbone: Positive
    lr_head: Positive
    lr_decay: Annotated[float, Gt(0), Le(1)]
    balance: Literal["none", "oversample", "class_weights"]
    noise_kind: Literal["none", "symmetric", "pair"]
    noise_rate: Share
    noise_unit: Literal["frame", "segment", "video"]
    seed: Annotated[int, Ge(0)]
    precision: Literal["float32", "bf16"]
    device: Literal["auto", "cpu", "cuda"]
    workers: Annotated[int, Ge(0), Le(256)]


class Params(TrainParams):
    """The whole of params.yaml."""

    index: IndexParams
    extract: ExtractParams
    align: AlignParams
    shard: ShardParams
    engine: EngineParams
    evaluate: EvaluateParams
    report: ReportParams


def load_params(path: Path = PARAMS_FILE) -> Params:
    """Reads and checks the parameters.

    Raises:
        UserError: one line a problem, each naming the key, what it must be and what it is.
    """
    try:
        raw = YAML(typ="safe", pure=True).load(path)
    except FileNotFoundError:
        raise UserError(f"{path} not found; run from the project's folder") from None
    except (YAMLError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path} cannot be read as YAML: {reason}") from None
    if not isinstance(raw, Mapping):
        raise UserError(f"{path} must hold keys and values, for example `beta: 4.0`")
    return check_params(raw, source=str(path))


def check_params(raw: Mapping[str, Any], *, source: str = "params") -> Params:
    """Checks parameters that are already a mapping; raises `UserError` like `load_params`."""
    try:
        params = Params.model_validate(dict(raw))
    except ValidationError as error:
        problems = [f"{source}: {_explain(details)}" for details in error.errors()]
        raise UserError("\n".join(problems)) from None
    for problem in _conflicts(params):
        raise UserError(f"{source}: {problem}")
    return params


def _conflicts(params: Params) -> list[str]:
    problems = []
    if params.noise_kind == "none" and params.noise_rate > 0:
        problems.append(
            f"noise_rate is {params.noise_rate:g} but noise_kind is none; "
            "choose symmetric or pair, or set noise_rate to 0"
        )
    if params.align.max_gap < params.extract.stride:
        problems.append(
            f"align.max_gap is {params.align.max_gap} but only every {params.extract.stride}th frame is stored "
            "(extract.stride), so that no face could be followed; it must be at least extract.stride"
        )
    return problems


def _explain(details: ErrorDetails) -> str:
    location = [str(part) for part in details["loc"] if not str(part).startswith("constrained-")]
    group = _group_at(location[:-1])
    key, name = ".".join(location), location[-1]
    if details["type"] in ("extra_forbidden", "invalid_key"):
        close = difflib.get_close_matches(name, group.model_fields, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"allowed here: {', '.join(group.model_fields)}"
        return f"unknown key {key!r}; {hint}"
    if name not in group.model_fields:
        location = location[:-1]
        key, name, group = ".".join(location), location[-1], _group_at(location[:-1])
    allowed = _allowed(group.model_fields[name].annotation, group.model_fields[name].metadata)
    if details["type"] == "missing":
        return f"key {key!r} is missing; it must be {allowed}"
    return f"{key} must be {allowed}, got {details['input']!r}"


def _group_at(location: list[str]) -> type[BaseModel]:
    group: type[BaseModel] = Params
    for name in location:
        child = group.model_fields[name].annotation if name in group.model_fields else None
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
        return f"one of {', '.join(map(str, get_args(annotation)))}"
    if origin in (Union, UnionType):
        parts = ["null" if part is type(None) else _allowed(part, metadata) for part in get_args(annotation)]
        return " or ".join(parts)
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
                low = f"[{value:g}"
            case Gt(gt=value):
                low = f"({value:g}"
            case Le(le=value):
                high = f"{value:g}]"
            case Lt(lt=value):
                high = f"{value:g})"
    return f" in {low}, {high}"
