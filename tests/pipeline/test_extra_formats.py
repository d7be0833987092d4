"""ExecuTorch and Core ML files: made where their packages are, refused with the reason where they can't be."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.bundle import write_bundle
from pipeline.context import RunContext
from pipeline.errors import InputError
from pipeline.files import Networks
from pipeline.gate import check_bundle, decide
from pipeline.plan import make_plan
from pipeline.recipe import load_recipe
from pipeline.release import judge_extras, not_validated
from pipeline.report.record import make_report
from pipeline.results import ExportedFile, NetworkResult, PreparedData
from pipeline.store import Store
from targets.errors import TargetError
from targets.profile import Budgets, load_profile
from tests import releases

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "recipes/digits-mobilenet.yaml"


def profile_file(folder: Path, formats: str, name: str = "iphone15", scheme: str | None = None) -> str:
    content = (ROOT / f"targets/profiles/{name}.yaml").read_text()
    content = content.replace("export:\n", f"export:\n  extra_formats: [{formats}]\n")
    file = folder / f"{name}.yaml"
    file.write_text(content if scheme is None else content.replace("scheme: float16", f"scheme: {scheme}"))
    return str(file)


def absent(module: str) -> bool:
    return importlib.util.find_spec(module) is None


@pytest.mark.parametrize(
    ("formats", "name", "scheme", "reason"),
    [
        ("coreml", "pixel8", None, "coreml, which is made in float32 or float16, its scheme is int8-static"),
        ("executorch", "iphone15", None, "executorch, which is made in float32, its scheme is float16"),
    ],
)
def test_schemes_that_can_not_be_had_are_refused_before_anything_runs(
    tmp_path: Path, formats: str, name: str, scheme: str | None, reason: str
) -> None:
    with pytest.raises(InputError, match=reason):
        make_plan(load_recipe(RECIPE), (profile_file(tmp_path, formats, name, scheme),))


@pytest.mark.parametrize(
    ("formats", "scheme", "module"), [("coreml", "float16", "coremltools"), ("executorch", "float32", "executorch")]
)
def test_an_absent_package_is_named_with_the_way_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, formats: str, scheme: str, module: str
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == module else find(name, *rest))
    with pytest.raises(InputError, match=rf"needs {module}: pip install 'edgepress\[{formats}\]'"):
        make_plan(load_recipe(RECIPE), (profile_file(tmp_path, formats, scheme=scheme),))


def test_executorch_is_no_runtime_of_a_profile(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    content = (ROOT / "targets/profiles/iphone15.yaml").read_text()
    file.write_text(content.replace("name: onnxruntime", "name: executorch"))
    with pytest.raises(TargetError, match=r"ask for ExecuTorch files with export\.extra_formats"):
        load_profile(str(file))


@pytest.mark.skipif(absent("executorch"), reason="executorch is not installed: pip install 'edgepress[executorch]'")
def test_an_executorch_file_is_validated_by_its_own_runtime(
    digits: PreparedData, image_student: NetworkResult, context: RunContext, tmp_path: Path
) -> None:
    from pipeline.extra.executorch import export_executorch

    (target,) = make_plan(load_recipe(RECIPE), (profile_file(tmp_path, "executorch", scheme="float32"),)).targets
    networks = Networks(digits, digits, image_student, 1, None, (image_student,))
    (file,) = judge_extras(target, [], networks, context, latency=False)
    assert (file.export.format, file.accuracy.runtime, file.shipped) == ("pte", "executorch", True)
    assert file.accuracy.agreement_with_student == 1.0
    again = export_executorch(digits, image_student, None, RunContext(Store(tmp_path / "again")))
    assert again.sha256 == file.export.sha256


@pytest.mark.skipif(absent("coremltools"), reason="coremltools is not installed: pip install 'edgepress[coreml]'")
def test_a_core_ml_package_has_the_same_bytes_again_and_the_models_shape(
    digits: PreparedData, image_student: NetworkResult, context: RunContext, tmp_path: Path
) -> None:
    import coremltools

    (target,) = make_plan(load_recipe(RECIPE), (profile_file(tmp_path, "coreml"),)).targets
    networks = Networks(digits, digits, image_student, 1, None, (image_student,))
    (made,) = not_validated(target, networks, context)
    (again,) = not_validated(target, networks, RunContext(Store(tmp_path / "again")))
    assert made.sha256 == again.sha256
    spec = coremltools.models.MLModel(str(made.file), skip_model_load=True).get_spec()
    assert [(one.name, list(one.type.multiArrayType.shape)) for one in spec.description.input] == [
        ("image", [1, 3, 32, 32])
    ]
    assert [one.name for one in spec.description.output] == ["scores"]


def test_a_file_that_nothing_here_can_run_ships_marked_and_is_judged_by_size_alone(
    digits: PreparedData, context: RunContext, tmp_path: Path
) -> None:
    run = releases.real_release(tmp_path / "run", digits, context)
    package = tmp_path / "model.mlpackage"
    (package / "Data").mkdir(parents=True)
    (package / "Data/weights.bin").write_bytes(bytes(3_000_000))
    note = "not validated: Core ML runs on Apple's systems alone"
    export = ExportedFile("1" * 64, package, "mlpackage", "float16", "float32", 3_000_000, "2" * 64, notes=(note,))
    run = replace(run, unvalidated=(export,))
    profile, recipe = load_profile("pixel8"), releases.recipe()
    report = make_report(run, recipe, profile, Budgets.model_validate({"size_mb": 2, "accuracy": {"max_drop": 90}}))
    folder = write_bundle(run, recipe, profile, report, decide(report), tmp_path / "pixel8")
    name = "model.float16.mlpackage"
    assert (folder / name / "Data/weights.bin").stat().st_size == 3_000_000
    assert f"{name}/Data/weights.bin" in json.loads((folder / "manifest.json").read_text())["files"]
    assert [entry["name"] for entry in report["not_validated"]] == [name]
    assert name not in {file["name"] for file in report["files"]}
    for page in ("MODEL_CARD.md", "report.html"):
        text = (folder / page).read_text()
        assert name in text
        assert "not validated: Core ML runs on Apple" in text
    checks = [check for check in check_bundle(folder).checks if check.file == name]
    assert [(check.name, check.value, check.passed) for check in checks] == [("size_mb", 3.0, False)]
