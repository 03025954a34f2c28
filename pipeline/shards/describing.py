"""What goes with a shard set for people and other programs: datasheet, Croissant metadata, timm's table of splits."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline import files
from pipeline.params import IndexParams
from pipeline.shards import croissant
from pipeline.shards.provenance import LIMITS, SENSITIVE, SOURCES, USES

_INFO, _CROISSANT, _DATASHEET = "_info.json", "croissant.json", "datasheet.md"


def describe(
    folder: Path, dataset: str, index: IndexParams, classes: Sequence[str], lines: Sequence[dict[str, Any]]
) -> None:
    """Writes all three beside the shards; the same set gives the same bytes.

    Args:
        folder: of the shard set, with its tables.
        dataset: its name.
        index: the licence, and which set it was made of.
        classes: their names.
        lines: of the manifest, one a shard.
    """
    files.write_json(folder / _INFO, timm_info(lines))
    files.write_json(folder / _CROISSANT, croissant.metadata(folder, dataset, index, lines))
    with files.publishing(folder / _DATASHEET) as stream:
        stream.write(datasheet(dataset, index, classes, lines).encode())


def timm_info(lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Splits with their shards and numbers of samples, as timm's reader of WebDataset expects them."""
    splits: dict[str, Any] = {}
    for split in sorted({line["split"] for line in lines}):
        own = [line for line in lines if line["split"] == split]
        splits[split] = {
            "name": split,
            "filenames": [line["name"] for line in own],
            "shard_lengths": [line["samples"] for line in own],
            "num_samples": sum(line["samples"] for line in own),
        }
    return {"splits": splits}


def datasheet(dataset: str, index: IndexParams, classes: Sequence[str], lines: Sequence[dict[str, Any]]) -> str:
    """A page in the manner of Gebru et al., Datasheets for Datasets (2021), as Markdown."""
    source = SOURCES[index.source]
    access = "Access-restricted: keep it, and every copy of it, private." if index.restricted else "May be passed on."
    rows = ["| split | samples | " + " | ".join(classes) + " |", "|---" * (2 + len(classes)) + "|"]
    for split in sorted({line["split"] for line in lines}):
        counts = [line["classes"] for line in lines if line["split"] == split]
        summed = [sum(column) for column in zip(*counts, strict=True)]
        rows.append(f"| {split} | {sum(summed)} | " + " | ".join(map(str, summed)) + " |")
    sections = {
        "Source": ". ".join(filter(None, (source.name, source.url and f"<{source.url}>", source.citation))) + ".",
        "Licence": f"{index.licence}. {access} The raw set's own terms apply to what was made of it.",
        "Content": f"Aligned faces, 224 x 224, one expression each ({len(classes)} classes). manifest.json tells how "
        "they were made, drops.csv what was left out and why.\n\n" + "\n".join(rows),
        "Collection": f"{source.collection}.",
        "Annotation": f"{source.annotation}.",
        "Known noise": f"{source.known_noise}.",
        "Personal data": SENSITIVE,
        "Limits": LIMITS,
        "Uses": USES,
    }
    return f"# {dataset}\n\n" + "\n".join(f"## {title}\n\n{text}\n" for title, text in sections.items())
