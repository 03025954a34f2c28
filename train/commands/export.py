"""`cct export`: a trained model as files that run without this project."""

import shutil
from collections.abc import Mapping
from importlib.resources import as_file
from importlib.resources import files as resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from jinja2 import Environment, PackageLoader, StrictUndefined

from pipeline import files
from pipeline.contract import RESULTS, Paths, UserError
from pipeline.shards.manifest import MANIFEST, read_manifest

if TYPE_CHECKING:
    from train.export import Parity

CARD, RUNNER = "MODEL_CARD.md", "predict.py"


def export(
    model: Annotated[Path, typer.Option(help="A model folder, such as models/demo.")],
    out: Annotated[Path, typer.Option(help="A new folder.")],
    weights: Annotated[
        Literal["last", "best"], typer.Option(help="last, or best (chosen on the validation set).")
    ] = "last",
    student: Annotated[bool, typer.Option("--student", help="The student, not the ensemble (distill: on).")] = False,
    formats: Annotated[
        str, typer.Option(help="onnx, pt2 (torch.export), torchscript; several with commas.")
    ] = "onnx,pt2",
    evaluation: Annotated[
        Path | None,
        typer.Option(help="Scores for the model card. Default: results/evaluation.json, if it is of these weights."),
    ] = None,
) -> None:
    """Writes the ensemble in each format, compares each with PyTorch, and adds a model card and a small program.

    Example: cct export --model models/demo --out exported
    """
    from train.checkpoint import read_description  # loads torch, for seconds
    from train.export import FORMATS, export_all

    wanted = [name.strip() for name in formats.split(",")]
    for name in wanted:
        if name not in FORMATS:
            raise UserError(f"--formats must be any of {', '.join(FORMATS)}, got {name!r}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} exists and is not an empty folder; choose another --out")
    description = read_description(model)
    shards = Paths(dataset=description["dataset"]).shards
    with files.fresh_folder(out) as folder:
        faces = shards if (shards / MANIFEST).exists() else None
        parities = export_all(model, weights, wanted, folder, student=student, shards=faces)
        scores = _scores(evaluation, model / f"{weights}.safetensors")
        (folder / CARD).write_text(_card(description, parities, scores, shards, student=student), encoding="utf-8")
        with as_file(resources("train").joinpath("templates/predict_onnx.py")) as runner:
            shutil.copyfile(runner, folder / RUNNER)
    for parity in parities:
        print(
            f"{out / parity.file}: differs from PyTorch by {parity.largest_difference:.1e} at most, "
            f"over {parity.faces} {'validation faces' if parity.real else 'pictures of noise (no shard set here)'}"
        )


def _scores(path: Path | None, weights: Path) -> Mapping[str, Any] | None:
    """The evaluation of exactly these weights; None if none is named and the usual one is absent or of others.

    Raises:
        UserError: if the one that is named is absent or of other weights.
    """
    usual = RESULTS / "evaluation.json"
    if path is None and not usual.exists():
        return None
    evaluation: Mapping[str, Any] = files.read_json(path or usual)
    if isinstance(evaluation, Mapping) and evaluation.get("weights") == files.digest_file(weights):
        return evaluation
    if path is not None:
        raise UserError(f"--evaluation {path} is not the evaluation of {weights}; leave it out, or run `dvc repro`")
    return None


def _card(
    description: Mapping[str, Any],
    parities: list["Parity"],
    evaluation: Mapping[str, Any] | None,
    shards: Path,
    *,
    student: bool,
) -> str:
    manifest = read_manifest(shards) if (shards / MANIFEST).exists() else {}
    environment = Environment(
        loader=PackageLoader("train"), autoescape=False, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("model_card.md.j2").render(
        description=description,
        parities=parities,
        evaluation=evaluation,
        scores=evaluation and evaluation["student" if student else "ensemble"],
        student=student,
        splits={split: line["samples"] for split, line in manifest.get("splits", {}).items()},
        side=description["input"]["width"],
        synthetic=description["dataset"] == "demo",
    )
