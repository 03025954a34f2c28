"""Trained networks on disk: weights as safetensors and a description, each published whole."""

from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError

from pipeline import files
from pipeline.contract import UserError
from train.networks import Networks

DESCRIPTION = "model.json"

_DESCRIBED = frozenset({"backbone", "networks", "classes", "seed", "student"})


def weights_of(networks: Networks) -> bytes:
    """The state of all networks as safetensors."""
    return safetensors.torch.save({name: value.cpu().contiguous() for name, value in networks.state_dict().items()})


def student_of(networks: Networks) -> bytes:
    """The student's weights alone, under torchvision's names: what `init` reads."""
    state = {name: value.cpu().contiguous() for name, value in networks.networks[-1].state_dict().items()}
    return safetensors.torch.save(state)


def publish(folder: Path, weights: dict[str, bytes], description: dict[str, Any]) -> None:
    """Weights by name (`last`, `best`, `student`) and the history, and what is needed to build the networks."""
    for name, content in weights.items():
        with files.publishing(folder / f"{name}.safetensors") as stream:
            stream.write(content)
    files.write_json(folder / DESCRIPTION, description)


def load_weights(path: Path, networks: Networks) -> None:
    """Loads what `weights_of` gave; raises `UserError` if the file is absent, damaged or of other networks."""
    try:
        networks.load_state_dict(safetensors.torch.load_file(path))
    except FileNotFoundError:
        raise UserError(f"{path} not found; train with `dvc repro`, or fetch it with `dvc pull`") from None
    except (SafetensorError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path} does not hold these networks ({reason}); train again with `dvc repro`") from None


def read_description(folder: Path) -> dict[str, Any]:
    """What `publish` wrote about the networks of a model folder; raises `UserError` if it describes none."""
    path = folder / DESCRIPTION
    description: dict[str, Any] = files.read_json(path)
    if not isinstance(description, dict) or (missing := _DESCRIBED - description.keys()):
        lacks = f" (no {', '.join(sorted(missing))})" if isinstance(description, dict) else ""
        raise UserError(f"{path} describes no networks{lacks}; name a folder that the stage train made, as models/demo")
    return description


def load_networks(folder: Path, weights: str) -> tuple[Networks, dict[str, Any]]:
    """The networks of a model folder with the named weights (`last` or `best`), and their description."""
    description = read_description(folder)
    networks = Networks(
        description["backbone"],
        networks=description["networks"],
        classes=len(description["classes"]),
        seed=description["seed"],
        student=description["student"],
    )
    load_weights(folder / f"{weights}.safetensors", networks)
    return networks, description
