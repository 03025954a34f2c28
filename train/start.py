"""What training starts from: the weights of the stage pretrain, or nothing."""

from pathlib import Path

from pipeline import files
from pipeline.contract import UserError
from pipeline.params import Params

PRETRAINED = Path("models/pretrained")
"""Networks to start from, if there are any."""

START = Path("data/start.json")
"""Small, and kept by git, so that a clone without the weights knows of them (docs/decisions/033)."""

_WEIGHTS = PRETRAINED / "last.safetensors"


def tell_start(epochs: int) -> None:
    """Publishes START: the number of epochs of pre-training, and the digest of its weights if there are any."""
    files.write_json(START, {"epochs": epochs} | ({"weights": files.digest_file(_WEIGHTS)} if epochs else {}))


def started(params: Params) -> Params:
    """The parameters with the weights of the stage pretrain as `init`, if that stage makes any."""
    if not params.pretrain.epochs:
        return params
    return params.model_copy(update={"init": str(pretrained_weights())})


def pretrained_weights() -> Path:
    """The weights that START names; raises `UserError` if they are not there, or others are."""
    if not _WEIGHTS.exists() or files.digest_file(_WEIGHTS) != files.read_json(START).get("weights"):
        raise UserError(f"{_WEIGHTS} is not what {START} names; run `dvc repro pretrain`, or `dvc pull {PRETRAINED}`")
    return _WEIGHTS
