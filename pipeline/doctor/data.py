"""The data of the chosen set: raw folder and layout, corrected labels, shards. Run as a module it looks at the raw set,
in a process of its own, since a large set takes longer to read than one likes to wait."""

import json
import sys
from pathlib import Path

from pipeline.contract import Paths, UserError
from pipeline.datasets.layouts import read_layout
from pipeline.findings import Finding, fail, ok, warn
from pipeline.overrides import OVERRIDES, in_force, read_overrides
from pipeline.params import Params, load_params
from pipeline.shards import stamps
from pipeline.shards.manifest import MANIFEST, read_manifest
from pipeline.shards.naming import require_named

_MEND_SHARDS = "cct team pull --force, or: dvc repro --force --single-item shard"


def raw_set(params: Params) -> list[Finding]:
    """Whether the raw set is there and laid out as `index.layout` says."""
    raw, index = Path(params.index.raw), params.index
    if not raw.is_dir():
        text = f"no folder {raw} (index.raw)"
        if (Paths(dataset=params.dataset).shards / MANIFEST).exists():
            return [ok("raw set", f"{text}; training does not need it where the shards are: --allow-missing")]
        return [fail("raw set", text, "put the set there (docs/datasets.md), or: cct team pull")]
    try:
        found = read_layout(index)
    except UserError as error:
        return [fail("raw set", str(error), "see docs/datasets.md for the layouts; index.layout, index.raw")]
    if not found.trials:
        reasons = ", ".join(sorted({str(entry.reason) for entry in found.dropped}))
        return [fail("raw set", f"{raw}: nothing of it fits layout {index.layout} ({reasons})", "see docs/datasets.md")]
    labelled = sum(trial.labelled for trial in found.trials)
    told = f"{raw}: layout {index.layout}, {len(found.trials)} annotations, {labelled} labelled frames"
    if found.dropped:
        told += f"; what does not fit will be listed with {len(found.dropped)} reasons"
    return [ok("raw set", told)]


def corrected_labels() -> list[Finding]:
    """Whether every line of labels/overrides.csv can be read, of whatever set it is."""
    try:
        decisions = read_overrides(OVERRIDES, None)
    except UserError as error:
        return [fail("labels", str(error), f"correct the line, or: git checkout {OVERRIDES}")]
    if not OVERRIDES.exists():
        return [fail("labels", f"no {OVERRIDES}, which the stage index reads", f"git checkout {OVERRIDES}")]
    sets = {decision.dataset for decision in decisions}
    held = sum(len(in_force(each for each in decisions if each.dataset == name)) for name in sets)
    return [ok("labels", f"{OVERRIDES}: {held} decisions in force")]


def shard_set(params: Params) -> list[Finding]:
    """Whether the set has shards, and whether they were verified since anything touched them."""
    folder = Paths(dataset=params.dataset).shards
    if not (folder / MANIFEST).exists():
        return [warn("shards", f"no shard set in {folder}", "dvc repro shard, or: cct team pull")]
    try:
        manifest = read_manifest(folder)
        require_named(folder)
    except UserError as error:
        return [fail("shards", str(error), _MEND_SHARDS)]
    samples = sum(split["samples"] for split in manifest["splits"].values())
    told = f"{folder}: {len(manifest['shards'])} shards, {samples} samples"
    if stamps.is_stamped(folder):
        return [ok("shards", f"{told}, verified and not touched since")]
    return [warn("shards", f"{told}, not verified since they were last touched", f"cct verify {folder}")]


def verified(params: Params) -> list[Finding]:
    """Every byte of the shard set, if there is one."""
    from pipeline.shards.verification import verify

    folder = Paths(dataset=params.dataset).shards
    if not (folder / MANIFEST).exists():
        return shard_set(params)
    problems = verify(folder)
    return [fail("shards", problem, _MEND_SHARDS) for problem in problems[:5]] or shard_set(params)


if __name__ == "__main__":
    json.dump([finding.json() for finding in raw_set(load_params())], sys.stdout)
