"""What emulated cores told of a file, in the report: outputs, instructions, and the latency predicted from them."""

from typing import Any

from pipeline.emulated.results import CoreFigures, EmulatedFile, PredictedLatency
from pipeline.report.figures import figure


def emulated(found: EmulatedFile | None) -> dict[str, Any] | None:
    """What stands under `files[].emulated`; None where the target's files are not run on its emulated cores."""
    return None if found is None else {"cores": [_core(core) for core in found.cores]}


def _core(found: CoreFigures) -> dict[str, Any]:
    outputs, counts = found.outputs, found.counts
    return {
        "core": counts.core,
        "qemu": counts.qemu,
        "runtime": {"name": counts.runtime, "version": counts.version},
        "outputs": {
            "passed": outputs.passed,
            "identical": outputs.identical,
            "samples": outputs.samples,
            "largest": {"value": outputs.largest, "unit": outputs.unit, "source": "emulated"},
            "tolerance": outputs.tolerance,
            "explanation": outputs.explanation,
        },
        "instructions": {
            **figure(counts.total, "instructions", "emulated"),
            "classes": counts.by_class(),
            "inferences": counts.inferences,
            "spread": counts.spread,
        },
    }


def predicted(found: PredictedLatency | None) -> dict[str, Any] | None:
    """What stands under `files[].predicted`; None where nobody asked for a prediction."""
    if found is None:
        return None
    prediction = found.prediction
    if prediction is None:
        return {"latency": None, "reason": found.reason}
    return {
        "latency": {**figure(prediction.ms, "ms", "predicted"), "low": prediction.low, "high": prediction.high},
        "reason": None,
        "confidence": prediction.confidence,
        "core": prediction.core,
        "threads": prediction.threads,
        "fitted_on": prediction.fitted_on,
        "fitted_threads": prediction.fitted_threads,
        "borrowed": prediction.borrowed,
        "extrapolated": prediction.extrapolated,
        "sources": list(prediction.sources),
        "notes": list(prediction.notes),
    }


def foretold(file: dict[str, Any]) -> bool:
    """Whether a report's file has a predicted latency, not only the reason why there is none."""
    return bool(file["predicted"] and file["predicted"]["latency"])
