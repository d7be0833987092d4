"""A predicted latency as the report holds it."""

from typing import TYPE_CHECKING, Any

from pipeline.report.figures import figure

if TYPE_CHECKING:
    from pipeline.prediction import PredictedFile


def prediction(found: "PredictedFile") -> dict[str, Any]:
    """What stands under `files[].prediction`."""
    told, counts = found.prediction, found.counts
    return {
        "latency": {**figure(told.ms, "ms", "predicted"), "low": told.low, "high": told.high},
        "confidence": told.confidence,
        "core": told.core,
        "threads": told.threads,
        "instructions": figure(found.work.instructions, "instructions", "emulated"),
        "counted_on": f"{counts.core}, {counts.qemu}, {counts.runtime} {counts.version}",
        "fitted_on": told.fitted_on,
        "fitted_threads": told.fitted_threads,
        "borrowed": told.borrowed,
        "extrapolated": told.extrapolated,
        "sources": list(told.sources),
        "notes": list(told.notes),
    }
