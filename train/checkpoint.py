"""Trained networks on disk: weights as safetensors and a description, each published whole."""

from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError

from pipeline import files
from pipeline.contract import UserError
from train.networks import Networks

DESCRIPTION = "model.json"


def save_weights(path: Path, networks: Networks) -> None:
    """Publishes the state of all networks, on the CPU in contiguous memory."""
    state = {name: value.detach().cpu().contiguous() for name, value in networks.state_dict().items()}
    with files.publishing(path) as stream:
        stream.write(safetensors.torch.save(state))


def keep_as_best(folder: Path) -> None:
    """Gives the last weights a second name; they are replaced by the next epoch's, never written again."""
    best = folder / "best.safetensors"
    best.unlink(missing_ok=True)
    files.link_or_copy(folder / "last.safetensors", best)


def load_weights(path: Path, networks: Networks) -> None:
    """Loads what `save_weights` wrote; raises `UserError` if the file is absent, damaged or of other networks."""
    try:
        networks.load_state_dict(safetensors.torch.load_file(path))
    except FileNotFoundError:
        raise UserError(f"{path} not found; train with `dvc repro`, or fetch it with `dvc pull`") from None
    except (SafetensorError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path} does not hold these networks ({reason}); train again with `dvc repro`") from None


def save_student(folder: Path, networks: Networks) -> None:
    """Publishes the student's weights alone, under torchvision's names: what `init` reads."""
    state = {name: value.detach().cpu().contiguous() for name, value in networks.networks[-1].state_dict().items()}
    with files.publishing(folder / "student.safetensors") as stream:
        stream.write(safetensors.torch.save(state))


def describe(folder: Path, description: dict[str, Any]) -> None:
    """Publishes what is needed to build the networks and to feed them."""
    files.write_json(folder / DESCRIPTION, description)


def load_networks(folder: Path, weights: str) -> tuple[Networks, dict[str, Any]]:
    """The networks of a model folder with the named weights (`last` or `best`), and their description."""
    description = files.read_json(folder / DESCRIPTION)
    networks = Networks(
        description["backbone"],
        networks=description["networks"],
        classes=len(description["classes"]),
        seed=description["seed"],
        student=description["student"],
    )
    load_weights(folder / f"{weights}.safetensors", networks)
    return networks, description
