"""Work and measurements of networks that do not exist, whose milliseconds follow from costs that a test chooses."""

from typing import Any

from targets.prediction.coefficients import Coefficients, CoreCosts
from targets.prediction.measurements import Measurement, Work


def work(millions: float, weights_mb: float = 0.0, **changed: Any) -> Work:
    """Of `millions` instructions, half of them multiply-adds, in float32 on a Cortex-A72."""
    half = round(millions * 500_000)
    content: dict[str, Any] = {
        "core": "cortex-a72", "runtime": "litert", "dtype": "float32", "vector_multiply_add": half, "vector": 0,
        "load": half, "store": 0, "scalar": 0, "branch": 0, "weight_bytes": round(weights_mb * 1e6),
        "activation_bytes": 0, "operators": 10,
    }  # fmt: skip
    return Work(**content | changed)


def measurement(network: str, ms: float, done: Work, device: str = "board", ghz: float = 1.5) -> Measurement:
    return Measurement(device, network, 4, ghz, ms, "a table", done)


def costs(uarch: str = "cortex-a72", **changed: Any) -> CoreCosts:
    """0.5 ms for a million float32 instructions, 0.25 for INT8 ones, 2 ms for a MB of weights."""
    content: dict[str, Any] = {
        "uarch": uarch, "device": "board", "runtime": "litert", "ghz": 1.5, "threads": 4,
        "ms_per_million_instructions": {"float32": 0.5, "int8": 0.25}, "ms_per_mb_of_weights": 2.0, "deviation": 0.1,
        "measured": 6, "instructions_millions": {"float32": [28, 210], "int8": [110, 170]}, "sources": ["a table"],
    }  # fmt: skip
    return CoreCosts.model_validate(content | changed)


def coefficients(*cores: CoreCosts, deviation: float | None = 0.3) -> Coefficients:
    return Coefficients(
        cores=cores or (costs(),), borrowed_deviation=deviation, borrowed_cores=None if deviation is None else 2
    )
