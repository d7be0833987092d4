"""Budgets as pages show them: a row each, a column for each file, what was found beside what was allowed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from pipeline.gating.verdict import Check
from pipeline.words import short

NAMES = {
    "accuracy.min": "Accuracy",
    "accuracy.max_drop": "Drop below the teacher",
    "accuracy.min_agreement": "Agreement of the files",
    "accuracy.max_group_drop": "Drop of the worst group",
    "size_mb": "Size",
    "latency_ms.p50": "Latency p50",
    "latency_ms.p90": "Latency p90",
    "latency_ms.p99": "Latency p99",
    "instructions_m": "Instructions",
    "emulated.outputs": "Outputs on emulated cores",
    "cold_start_ms": "Cold start",
    "peak_mem_mb": "Peak memory",
    "runtimes.min_delegated": "Delegated operators",
    "runtimes.allow_fallback": "Operators outside the delegate",
    "export.max_transposes": "Transposes",
}
State = Literal["kept", "missed", "undecided"]


@dataclass(frozen=True)
class Cell:
    """What was found of one file (or two that are compared), and whether its budget is kept."""

    found: str
    limit: str
    state: State
    check: Check


@dataclass(frozen=True)
class Row:
    """A budget. `limit` is told once where it is the same for all files. `cells` by file; `of_all`: of one that no
    single file has."""

    key: str
    name: str
    limit: str
    cells: dict[str, Cell]
    of_all: Cell | None


def rows(checks: Sequence[Check], files: Sequence[str]) -> list[Row]:
    """A row for each budget, in the order of `NAMES`. A check of several files together is the worst of its kind."""
    keys = in_order({check.name for check in checks})
    made = []
    for key in keys:
        cells = {check.file: cell(check) for check in checks if check.name == key and check.file in files}
        shared = [cell(check) for check in checks if check.name == key and check.file not in files]
        of_all = min(shared, key=lambda found: (found.state == "kept", found.check.value or 0.0)) if shared else None
        limits = dict.fromkeys(found.limit for found in (*cells.values(), *shared))
        made.append(Row(key, NAMES.get(key, key), " or ".join(limits), cells, of_all))
    return made


def in_order(keys: Iterable[str]) -> list[str]:
    """Keys of budgets as `NAMES` has them, others after them."""
    known = list(NAMES)
    return sorted(keys, key=lambda key: (known.index(key) if key in NAMES else len(known), key))


def cell(check: Check) -> Cell:
    sign = "≥" if check.op == ">=" else "≤"
    found = "–" if check.value is None else _told(check.value, check.unit)
    return Cell(found, f"{sign} {_limit(check.limit, check.unit)}", state(check), check)


def state(check: Check) -> State:
    return "undecided" if check.passed is None else "kept" if check.passed else "missed"


def _told(value: float, unit: str) -> str:
    if unit == "share":
        return f"{100 * value:.2f}%"
    if unit == "points":
        return f"{value:.2f}".replace("-", "−")
    return f"{short(value)} {unit}" if unit in ("MB", "ms") else f"{value:g}"


def _limit(value: float, unit: str) -> str:
    return (
        f"{100 * value:g}%"
        if unit == "share"
        else f"{value:g} {unit}"
        if unit in ("MB", "ms", "points")
        else f"{value:g}"
    )
