"""The training methods by the name that `method` in params.yaml takes: one file a method, one line here."""

from train.methods.base import Given, Losses, Method, Setting
from train.methods.cct import CCT
from train.methods.ce import CE

__all__ = ["METHODS", "Given", "Losses", "Method", "Setting"]

METHODS: dict[str, type[Method]] = {
    "cct": CCT,
    "ce": CE,
}
