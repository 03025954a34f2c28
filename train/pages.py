"""What every page is made with: the template engine, how numbers are spelled, pictures as addresses."""

import base64

from jinja2 import Environment, PackageLoader, StrictUndefined


def environment() -> Environment:
    """Templates of `train/templates`: everything is escaped, nothing may be undefined."""
    made = Environment(
        loader=PackageLoader("train"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"number": number, "count": count, "signed": signed, "percent": percent, "duration": duration}
    return made


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


def data_uri(jpeg: bytes) -> str:
    """A picture as an address that holds it."""
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"
