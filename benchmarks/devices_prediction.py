"""How well latencies are predicted from counted work: each network of the published Raspberry Pi 3+ and 4 table, from
coefficients that were fitted without it.

Beside the form of the model that is used stand others, and what a core's sibling would predict. `--store` also fits
all and writes `targets/prediction/coefficients.yaml`. Reads `targets/prediction/counts.json`; quick either way.
"""

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Any

import yaml

from benchmarks.record import Bar, write_result
from pipeline.store import write_atomic
from targets.emulator.classes import CLASSES
from targets.prediction.coefficients import COEFFICIENTS, Coefficients, decode_widths, fitted
from targets.prediction.measurements import Measurement, published, read_counts
from targets.prediction.model import FORM, INSTRUCTIONS, WEIGHTS, LeftOut, Term, leave_one_network_out
from targets.profile import load_profile, profile_names

MEAN, WORST = 0.15, 0.30  # absolute percentage errors that were asked for
HEAD = "# Written by python -m benchmarks.devices_prediction --store, from counts.json and the profiles' baselines.\n"
ACTIVATIONS = Term("activation_bytes", lambda work: work.activation_bytes)
OPERATORS = Term("operators", lambda work: work.operators)
ALL_INSTRUCTIONS = Term("instructions", lambda work: work.instructions)
BY_CLASS = tuple(Term(name, lambda work, name=name: getattr(work, name)) for name in CLASSES)  # type: ignore[misc]
FORMS: dict[str, Sequence[Term]] = {
    "instructions, all dtypes alike": (ALL_INSTRUCTIONS,),
    "instructions": (INSTRUCTIONS,),
    "instructions, bytes of weights, all dtypes alike": (ALL_INSTRUCTIONS, WEIGHTS),
    "instructions, bytes of weights": FORM,
    "instructions, bytes of activations": (INSTRUCTIONS, ACTIVATIONS),
    "instructions, operators": (INSTRUCTIONS, OPERATORS),
    "instructions, bytes of weights, operators": (INSTRUCTIONS, WEIGHTS, OPERATORS),
    "instructions, bytes of weights and of activations": (INSTRUCTIONS, WEIGHTS, ACTIVATIONS),
    "instructions by class, all dtypes alike": BY_CLASS,
    "instructions by class, bytes of weights, all dtypes alike": (*BY_CLASS, WEIGHTS),
}


def left_out(measured: Sequence[Measurement], form: Sequence[Term] = FORM) -> list[LeftOut]:
    """Each measurement, predicted from the other networks of its own device."""
    devices = groupby(sorted(measured, key=lambda one: one.device), key=lambda one: one.device)
    return [found for _, of_device in devices for found in leave_one_network_out(list(of_device), form)]


def errors(found: Sequence[LeftOut]) -> dict[str, float]:
    sizes = [abs(one.error) for one in found]
    return {"mean": sum(sizes) / len(sizes), "worst": max(sizes)}


def cell(one: LeftOut) -> dict[str, Any]:
    measured = one.measured
    return {
        "device": measured.device,
        "core": measured.work.core,
        "network": measured.network,
        "dtype": measured.work.dtype,
        "published_ms": measured.ms,
        "predicted_ms": round(one.predicted, 2),
        "error": round(one.error, 4),
    }


def store(found: Coefficients) -> None:
    content = found.model_dump(mode="json", by_alias=True)
    write_atomic(COEFFICIENTS, HEAD + yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", action="store_true", help="writes the coefficients that the product uses")
    parser.add_argument("--quick", action="store_true", help="writes no result")
    given = parser.parse_args()
    measured = published(map(load_profile, profile_names()), read_counts())
    cells = left_out(measured)
    total = errors(cells)
    coefficients = fitted(measured, decode_widths())
    bars = [
        Bar("mean absolute error of a network that was left out, of its published latency", total["mean"], "<=", MEAN),
        Bar("largest such error", total["worst"], "<=", WORST),
    ]
    figures = {
        "unit": "relative error; ms",
        "threads": sorted({one.threads for one in measured}),
        "sources": sorted({one.source for one in measured}),
        "cells": [cell(one) for one in cells],
        "errors": total,
        "errors_by_dtype": {
            dtype: errors([one for one in cells if one.measured.work.dtype == dtype])
            for dtype in sorted({one.measured.work.dtype for one in cells})
        },
        "forms": {name: errors(left_out(measured, form)) for name, form in FORMS.items()},
        "coefficients": coefficients.model_dump(mode="json", by_alias=True),
        "work": [{"network": one.network, "ms": one.ms, **asdict(one.work)} for one in measured],
    }
    if given.store:
        store(coefficients)
    write_result("devices-prediction", figures, bars, given.quick)
    for one in cells:
        print(f"{one.measured.device} {one.measured.network} {one.measured.work.dtype}: published "
              f"{one.measured.ms:g} ms, predicted {one.predicted:.1f} ms, {one.error:+.1%}")  # fmt: skip


if __name__ == "__main__":
    main()
