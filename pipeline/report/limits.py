"""A check's two figures, as people read them."""

from pipeline.gating.verdict import Check
from pipeline.words import short


def measured(check: Check) -> str:
    """What was found, with its unit and source."""
    if check.value is None:
        return "not measured"
    return f"{_figure(check.value, check.unit)} ({check.source})"


def allowed(check: Check) -> str:
    """What the budget allows."""
    return f"{'at least' if check.op == '>=' else 'at most'} {_figure(check.limit, check.unit)}"


def _figure(value: float, unit: str) -> str:
    if unit == "share":
        return f"{value:.2%}"
    if unit in ("files", "operators", "bytes", "instructions"):
        return f"{value:,.0f} {unit}"
    return f"{short(value)} {unit}"
