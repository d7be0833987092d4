"""Costs of cores as they are stored, `coefficients.yaml`: fitted from published latencies, each with its source."""

import math
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from pydantic import Field

from targets.errors import TargetError
from targets.prediction.measurements import ROOM, Measurement, Work
from targets.prediction.model import FORM, Costs, fit, leave_one_network_out, milliseconds, spread
from targets.strict import Strict, parse, read_yaml

COEFFICIENTS = ROOM / "coefficients.yaml"
WIDTHS = ROOM / "widths.yaml"
SCHEMA = 1
DIGITS = 4  # of stored figures: they are not better known


class CoreCosts(Strict):
    """What work costs on one core, of `device`, at `ghz` and with `threads`, in `runtime`'s kernels.

    `ms_per_million_instructions` by dtype; instructions are counted in one thread, so threads are in their cost.
    `deviation`: of log(measured / predicted), over the measurements each predicted without its network; `measured`:
    how many they are. `instructions_millions`: least and most of what was measured, by dtype.
    """

    uarch: str
    device: str
    runtime: str
    ghz: float = Field(gt=0)
    threads: int = Field(ge=1)
    ms_per_million_instructions: dict[str, float]
    ms_per_mb_of_weights: float = Field(ge=0)
    deviation: float = Field(ge=0)
    measured: int = Field(ge=2)
    instructions_millions: dict[str, tuple[float, float]]
    sources: tuple[str, ...] = Field(min_length=1)

    def costs(self) -> Costs:
        by_dtype = {("instructions", dtype): cost for dtype, cost in self.ms_per_million_instructions.items()}
        return by_dtype | {("weight_bytes", ""): self.ms_per_mb_of_weights}


class Coefficients(Strict):
    """`borrowed_deviation`: of log(measured / predicted) where each core is predicted from its sibling's costs;
    `borrowed_cores`: how many cores that was tried on, None where there is but one."""

    schema_version: int = Field(default=SCHEMA, alias="schema")
    cores: tuple[CoreCosts, ...] = Field(min_length=1)
    borrowed_deviation: float | None = Field(default=None, ge=0)
    borrowed_cores: int | None = Field(default=None, ge=1)


class Width(Strict):
    """Instructions that a core decodes in a cycle."""

    decode: int = Field(ge=1)
    source: str = Field(min_length=1)


class Widths(Strict):
    cores: dict[str, Width]


def read_coefficients(file: Path = COEFFICIENTS) -> Coefficients:
    """Raises TargetError if the file is wrong."""
    found = parse(Coefficients, read_yaml(file), str(file))
    if found.schema_version != SCHEMA:
        raise TargetError(f"{file}: schema {found.schema_version} is not known; this edgepress reads {SCHEMA}")
    return found


def decode_widths(file: Path = WIDTHS) -> dict[str, int]:
    """Instructions decoded in a cycle by core, its name in lower case."""
    return {name.lower(): width.decode for name, width in parse(Widths, read_yaml(file), str(file)).cores.items()}


def fitted(measured: Sequence[Measurement], widths: dict[str, int]) -> Coefficients:
    """The coefficients that `measured` give, core by core, and how far a core's sibling errs. A dtype of which a core
    has one network alone gets none: with it left out nothing would tell how far its predictions err."""
    networks: dict[tuple[object, ...], set[str]] = {}
    for one in measured:
        networks.setdefault((*_place(one), one.work.dtype), set()).add(one.network)
    measured = [one for one in measured if len(networks[*_place(one), one.work.dtype]) >= 2]
    cores = [_fitted_core(list(of_core)) for _, of_core in groupby(sorted(measured, key=_place), key=_place)]
    errors = {
        core.uarch: [math.log(one.ms / milliseconds(one.work, borrow(sibling, core.uarch, core.ghz, widths)))
                     for one in measured if _place(one)[:2] == (core.uarch, core.device)]
        for core in cores
        if (sibling := nearest([other for other in cores if other.uarch != core.uarch], core.uarch, core.ghz, widths))
    }  # fmt: skip
    across = {
        "borrowed_deviation": rounded(spread(error for found in errors.values() for error in found)),
        "borrowed_cores": len(errors),
    } if errors else {}  # fmt: skip
    content: dict[str, Any] = {"schema": SCHEMA, "cores": cores, **across}
    return Coefficients.model_validate(content)


def _place(one: Measurement) -> tuple[str, str, str, float, int]:
    return one.work.core, one.device, one.work.runtime, one.ghz, one.threads


def _fitted_core(measured: list[Measurement]) -> CoreCosts:
    uarch, device, runtime, ghz, threads = _place(measured[0])
    costs = fit(measured, FORM)
    amounts: dict[str, list[float]] = {}
    for one in measured:
        amounts.setdefault(one.work.dtype, []).append(one.work.instructions / 1e6)
    return CoreCosts(
        uarch=uarch,
        device=device,
        runtime=runtime,
        ghz=ghz,
        threads=threads,
        ms_per_million_instructions={dtype: rounded(costs["instructions", dtype]) for dtype in sorted(amounts)},
        ms_per_mb_of_weights=rounded(costs["weight_bytes", ""]),
        deviation=rounded(spread(one.log_error for one in leave_one_network_out(measured))),
        measured=len(measured),
        instructions_millions={
            dtype: (rounded(min(found)), rounded(max(found))) for dtype, found in sorted(amounts.items())
        },
        sources=tuple(dict.fromkeys(one.source for one in measured)),
    )


def rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def nearest(cores: Sequence[CoreCosts], uarch: str, ghz: float, widths: dict[str, int]) -> CoreCosts | None:
    """Of `cores`, the one that decodes as many instructions in a second as `uarch` at `ghz`, or most nearly so; where
    its own kind is among them, only that is looked at. None if there is none, or a width is not known."""
    own = [core for core in cores if core.uarch == uarch]
    if own:
        return min(own, key=lambda core: abs(math.log(core.ghz / ghz)))
    known = [core for core in cores if core.uarch in widths]
    if not known or uarch not in widths:
        return None
    return min(known, key=lambda core: abs(math.log(widths[core.uarch] * core.ghz / (widths[uarch] * ghz))))


def borrow(sibling: CoreCosts, uarch: str, ghz: float, widths: dict[str, int]) -> Costs:
    """The sibling's costs for another core: an instruction costs less by as much as more are decoded in a second; a
    byte of weights, which comes from memory, costs the same."""
    wider = 1.0 if sibling.uarch == uarch else widths[uarch] / widths[sibling.uarch]
    faster = wider * ghz / sibling.ghz
    return {key: cost / faster if key[0] == "instructions" else cost for key, cost in sibling.costs().items()}


def work_in_range(core: CoreCosts, work: Work) -> bool:
    """Whether networks of this size were measured: between half of the smallest and twice the largest."""
    low, high = core.instructions_millions[work.dtype]
    return low / 2 <= work.instructions / 1e6 <= high * 2
