"""Croissant metadata of a shard set (MLCommons Croissant 1.0 and its vocabulary for responsible AI): JSON-LD."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline import files
from pipeline.params import IndexParams
from pipeline.shards.manifest import SAMPLES
from pipeline.shards.provenance import LIMITS, SENSITIVE, SOURCES, USES

_VERSION = "1.0.0"
_TERMS = (
    *(
        "citeAs",
        "column",
        "equivalentProperty",
        "extract",
        "field",
        "fileProperty",
        "fileObject",
        "fileSet",
        "format",
        "includes",
    ),
    *("isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "recordSet", "references", "regex"),
    *("repeated", "replace", "samplingRate", "separator", "source", "subField", "transform"),
)
_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "sc": "https://schema.org/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
} | {term: f"cr:{term}" for term in _TERMS}

_FIELDS = {
    "key": ("sc:Text", "Stem of the sample's three members in its shard."),
    "split": ("sc:Text", "train, val or test."),
    "video": ("sc:Text", "The video, or the stretch of a list of pictures."),
    "frame_index": ("sc:Integer", "Frame of the video, or place in the stretch, from 0."),
    "label": ("sc:Integer", "Class index."),
    "shard": ("sc:Text", "The tar that holds it."),
}


def metadata(folder: Path, dataset: str, index: IndexParams, lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The whole description; its records are the rows of `samples.parquet`."""
    source = SOURCES[index.source]
    table = folder / SAMPLES
    shards = [_file(line["name"], line["bytes"], line["sha256"], "application/x-tar") for line in lines]
    samples = _file(SAMPLES, table.stat().st_size, files.digest_file(table), "application/x-parquet")
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "name": dataset,
        "description": f"Aligned faces, 224 x 224, one expression each, as WebDataset shards. Made of: {source.name}.",
        "conformsTo": ["http://mlcommons.org/croissant/1.0", "http://mlcommons.org/croissant/RAI/1.0"],
        "license": index.licence,
        "version": _VERSION,
        "isAccessibleForFree": not index.restricted,
        "distribution": [samples, *shards],
        "recordSet": [_samples()],
        "rai:dataCollection": source.collection,
        "rai:dataAnnotationProtocol": source.annotation,
        "rai:dataLimitations": f"{source.known_noise}. {LIMITS}",
        "rai:dataBiases": LIMITS,
        "rai:dataUseCases": USES,
        "rai:personalSensitiveInformation": SENSITIVE,
    } | {key: text for key, text in {"url": source.url, "citeAs": source.citation}.items() if text}


def _file(name: str, size: int, sha256: str, kind: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": name,
        "name": name,
        "contentUrl": name,
        "contentSize": f"{size} B",
        "encodingFormat": kind,
        "sha256": sha256,
    }


def _samples() -> dict[str, Any]:
    fields = [
        {
            "@type": "cr:Field",
            "@id": f"samples/{name}",
            "name": name,
            "description": description,
            "dataType": kind,
            "source": {"fileObject": {"@id": SAMPLES}, "extract": {"column": name}},
        }
        for name, (kind, description) in _FIELDS.items()
    ]
    return {
        "@type": "cr:RecordSet",
        "@id": "samples",
        "name": "samples",
        "key": {"@id": "samples/key"},
        "field": fields,
    }
