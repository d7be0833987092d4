"""What each layer that was kept in float costs in milliseconds, measured between whole files."""

from collections.abc import Collection
from pathlib import Path

import numpy as np

from pipeline.context import RunContext
from pipeline.feeds import feeds
from pipeline.progress import Meter
from pipeline.quantize.mixed import Part, writer
from pipeline.quantize.mixed_results import LayerCost, MixedCosts, MixedResult
from pipeline.results import Calibration, PreparedData
from targets.latency import summarise
from targets.machine import describe_machine
from targets.profile import Measure, Quantization
from targets.runners.host import measure
from targets.runtimes.base import open_model

ROUNDS = 3  # files in turn, so that what slows the machine for a while does not fall on one of them alone
SAMPLES = 16  # test samples, fed in turn


def measure_mixed(
    part: Part,
    mixed: MixedResult,
    data: PreparedData,
    quantization: Quantization,
    calibration: Calibration,
    plan: Measure,
    context: RunContext,
) -> MixedCosts:
    """By how much the p50 of the file of `part` with the layers of `mixed` in float is above that of the same file with
    one of them in 8 bits too, for each, and of the file that is in 8 bits throughout: `ROUNDS` times as `plan` says,
    each time in a fresh process. On this host; another one measures anew. Raises TargetError if a file can't be
    measured.
    """
    machine = describe_machine().label
    plan = plan.model_copy(update={"min_seconds": 0.0})
    inputs: dict[str, object] = {
        "part": [part.export.fingerprint, part.options],
        "mixed": mixed.fingerprint,
        "quantization": quantization,
        "calibration": calibration.fingerprint,
        "data": data.fingerprint,
        "plan": plan,
        "machine": machine,
    }
    chosen = frozenset(mixed.names)
    others: dict[str | None, Collection[str]] = {layer: chosen - {layer} for layer in mixed.names}
    others[None] = ()

    def make(folder: Path, key: str, meter: Meter) -> MixedCosts:
        write = writer(part, data, quantization, calibration)
        files = []
        for number, kept in enumerate((chosen, *others.values())):
            place = folder / "resume" / str(number)
            place.mkdir(parents=True, exist_ok=True)
            files.append(write(kept, place))
        specs = open_model(files[0], part.options).inputs
        samples = [feeds(specs, data, int(row)) for row in data.rows("test")[:SAMPLES]]
        medians = np.empty((ROUNDS, len(files)))
        for round_ in range(ROUNDS):
            for number, file in enumerate(files):
                medians[round_, number] = summarise(measure(file, part.options, samples, plan, folder).samples_ms).p50
                meter.advance()
        apart = medians[:, :1] - medians[:, 1:]
        costs = tuple(
            LayerCost(layer, float(np.median(column)), float(column.min()), float(column.max()))
            for layer, column in zip(others, apart.T, strict=True)
        )
        return MixedCosts(key, part.export.format, ROUNDS, costs)

    title = f"cost of float layers in {part.export.format}"
    total = ROUNDS * (len(others) + 1)
    return context.stage("mix-cost", inputs, MixedCosts, make, total=total, unit="files", title=title)
