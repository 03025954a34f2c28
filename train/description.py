"""What describes a trained model: `model.json`."""

from typing import Any

from pipeline.files import digest_file
from pipeline.shards.manifest import MANIFEST, read_manifest
from train.compute import MEAN, STD
from train.run import Run
from train.snapshots import Position


def description(run: Run, position: Position) -> dict[str, Any]:
    """What `load_networks` and any other program need to use the weights."""
    params = run.params
    manifest = read_manifest(run.train.reader.folder)
    return {
        "dataset": params.dataset,
        "method": params.method,
        "networks": params.networks,
        "student": run.learner.networks.student,
        "backbone": params.backbone,
        "classes": manifest["classes"],
        "seed": params.seed,
        "input": {
            "width": params.image_size,
            "height": params.image_size,
            "channels": "RGB",
            "template_scale": manifest["params"]["align"]["template_scale"],
            "mean": MEAN,
            "std": STD,
        },
        "prediction": "arg max of the mean of the networks' softmax",
        "epochs": len(position.rows),
        "best_epoch": position.best_epoch,
        "shards": digest_file(run.train.reader.folder / MANIFEST),
        "mix": params.mix,
    }
