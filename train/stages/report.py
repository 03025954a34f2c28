"""Stage report: one page that opens offline, from the shards, the training and the evaluation."""

from importlib.metadata import version

from pipeline import files
from pipeline.contract import RESULTS, Paths
from pipeline.params import Params
from pipeline.shards.manifest import MANIFEST
from pipeline.stage import run_stage
from pipeline.streaming.opening import opened
from train.report import build_report, load_inputs
from train.report.revision import revision

PAGE = RESULTS / "report.html"
_LIBRARIES = ("torch", "torchvision", "opencv-python-headless", "facenet-pytorch", "albumentations", "dvc")


def report(params: Params) -> None:
    """Writes `results/report.html`."""
    paths = Paths(dataset=params.dataset)
    versions = {name: version(name) for name in _LIBRARIES}
    with opened(params, paths.shards) as shards:
        digest = files.digest_file(shards.folder / MANIFEST)
        run = {"manifest_sha256": digest, "revision": revision(), "versions": versions}
        inputs = load_inputs(shards.folder, RESULTS, params=params.model_dump(), run=run, local=paths, feed=shards.feed)
    with files.publishing(PAGE) as stream:
        stream.write(build_report(inputs).encode())
    print(f"report: {PAGE}")


if __name__ == "__main__":
    run_stage("report", report)
