"""What training depends on: the top-level keys of params.yaml."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Lt
from pydantic import model_validator

from pipeline.fields import Count, Group, Name, Positive, Share, Shares, Switch
from pipeline.method_params import (
    ANY_NETWORKS,
    NETWORKS_OF,
    EacParams,
    JocorParams,
    LtnetParams,
    NctParams,
    RayleighParams,
    ScnParams,
)


class TrainParams(Group):
    """Everything that training depends on: the top-level keys of params.yaml."""

    dataset: Name
    mix: Shares
    method: Literal[
        "cct", "ce", "coteaching", "coteaching_plus", "decoupling", "eac", "jocor", "ltnet", "nct", "rayleigh", "scn"
    ]
    networks: Annotated[int, Ge(1), Le(16)]
    beta: Annotated[float, Ge(0), Le(100)]
    lambda_max: Share
    rampup: Annotated[float, Gt(0)] | None
    after_rampup: Literal["hold", "fall"]
    compat: Literal["paper", "original"]
    distill: Switch
    forget_rate: Share | None
    forget_epochs: Annotated[float, Ge(0), Lt(float("inf"))]
    warmup: Annotated[int, Ge(0)]
    jocor: JocorParams
    nct: NctParams
    scn: ScnParams
    ltnet: LtnetParams
    rayleigh: RayleighParams
    eac: EacParams
    epochs: Count
    iterations_per_epoch: Count | None
    batch_size: Count
    image_size: Annotated[int, Ge(32), Le(224)]
    backbone: Literal["resnet18", "resnet34", "resnet50", "mobilenet_v3_small", "mobilenet_v3_large", "efficientnet_b0"]
    init: str | None
    lr_backbone: Positive
    lr_head: Positive
    lr_decay: Annotated[float, Gt(0), Le(1)]
    weight_decay: Annotated[float, Ge(0), Lt(1)]
    balance: Literal["none", "oversample", "class_weights"]
    noise_kind: Literal["none", "symmetric", "pair", "confusion", "list", "listed"]
    noise_rate: Share
    noise_unit: Literal["frame", "segment", "video"]
    noise_matrix: str | None
    noise_list: str | None
    seed: Annotated[int, Ge(0), Lt(2**32)]
    precision: Literal["float32", "bf16", "fp16"]
    device: Literal["auto", "cpu", "cuda"]
    devices: Literal["auto"] | Count
    placement: Literal["together", "apart"]
    batch_norm: Literal["synced", "local"]
    micro_batch: Count | None
    workers: Annotated[int, Ge(0), Le(256)]
    snapshot_minutes: Annotated[float, Ge(0)]
    stream: Literal["local", "remote"]
    stream_remote: str | None
    stream_cache_gb: Positive

    @property
    def shown_at_once(self) -> int:
        """How many pictures go through the networks together, at most, where nothing is learned from them."""
        return min(self.batch_size, self.micro_batch or self.batch_size)

    @model_validator(mode="before")
    @classmethod
    def _own_number_of_networks(cls, raw: Any) -> Any:
        """`networks: null` is as many as the method is defined for."""
        if isinstance(raw, Mapping) and "networks" in raw and raw["networks"] is None:
            return {**raw, "networks": NETWORKS_OF.get(str(raw.get("method")), ANY_NETWORKS)}
        return raw


NO_SET = "none"
"""`pretrain.dataset` without pre-training; git keeps data/shards/none.json, which DVC asks for (docs/decisions/033)."""


class PretrainParams(Group):
    """What the networks learn from before they are trained."""

    dataset: Name
    mix: Shares
    epochs: Annotated[int, Ge(0)]
