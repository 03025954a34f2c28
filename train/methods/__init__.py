"""The training methods by the name that `method` in params.yaml takes: one file a method, one line here."""

from collections.abc import Callable

from pipeline.params import TrainParams
from train.methods.base import Losses, Method
from train.methods.cct import CCT
from train.methods.ce import CE

__all__ = ["METHODS", "Losses", "Method"]

METHODS: dict[str, Callable[[TrainParams], Method]] = {
    "cct": CCT.from_params,
    "ce": CE.from_params,
}
