"""What all pages share: templates that escape what they show, one style, and figures as people read them."""

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipeline.report.figures import short_name
from pipeline.report.pictures import data_address
from pipeline.words import short

TEMPLATES = Path(__file__).parent


def render(template: str, **values: Any) -> str:
    """The page that a template of this folder makes: one HTML file that needs no other. The same values give the same
    bytes."""
    return _environment().get_template(template).render(**values).rstrip() + "\n"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        percent=percent,
        number=number,
        megabytes=megabytes,
        lost=_lost,
        signed=_signed,
        short_name=short_name,
        picture=data_address,
    )
    return environment


def percent(share: float, digits: int = 2) -> str:
    return f"{100 * share:.{digits}f}%"


def number(value: float | int | None) -> str:
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else short(value)


def megabytes(size: int) -> str:
    return f"{short(size / 1e6)} MB"


def _lost(points: float, digits: int = 1) -> str:
    """A drop as a change: what was lost has a minus."""
    return f"{-points:+.{digits}f}".replace("-", "−") if round(points, digits) else f"{0:.{digits}f}"


def _signed(value: float) -> str:
    """A difference, always with its sign."""
    return f"{'−' if value < 0 else '+'}{short(abs(value))}"
