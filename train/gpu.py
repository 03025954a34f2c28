"""Whether torch sees a GPU here, and whether one is there that it does not see. Run as a module it prints findings."""

import json
import subprocess
import sys
from pathlib import Path

import torch

from pipeline.contract import UserError
from pipeline.findings import Finding, fail, ok, warn
from pipeline.params import PARAMS_FILE, Params, load_params
from train.half import has_bf16

_DRIVER = Path("/proc/driver/nvidia/version")
_PCI = Path("/sys/bus/pci/devices")
_NVIDIA, _DISPLAY = "0x10de", "0x03"
_LARGE = 10_000
"""Pixels times samples of a step, in thousands, from which a CPU takes more than a second for it."""

_OLDEST = (7, 5)
"""Compute capability of the oldest cards that the locked torch has code for."""


def gpu(params: Params | None) -> list[Finding]:
    """What torch sees, against the card, its driver and what the parameters ask for."""
    if torch.cuda.is_available():
        return [_card(index) for index in range(torch.cuda.device_count())]
    card, driver = _has_card(), _driver()
    needs = params is not None and "cuda" in (params.device, params.align.device)
    if card and not driver:
        return [_unusable(needs, "a GPU is in this machine, but no NVIDIA driver is loaded", "install NVIDIA's driver")]
    if driver and torch.version.cuda is None:
        told = f"a GPU with driver {driver} is here, but this torch {torch.__version__} is built for CPUs"
        return [_unusable(needs, told, "make setup")]
    if driver:
        told = (
            f"a GPU with driver {driver} is here, but torch {torch.__version__} (CUDA {torch.version.cuda}) sees none"
        )
        return [
            _unusable(needs, told, "see nvidia-smi and CUDA_VISIBLE_DEVICES; update the driver to one for that CUDA")
        ]
    if needs:
        return [fail("gpu", "no GPU, but device or align.device is cuda", "set device and align.device to auto")]
    if params is not None and params.batch_size * params.image_size**2 / 1000 > _LARGE:
        told = f"no GPU: steps of {params.batch_size} faces of {params.image_size} px take many seconds each on a CPU"
        return [warn("gpu", told, "train on a machine with a GPU; preparing the shards needs none")]
    if params is not None and params.precision == "bf16" and not has_bf16():
        return [
            warn("gpu", "no GPU, and this processor only imitates bf16, many times slower", "set precision to float32")
        ]
    return [ok("gpu", f"no GPU; torch {torch.__version__} uses the CPU with {torch.get_num_threads()} threads")]


def _card(index: int) -> Finding:
    properties = torch.cuda.get_device_properties(index)
    told = f"{properties.name}, {properties.total_memory / 1e9:.1f} GB, seen by torch {torch.__version__}"
    if (properties.major, properties.minor) < _OLDEST:
        return warn("gpu", f"{told}, which has no code for so old a card", "set device and align.device to cpu")
    return ok("gpu", told)


def _unusable(needed: bool, text: str, mend: str) -> Finding:
    return fail("gpu", text, mend) if needed else warn("gpu", text, mend)


def _driver() -> str:
    """The version of NVIDIA's driver, or nothing."""
    try:
        words = _DRIVER.read_text().splitlines()[0].split()
        return next((word for word in words if word[:1].isdigit()), "of unknown version")
    except (OSError, IndexError):
        pass
    try:
        asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        done = subprocess.run(asked, capture_output=True, text=True, timeout=4, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.split("\n")[0].strip() if done.returncode == 0 else ""


def _has_card() -> bool:
    for device in _PCI.glob("*"):
        try:
            kind, vendor = ((device / name).read_text().strip() for name in ("class", "vendor"))
        except OSError:
            continue
        if vendor == _NVIDIA and kind.startswith(_DISPLAY):
            return True
    return False


def _params() -> Params | None:
    try:
        return load_params() if PARAMS_FILE.exists() else None
    except UserError:
        return None  # told elsewhere


if __name__ == "__main__":
    json.dump([finding.json() for finding in gpu(_params())], sys.stdout)
