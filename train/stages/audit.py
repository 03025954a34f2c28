"""Stage audit: what the trained networks think of the training labels; the stretches that are probably wrong."""

from pipeline import tables
from pipeline.contract import RESULTS, Paths
from pipeline.params import Params
from pipeline.shards.manifest import read_manifest
from pipeline.stage import run_stage
from pipeline.streaming.opening import opened
from train.audit import Opinion, judged, suspects
from train.label_files import given_labels
from train.suspects import SUSPECTS, write_suspects
from train.trained import said

_COLUMNS = {"key": "string", "label": "int64", "suggested": "int64", "score": "double", "flagged": "bool"}


def audit(params: Params) -> None:
    """Writes a verdict a training sample, and the suspect stretches, the most suspect first."""
    paths = Paths(dataset=params.dataset)
    with opened(params, paths.shards) as shards:
        shards.require_verified()
        classes = read_manifest(shards.folder)["classes"]
        split, networks, probabilities_knc = said(params, paths, shards, "last", "train")
        listed = split.reader.marks("listed_label") if params.noise_kind == "listed" else None
    samples = split.reader.samples.copy()
    samples["label"] = given_labels(params, samples, len(classes), listed=listed)
    opinion = Opinion.of(probabilities_knc[: networks.size])
    found = judged(samples, opinion)
    tables.write_table(RESULTS / "audit.parquet", samples[["key", "label"]].join(found), _COLUMNS)
    listing = suspects(samples, opinion, found, dataset=params.dataset, classes=classes).head(params.audit.most)
    write_suspects(SUSPECTS, listing, classes)
    print(
        f"audit: {len(listing)} suspect stretches with {listing['samples'].sum()} faces; look at them with `cct review`"
    )


if __name__ == "__main__":
    run_stage("audit", audit)
