"""The typed parameters of every stage and of training, and the checking of params.yaml. Values live there, not here."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, Lt
from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pipeline.contract import GIVING_LAYOUTS, STILL_LAYOUTS, UserError
from pipeline.engine_params import EngineParams
from pipeline.explaining import explain
from pipeline.fields import Count, Group, Share, Switch
from pipeline.method_params import NETWORKS_OF
from pipeline.train_params import NO_SET, PretrainParams, TrainParams

PARAMS_FILE = Path("params.yaml")


class IndexParams(Group):
    """Which raw set is read, and what is done when its counts disagree."""

    layout: Literal["affwild2", "affwild2_cropped", "affwild2_pickle", "affectnet", "rafdb", "ferplus"]
    raw: str
    annotations: str
    noise_list: str | None
    classes: Annotated[int, Ge(7), Le(8)]
    mismatch: Literal["trim", "error", "skip"]
    tolerance: Annotated[int, Ge(0)]
    source: Literal["affwild2", "affectnet", "rafdb", "ferplus", "demo", "other"]
    licence: str
    restricted: bool


class ExtractParams(Group):
    """Frames as they are taken from the videos."""

    stride: Count
    max_side: Annotated[int, Ge(64), Le(8192)]
    quality: Annotated[int, Ge(50), Le(100)]


class AlignParams(Group):
    """Face detection, the choice of the subject, and the crop."""

    faces: Literal["detect", "given", "as_is"]
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


class ShardParams(Group):
    """How samples are laid into shards."""

    seed: Annotated[int, Ge(0)]
    samples_per_shard: Count
    effective_beta: Annotated[float, Ge(0), Lt(1)]


class EvaluateParams(Group):
    """How scores are estimated."""

    bootstrap: Annotated[int, Ge(100), Le(100_000)]


class AuditParams(Group):
    """What the audit of training labels goes by, and what it lists."""

    ranking: Literal["last", "epochs"]
    folds: Annotated[int, Ge(2), Le(100)] | None
    most: Count


class LeakageParams(Group):
    """What is done about pictures that one set trains on and another is evaluated on."""

    found: Literal["error", "warn"]
    distance: Annotated[int, Ge(0), Le(15)]


class ReportParams(Group):
    """What the report shows."""

    faces_per_class: Annotated[int, Ge(1), Le(50)]


class Params(TrainParams):
    """The whole of params.yaml."""

    pretrain: PretrainParams

    index: IndexParams
    extract: ExtractParams
    align: AlignParams
    shard: ShardParams
    engine: EngineParams
    evaluate: EvaluateParams
    audit: AuditParams
    leakage: LeakageParams
    report: ReportParams


def pretraining(params: Params) -> Params:
    """The parameters of pre-training: plain supervision on the other set, so that no sweep of a method redoes it."""
    plain = {"method": "ce", "distill": "off", "compat": "paper", "balance": "none"}
    clean = {"noise_kind": "none", "noise_rate": 0.0, "noise_matrix": None, "noise_list": None}
    asked = {"dataset": params.pretrain.dataset, "mix": params.pretrain.mix, "epochs": params.pretrain.epochs}
    asked |= {"iterations_per_epoch": None}
    return params.model_copy(update=plain | clean | asked)


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
        told = [f"{source}: {explain(details, Params)}" for details in error.errors()]
        problems = dict.fromkeys(told)  # of `auto or a whole number` each alternative is refused by itself
        raise UserError("\n".join(problems)) from None
    for problem in _conflicts(params):
        raise UserError(f"{source}: {problem}")
    return params


def _conflicts(params: Params) -> list[str]:
    problems = _noise_conflicts(params)
    problems += _mix_conflicts("mix", params.mix, params.dataset)
    problems += _mix_conflicts("pretrain.mix", params.pretrain.mix, params.pretrain.dataset)
    problems += _no_set_conflicts(params)
    own = NETWORKS_OF.get(params.method, params.networks)
    if params.networks != own and params.method != "eac":
        problems.append(
            f"method {params.method} is defined for {own} network{'s' if own > 1 else ''}, networks is "
            f"{params.networks}; set networks to {own} or null"
        )
    if params.noise_kind == "listed" and (params.noise_rate > 0 or params.index.noise_list is None):
        problems.append(
            "noise_kind is listed, so that the noise is that of the list: index.noise_list must name it "
            "and noise_rate must be 0"
        )
    drawn = params.noise_rate > 0 or params.noise_kind == "confusion"
    if params.index.layout in STILL_LAYOUTS and drawn and params.noise_unit != "frame":
        problems.append(
            f"noise_unit is {params.noise_unit} but the pictures of index.layout {params.index.layout} have nothing "
            "to do with each other; it must be frame"
        )
    problems += _layout_conflicts(params.index, params.align)
    if params.audit.folds is not None and params.audit.ranking == "epochs":
        problems.append(
            f"audit.folds is {params.audit.folds}, whose networks judge faces that they never learned from: there are "
            "no epochs to rank by; set audit.ranking to last, or audit.folds to null"
        )
    if params.align.max_gap < params.extract.stride:
        problems.append(
            f"align.max_gap is {params.align.max_gap} but only every {params.extract.stride}th frame is stored "
            "(extract.stride), so that no face could be followed; it must be at least extract.stride"
        )
    if params.engine.kind == "dask" and (params.engine.address is None) == (params.engine.cluster is None):
        problems.append(
            "engine.kind is dask, which needs either engine.address, of a running scheduler, or engine.cluster, the "
            "jobs to ask of SLURM; set one of them and leave the other null"
        )
    return problems


def _mix_conflicts(key: str, mix: Mapping[str, float], dataset: str) -> list[str]:
    problems = []
    if dataset in mix:
        problems.append(f"{key}.{dataset} is the main set itself, which has what the others leave; remove it")
    if (total := sum(mix.values())) >= 1:
        problems.append(f"the shares of {key} add up to {total:g}; they must leave some to {dataset}")
    return problems


def _no_set_conflicts(params: Params) -> list[str]:
    problems = []
    if params.pretrain.epochs and params.pretrain.dataset == NO_SET:
        problems.append(
            f"pretrain.epochs is {params.pretrain.epochs}, pretrain.dataset is {NO_SET}; name the shard set to learn "
            "from first, or set pretrain.epochs to 0"
        )
    if NO_SET in (params.dataset, *params.mix, *params.pretrain.mix):
        problems.append(f"no shard set can be called {NO_SET}: it is what pretrain.dataset is without pre-training")
    return problems


def _layout_conflicts(index: IndexParams, align: AlignParams) -> list[str]:
    problems = []
    if index.noise_list is not None and index.layout != "rafdb":
        problems.append(f"index.noise_list is for index.layout rafdb; it must be null for {index.layout}")
    if align.faces == "as_is" and index.layout == "affwild2":
        problems.append("align.faces is as_is but the frames of index.layout affwild2 are no crops; it must be detect")
    if align.faces == "given" and index.layout not in GIVING_LAYOUTS:
        problems.append(
            f"align.faces is given but index.layout {index.layout} comes without landmarks; it must be detect or as_is"
        )
    return problems


def _noise_conflicts(params: Params) -> list[str]:
    problems = []
    kind, drawn = params.noise_kind, params.noise_kind in ("symmetric", "pair")
    if not drawn and params.noise_rate > 0:
        reason = {"none": "", "confusion": " (noise_matrix holds the rates)", "list": " (noise_list is the noise)"}
        reason["listed"] = " (the set's own list is the noise)"
        problems.append(
            f"noise_rate is {params.noise_rate:g} but noise_kind is {kind}{reason[kind]}; "
            "choose symmetric or pair, or set noise_rate to 0"
        )
    for needed, key in (("confusion", "noise_matrix"), ("list", "noise_list")):
        value = getattr(params, key)
        if kind == needed and value is None:
            problems.append(f"noise_kind is {kind}, so {key} must name a CSV file; it is null")
        if kind != needed and value is not None:
            problems.append(f"{key} is {value} but noise_kind is {kind}; set noise_kind to {needed}, or {key} to null")
    return problems
