"""What layers cost in 8 bits, as the report holds it, and which of them stayed in float at which price."""

from typing import Any

from pipeline.quantize.mixed_results import LayerCost, LayerSensitivity
from pipeline.report.figures import COUNTED, figure
from pipeline.results import RunResult, TargetFile


def sensitivity(run: RunResult) -> dict[str, Any] | None:
    """The section of report.json, its layers in the order in which they run; None where nobody asked."""
    found = run.sensitivity
    if found is None:
        return None
    kept = run.mixed.names if run.mixed else ()
    return {
        "split": "validation",
        "samples": figure(found.samples, "samples", COUNTED),
        "layers": [{**_layer(layer), "kept": layer.layer in kept} for layer in found.layers],
    }


def _layer(found: LayerSensitivity) -> dict[str, Any]:
    return {
        "layer": found.layer,
        "operator": found.operator,
        "weights": figure(found.weights, "weights", COUNTED),
        "sqnr": figure(found.sqnr, "dB", "host"),
        "divergence": figure(found.divergence, "nats", "host"),
        "agreement": figure(found.agreement, "share", "host"),
        "points_lost": figure(found.points_lost, "points", "host"),
    }


def mixed_precision(run: RunResult) -> dict[str, Any] | None:
    """The section of report.json; None where the recipe has no `quantize.max_drop`, or it is for other targets."""
    found = run.mixed
    if found is None:
        return None
    names = {file.export.format: f"model.{file.export.label}.{file.export.format}" for file in _shipped(run)}
    return {
        "max_drop": found.max_drop,
        "held": found.held,
        "split": "validation",
        "samples": figure(found.samples, "samples", COUNTED),
        "layers": figure(found.layers, "layers", COUNTED),
        "tried": figure(found.tried, "sets of layers", COUNTED),
        "files": [
            {
                "name": name,
                "points_lost": figure(found.points_lost[format], "points", "host"),
                "points_lost_in_8_bits": figure(found.throughout[format], "points", "host"),
                "size": figure(found.bytes[format], "bytes", COUNTED),
                "size_in_8_bits": figure(found.bytes_throughout[format], "bytes", COUNTED),
            }
            for format, name in names.items()
        ],
        "kept": [
            {
                "layer": kept.layer,
                "files": [
                    {
                        "name": name,
                        "points_lost_without": figure(kept.points_lost[format], "points", "host"),
                        "size": figure(kept.bytes[format], "bytes", COUNTED),
                    }
                    for format, name in names.items()
                ],
            }
            for kept in found.kept
        ],
    }


def float_layer_costs(file: TargetFile, run: RunResult) -> list[dict[str, Any]] | None:
    """Milliseconds that the file takes longer for its layers in float: each of them, and last all together (`layer`
    null); None for files that have none."""
    found = next((costs for costs in run.mixed_costs if costs.format == file.export.format and file.shipped), None)
    return [_cost(cost) for cost in found.costs] if found else None


def _cost(cost: LayerCost) -> dict[str, Any]:
    return {"layer": cost.layer, **figure(cost.ms, "ms", "host"), "low": cost.low, "high": cost.high}


def mixed_notes(run: RunResult) -> list[str]:
    """What a reader must know: that `max_drop` could not be held."""
    found = run.mixed
    if found is None or found.held:
        return []
    reached, before = max(found.points_lost.values()), max(found.throughout.values())
    return [
        f"quantize.max_drop {found.max_drop:g} can't be held: with up to all but one of the {found.layers} layers in "
        f"float, the files still lose {reached:.2f} points on {found.samples} validation samples. That is what "
        f"{len(found.kept)} layer(s) in float reach; in 8 bits throughout {before:.2f} points are lost. Repair "
        "accuracy with quantize.aware or quantize.correct_biases, or allow more."
    ]


def _shipped(run: RunResult) -> list[TargetFile]:
    return [file for file in run.files if file.shipped]
