"""The page: sections put into a template that holds all it needs and asks the network for nothing."""

import json
from collections.abc import Mapping
from typing import Any

from train.pages import data_uri, environment
from train.report.dataset import dataset_section
from train.report.inputs import ReportInputs
from train.report.result import headline, result_section
from train.report.sources import sources_part
from train.report.training import training_section

TEMPLATE = "report.html.j2"


def build_report(inputs: ReportInputs) -> str:
    """The report as HTML text; equal inputs give equal text."""
    pictures = {key: data_uri(jpeg) for key, jpeg in inputs.pictures.items()}
    return (
        environment()
        .get_template(TEMPLATE)
        .render(
            manifest=inputs.manifest,
            params=inputs.params,
            stills=inputs.is_of_stills,
            videos=int(inputs.samples["video"].nunique()),
            pictures=pictures,
            headline=headline(inputs.evaluation),
            dataset=dataset_section(inputs),
            training=training_section(inputs),
            result=result_section(inputs),
            sources=sources_part(inputs.evaluation),
            groups=_groups(inputs.params),
            run=inputs.run,
        )
    )


def _groups(params: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Parameters as text: the top-level ones under "training", then each group."""
    groups: dict[str, dict[str, str]] = {"training": {}}
    for key, value in params.items():
        if isinstance(value, Mapping):
            groups[key] = {str(name): _spelled(each) for name, each in value.items()}
        else:
            groups["training"][key] = _spelled(value)
    return groups


def _spelled(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
