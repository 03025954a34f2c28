"""The training methods by the name that `method` in params.yaml takes: one file a method, one line here."""

from pipeline.train_params import TrainParams
from train.methods.base import Given, Losses, Method, Setting
from train.methods.cct import CCT
from train.methods.ce import CE
from train.methods.coteaching import Coteaching
from train.methods.coteaching_plus import CoteachingPlus
from train.methods.decoupling import Decoupling
from train.methods.distillation import Distilled
from train.methods.eac import EAC
from train.methods.jocor import JoCoR
from train.methods.ltnet import LTNet
from train.methods.nct import NCT
from train.methods.rayleigh import Rayleigh
from train.methods.scn import SCN

__all__ = ["METHODS", "Given", "Losses", "Method", "Setting", "build_method"]

METHODS: dict[str, type[Method]] = {
    "cct": CCT,
    "ce": CE,
    "coteaching": Coteaching,
    "coteaching_plus": CoteachingPlus,
    "decoupling": Decoupling,
    "eac": EAC,
    "jocor": JoCoR,
    "ltnet": LTNet,
    "nct": NCT,
    "rayleigh": Rayleigh,
    "scn": SCN,
}


def build_method(params: TrainParams, setting: Setting) -> Method:
    """The method that the parameters ask for, with a student's lesson where `distill` is on."""
    method = METHODS[params.method].build(params, setting)
    return Distilled(method) if params.distill == "on" else method
