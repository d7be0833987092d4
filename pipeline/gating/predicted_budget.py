"""A latency budget held against the upper end of a prediction."""

import dataclasses
from typing import Any

from pipeline.gating.verdict import Check
from pipeline.words import short

LATENCY = "latency_ms."


def held_against(check: Check, found: dict[str, Any], confidence: float) -> Check:
    """The check of the same budget by what stands under `files[].predicted` of a report, or the check itself with the
    reason why there is no prediction.

    A prediction is of a typical run, which then stands for the budget's percentile; its interval's upper end is its
    one-sided bound with the budgets' `confidence`. Undecided where no network of about that size was measured.
    """
    if found["latency"] is None:
        return dataclasses.replace(check, explanation=f"{check.explanation}; not predicted: {found['reason']}")
    share, high = check.name.removeprefix(LATENCY), found["latency"]["high"]
    told = f"predicted {short(found['latency']['value'])} ms, {100 * confidence:g}% sure of at most {short(high)} ms"
    text = f"{told}, budget {check.limit:g} ms; a typical run's latency stands for {share}, as the profile allows"
    passed: bool | None = high <= check.limit
    if not passed:
        text = f"{told}, {short(high - check.limit)} ms over the budget of {check.limit:g} ms for {share}"
    if found["extrapolated"]:
        passed = None
    text = "; ".join([text, *found["notes"]])
    return Check(check.name, check.file, high, "<=", check.limit, "ms", "predicted", passed, None, text)
