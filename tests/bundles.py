"""Whole bundles of small files that run, as `edgepress run` writes them."""

from collections.abc import Iterable
from pathlib import Path

from pipeline.bundle import write_bundle
from pipeline.context import RunContext
from pipeline.export.metadata import add_metadata
from pipeline.gate import decide
from pipeline.report.record import make_report
from pipeline.results import ExportedFile, NetworkResult, PreparedData, RunResult, TargetFile
from pipeline.validate import validate
from targets.profile import Budgets, load_profile
from targets.runtimes.base import RuntimeOptions
from tests import releases

ROOMY = Budgets.model_validate({"size_mb": 100, "accuracy": {"max_drop": 90}})


def small_bundle(
    folder: Path, data: PreparedData, student: NetworkResult, exports: Iterable[ExportedFile], context: RunContext
) -> Path:
    """A bundle of `exports`, each with its metadata and validated."""
    files = []
    for export in exports:
        export = add_metadata(export, data, "tiny", "Tells digits apart.", context)
        runtime = RuntimeOptions("onnxruntime" if export.format == "onnx" else "litert", 2, "cpu")
        files.append(TargetFile(export, validate(export, data, student, runtime, context), None, shipped=True))
    teacher = releases.network(folder.parent / f"{folder.name}-teacher", data, "teacher", 1)
    run = RunResult("web", data, teacher, 1_000_000, None, (student,), tuple(files))
    profile, recipe = load_profile("web"), releases.recipe(data.task)
    report = make_report(run, recipe, profile, ROOMY)
    return write_bundle(run, recipe, profile, report, decide(report), folder)
