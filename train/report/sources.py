"""The page's part on a mix: scores on each of the shard sets that were trained on together."""

from collections.abc import Mapping
from typing import Any

from train.charts import heatmap


def sources_part(evaluation: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One entry a set, the main one first, with its confusion matrix drawn; none for a set alone."""
    classes = list(evaluation["classes"])
    return [
        {**block, "drawn": heatmap(block["confusion"], classes, title=f"Confusion matrix of {block['dataset']}")}
        for block in evaluation.get("sources", [])
    ]
