"""Peak memory of calibrating a student, with samples and with ten times as many, for every way to find ranges."""

from pathlib import Path
from typing import Any

from benchmarks.memory import peak_mb
from benchmarks.record import ROOT, Bar, quick_asked, scratch, write_result

RECIPE = ROOT / "recipes" / "fashion-mobilenet.yaml"
SETTINGS = (
    "data.limit=6000", "teacher.epochs=0", "teacher.weights=none", "teacher.input_size=32", "distill.views=1",
    "distill.epochs=1", "distill.compare_naive=false",
)  # fmt: skip
METHODS = ("minmax", "moving_average", "percentile", "entropy", "mse")
SAMPLES = (256, 2560)
SHORT = (16, 160)


def work(store: Path, method: str, samples: int) -> None:
    """One process: what was made before is found in the store. No calibration for 0 samples."""
    from pipeline.context import RunContext
    from pipeline.export.onnx import export_onnx
    from pipeline.quantize.calibrate import calibrate
    from pipeline.recipe import load_recipe
    from pipeline.run import train
    from pipeline.store import Store

    calibration = f"calibration={{samples: {max(samples, 1)}, method: {method}}}"
    recipe = load_recipe(RECIPE, (*SETTINGS, calibration))
    context = RunContext(Store(store), seed=recipe.seed)
    networks = train(recipe, context)
    exported = export_onnx(networks.data, networks.student, 20, None, context)
    if samples:
        calibrate(
            exported, networks.data, networks.student, networks.teacher, networks.teacher_data, recipe.calibration,
            context,
        )  # fmt: skip


def main() -> None:
    quick = quick_asked()
    found: dict[str, list[dict[str, float]]] = {}
    with scratch() as folder:
        peak_mb(work, folder, METHODS[0], 0)
        for method in METHODS:
            found[method] = [peak_mb(work, folder, method, samples) for samples in (SHORT if quick else SAMPLES)]
    growth = {method: 100 * (many["RssAnon"] / few["RssAnon"] - 1) for method, (few, many) in found.items()}
    figures: dict[str, Any] = {
        "settings": list(SETTINGS), "samples": list(SAMPLES), "peak_mb": found, "growth_percent": growth,
    }  # fmt: skip
    bars = [
        Bar(f"calibration by {method}: percent more peak memory for ten times the samples", percent, "<=", 5)
        for method, percent in growth.items()
    ]
    write_result("compression-memory", figures, bars, quick)


if __name__ == "__main__":
    main()
