"""Trained networks as files that run without this project, each compared with PyTorch: ONNX and PyTorch's own."""

import contextlib
import json
import logging
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline import files, geometry
from pipeline.contract import FACE_SIZE, UserError
from pipeline.shards.reading import ShardReader
from train.augment import resize
from train.checkpoint import load_networks
from train.compute import MEAN, STD

TOLERANCE = 1e-4
"""Most that a probability may differ from PyTorch's."""

INPUT, OUTPUT = "faces", "probabilities"
_OPSET = 18
_COMPARED = 64
"""Faces on which an exported file is compared with PyTorch."""

Faces = NDArray[np.float32]


class Exported(nn.Module):
    """The ensemble with its preprocessing inside: B x 3 x S x S RGB in [0, 255] to B x C probabilities.

    Normalisation, all K networks and the mean of their softmax (the paper's prediction) are part of the graph.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, networks: nn.ModuleList) -> None:
        """Takes the networks as they are."""
        super().__init__()
        self.networks = networks
        self.register_buffer("mean", 255 * torch.tensor(MEAN)[:, None, None])
        self.register_buffer("std", 255 * torch.tensor(STD)[:, None, None])

    def forward(self, faces: Tensor) -> Tensor:
        """Probabilities, B x C."""
        shown = (faces - self.mean) / self.std
        return torch.stack([network(shown) for network in self.networks]).softmax(-1).mean(0)


@dataclass(frozen=True, kw_only=True)
class Parity:
    """How an exported file compares with PyTorch: the largest difference of a probability over so many faces.

    They are `real` faces of the validation split, or pictures of noise where there is no shard set.
    """

    file: str
    what: str
    faces: int
    real: bool
    largest_difference: float


def export_onnx(model: Exported, example: Tensor, path: Path, metadata: Mapping[str, Any]) -> None:
    """Writes an ONNX file with any batch size; `metadata` goes into its properties, as JSON where it is not text."""
    with _quiet():
        program = torch.onnx.export(
            model,
            (example,),
            dynamo=True,
            opset_version=_OPSET,
            dynamic_shapes={INPUT: {0: torch.export.Dim("batch")}},
            input_names=[INPUT],
            output_names=[OUTPUT],
            verbose=False,
        )
    if program is None:
        raise UserError("torch gave no ONNX program; export another format with --formats")
    for name, value in metadata.items():
        program.model.metadata_props[name] = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    program.save(path)


def export_program(model: Exported, example: Tensor, path: Path, metadata: Mapping[str, Any]) -> None:
    """Writes a torch.export program with any batch size; `metadata` goes in as the extra file `metadata.json`."""
    with _quiet():
        program = torch.export.export(model, (example,), dynamic_shapes={INPUT: {0: torch.export.Dim("batch")}})
    torch.export.save(program, path, extra_files={"metadata.json": json.dumps(metadata, sort_keys=True)})


def export_torchscript(model: Exported, example: Tensor, path: Path, metadata: Mapping[str, Any]) -> None:
    """Writes a TorchScript trace; `metadata` goes in as the extra file `metadata.json`."""
    with _quiet():
        traced = torch.jit.trace(model, (example,))  # type: ignore[no-untyped-call]
        torch.jit.save(traced, path, _extra_files={"metadata.json": json.dumps(metadata, sort_keys=True)})


FORMATS: dict[str, tuple[str, str, Callable[[Exported, Tensor, Path, Mapping[str, Any]], None]]] = {
    "onnx": ("model.onnx", "ONNX, any batch size", export_onnx),
    "pt2": ("model.pt2", "torch.export, any batch size", export_program),
    "torchscript": ("model.torchscript.pt", "TorchScript", export_torchscript),
}
"""By name: the file, what it is, and what writes it."""


def run_exported(name: str, path: Path, faces: Faces) -> Faces:
    """Probabilities that an exported file gives, B x C, in a runtime of its own (onnxruntime for ONNX)."""
    if name == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        (probabilities,) = session.run([OUTPUT], {INPUT: faces})
        return np.asarray(probabilities)
    with _quiet(), torch.inference_mode():
        load = torch.jit.load if name == "torchscript" else _program
        found: Faces = load(path)(torch.from_numpy(faces)).numpy()
        return found


def _program(path: Path) -> nn.Module:
    return torch.export.load(path).module()


def largest_difference(model: Exported, name: str, path: Path, faces: Faces) -> float:
    """Compares an exported file with PyTorch, one face alone and the others together.

    Raises:
        UserError: if a probability differs by more than `TOLERANCE`.
    """
    with torch.inference_mode():
        expected = model(torch.from_numpy(faces)).numpy()
    found = np.concatenate([run_exported(name, path, faces[:1]), run_exported(name, path, faces[1:])])
    largest = float(np.abs(found - expected).max())
    if not largest <= TOLERANCE:
        raise UserError(
            f"{path.name} differs from PyTorch by {largest:.2g}, more than {TOLERANCE:g}; nothing is exported"
        )
    return largest


def export_all(
    folder: Path, weights: str, formats: Sequence[str], out: Path, *, student: bool, shards: Path | None
) -> list[Parity]:
    """Writes a model folder's ensemble, or its student, in these formats, and `model.json`; compares with PyTorch.

    Raises:
        UserError: if weights are absent, a library is missing, or a file does not give PyTorch's figures.
    """
    networks, description = load_networks(folder, weights)
    voices = networks.networks[networks.voices(student=student)]
    model, side = Exported(voices).eval(), description["input"]["width"]
    about = metadata_of(description, networks=len(voices))
    faces = _faces(shards, side)
    parities = []
    for name in formats:
        print(f"export: {name}: writing it and comparing it with PyTorch", file=sys.stderr, flush=True)
        file, what, write = FORMATS[name]
        try:
            write(model, torch.from_numpy(faces[:2]), out / file, about)
            difference = largest_difference(model, name, out / file, faces)
        except ImportError as error:
            raise UserError(
                f"{name} needs the package {error.name}; run `make setup`, or choose other --formats"
            ) from None
        parities.append(
            Parity(file=file, what=what, faces=len(faces), real=shards is not None, largest_difference=difference)
        )
    files.write_json(out / "model.json", about)
    return parities


def _faces(shards: Path | None, side: int) -> Faces:
    """Faces to compare on, B x 3 x S x S in [0, 255]: spread over the validation split, or noise."""
    if shards is None:
        pictures = np.random.default_rng(0).integers(0, 256, (_COMPARED, side, side, 3), dtype=np.uint8)
    else:
        reader = ShardReader(shards, "val")
        places = np.linspace(0, len(reader) - 1, min(_COMPARED, len(reader))).round().astype(int)
        pictures = np.stack([resize(reader.picture(int(place)), side) for place in places])
    return np.ascontiguousarray(pictures.transpose(0, 3, 1, 2), dtype=np.float32)


def metadata_of(description: Mapping[str, Any], *, networks: int) -> dict[str, Any]:
    """What a program needs to feed the model: stored with it and beside it."""
    side, classes = description["input"]["width"], description["classes"]
    template = (geometry.template(description["input"]["template_scale"]) + 0.5) * (side / FACE_SIZE) - 0.5
    return {
        "classes": classes,
        "input": f"{INPUT}: float32, B x 3 x {side} x {side}, RGB in [0, 255]; normalisation is inside the model",
        "output": f"{OUTPUT}: float32, B x {len(classes)}, the mean of {networks} softmax",
        "image_size": side,
        "alignment": "similarity transform (least squares) of five landmarks to `template`; larger faces averaged down",
        "landmarks": ["left eye", "right eye", "nose", "left mouth corner", "right mouth corner"],
        "template": [[round(float(x), 4), round(float(y), 4)] for x, y in template.tolist()],
        "dataset": description["dataset"],
        "shards": description["shards"],
        "licence": "see MODEL_CARD.md",
    }


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporters' own progress and deprecation notes."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logger.setLevel(level)
