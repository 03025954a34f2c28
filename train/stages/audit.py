"""Stage audit: what trained networks think of the training labels; the stretches that are probably wrong."""

import pandas as pd

from pipeline import files, tables
from pipeline.contract import RESULTS, Paths
from pipeline.params import Params
from pipeline.shards.manifest import read_manifest
from pipeline.shards.reading import ShardReader
from pipeline.stage import run_stage
from pipeline.store import work_store
from pipeline.streaming.opening import OpenedSet, opened
from train.audit import Opinion, judged, suspects
from train.folds import said_from_outside
from train.history import read_course
from train.label_files import given_labels
from train.start import started
from train.suspect_sheets import suspect_page
from train.suspects import SUSPECTS, write_suspects
from train.trained import said

_COLUMNS = {"key": "string", "label": "int64", "suggested": "int64", "score": "double", "flagged": "bool"} | {
    "course": "double",
    "confident": "bool",
}


def audit(params: Params) -> None:
    """Writes a verdict a training sample, the suspect stretches, the most suspect first, and a page that shows them."""
    paths = Paths(dataset=params.dataset)
    with opened(params, paths.shards, mix=params.mix if params.audit.folds else ()) as shards:
        shards.require_verified()
        classes = read_manifest(shards.folder)["classes"]
        reader = ShardReader(shards.folder, "train", places=shards.feed.places if shards.feed else None)
        listed = reader.marks("listed_label") if params.noise_kind == "listed" else None
        samples = reader.samples.copy()
        samples["label"] = given_labels(params, samples, len(classes), listed=listed)
        course = read_course(paths.models, len(samples), mixed=bool(params.mix))
        opinion = _opinion(params, paths, shards, samples)
        found = judged(samples, opinion, course.margin_n, ranking=params.audit.ranking)
        tables.write_table(RESULTS / "audit.parquet", samples[["key", "label"]].join(found), _COLUMNS)
        listing = suspects(samples, opinion, found, dataset=params.dataset, classes=classes).head(params.audit.most)
        write_suspects(SUSPECTS, listing, classes)
        page = suspect_page(listing, reader, classes, stretches=found["stretch"].nunique(), feed=shards.feed)
    with files.publishing(RESULTS / "suspects.html") as stream:
        stream.write(page.encode())
    faces = listing["samples"].sum()
    print(f"audit: {len(listing)} suspect stretches with {faces} faces; look at them with `cct review`")


def _opinion(params: Params, paths: Paths, shards: OpenedSet, samples: pd.DataFrame) -> Opinion:
    """Of the run's networks, or of those of each fold, which have not seen what they judge."""
    if params.audit.folds is not None:
        return Opinion.of(said_from_outside(started(params), shards, samples, params.audit.folds))
    _, networks, probabilities_knc = said(params, paths, shards, "last", "train")
    return Opinion.of(probabilities_knc[: networks.size])


if __name__ == "__main__":
    run_stage("audit", audit, around=work_store().in_use())
