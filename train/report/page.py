"""The page: sections put into a template that holds all it needs and asks the network for nothing."""

import base64
import json
from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from train.report.dataset import dataset_section
from train.report.inputs import ReportInputs
from train.report.result import headline, result_section
from train.report.sources import sources_part
from train.report.training import training_section

TEMPLATE = "report.html.j2"


def build_report(inputs: ReportInputs) -> str:
    """The report as HTML text; equal inputs give equal text."""
    environment = Environment(
        loader=PackageLoader("train"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "count": count, "signed": signed, "percent": percent}
    environment.filters["duration"] = duration
    pictures = {key: _data_uri(jpeg) for key, jpeg in inputs.pictures.items()}
    return environment.get_template(TEMPLATE).render(
        manifest=inputs.manifest,
        params=inputs.params,
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


def number(value: float | None, digits: int = 3) -> str:
    """Fixed digits; a dash for what is not known."""
    return "\N{EN DASH}" if value is None else f"{value:,.{digits}f}"


def count(value: int) -> str:
    """A whole number with its thousands apart."""
    return f"{value:,}"


def signed(value: int) -> str:
    """A difference with its sign."""
    return f"{value:+,}".replace("-", "\N{MINUS SIGN}")


def percent(value: float) -> str:
    """A share as whole per cent."""
    return f"{100 * value:.0f} %"


def duration(seconds: float) -> str:
    """Hours and minutes, or minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if minutes else f"{rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def _data_uri(jpeg: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"


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
