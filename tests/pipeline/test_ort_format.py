"""Files in ORT format: the same answers as the ONNX files that they are made of, judged and shipped like them."""

import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.bundle import validate_bundle, write_bundle
from pipeline.context import RunContext
from pipeline.errors import InputError
from pipeline.extra.ort import convert_to_ort
from pipeline.files import Networks
from pipeline.gate import check_bundle, decide
from pipeline.plan import TargetPlan, describe_plan, make_plan
from pipeline.quantize.onnx import quantize_onnx
from pipeline.recipe import load_recipe
from pipeline.release import judge_extras
from pipeline.report.record import make_report
from pipeline.results import Calibration, ExportedFile, NetworkResult, PreparedData
from pipeline.store import Store, file_sha256
from pipeline.validate import validate
from targets.errors import TargetError
from targets.profile import load_profile
from targets.runtimes.base import RuntimeOptions
from tests import releases

ROOT = Path(__file__).parents[2]
OPTIONS = RuntimeOptions("onnxruntime", 1)
ARM, X86 = ("neon", "dotprod"), ("avx2",)


@pytest.fixture(scope="module")
def int8(
    digits: PreparedData, image_onnx: ExportedFile, image_calibration: Calibration, session_context: RunContext
) -> ExportedFile:
    scheme = load_profile("host").quantization.image
    assert scheme is not None
    return quantize_onnx(image_onnx, digits, scheme, image_calibration, X86, session_context)


def profile_file(folder: Path, text: str = "  extra_formats: [ort]\n", name: str = "pixel8") -> Path:
    """A ready profile that asks for more formats."""
    content = (ROOT / f"targets/profiles/{name}.yaml").read_text()
    file = folder / f"{name}.yaml"
    file.write_text(content.replace("export:\n", f"export:\n{text}"))
    return file


@pytest.mark.parametrize("isa", [ARM, X86])
def test_float_scores_are_those_of_the_onnx_file(
    digits: PreparedData, image_student: NetworkResult, image_onnx: ExportedFile, context: RunContext, isa: Any
) -> None:
    made = convert_to_ort(image_onnx, isa, context)
    assert (made.format, made.scheme, made.sha256) == ("ort", "float32", file_sha256(made.file))
    before, after = (validate(file, digits, image_student, OPTIONS, context) for file in (image_onnx, made))
    np.testing.assert_allclose(after.scores, before.scores, atol=1e-4)


@pytest.mark.parametrize("isa", [ARM, X86])
def test_int8_files_keep_their_accuracy(
    digits: PreparedData, image_student: NetworkResult, int8: ExportedFile, context: RunContext, isa: Any
) -> None:
    before, after = (
        validate(file, digits, image_student, OPTIONS, context) for file in (int8, convert_to_ort(int8, isa, context))
    )
    assert np.mean(before.scores.argmax(1) == after.scores.argmax(1)) >= 0.95


def test_texts_keep_their_scores(
    reviews: PreparedData, text_student: NetworkResult, text_onnx: ExportedFile, context: RunContext
) -> None:
    before, after = (
        validate(file, reviews, text_student, OPTIONS, context)
        for file in (text_onnx, convert_to_ort(text_onnx, ARM, context))
    )
    np.testing.assert_allclose(after.scores, before.scores, atol=1e-4)


def test_the_operators_are_those_of_the_file_as_onnxruntimes_build_takes_them(
    int8: ExportedFile, context: RunContext
) -> None:
    from onnxruntime.tools.reduced_build_config_parser import parse_config

    made = convert_to_ort(int8, ARM, context)
    assert made.operators_file is not None
    text = made.operators_file.read_text()
    assert str(made.file.parent) not in text
    assert text.splitlines()[:2] == ["# Generated from model/s:", "# - model.int8-static.ort"]
    required, _ = parse_config(str(made.operators_file), enable_type_reduction=True)
    # By domain, and by the operator set in which each came up; optimized, 8-bit convolutions are onnxruntime's own.
    operators = {name for versions in required.values() for names in versions.values() for name in names}
    assert {"QLinearConv", "QuantizeLinear"} <= operators


def test_it_says_nothing_and_names_the_same_operators_again(
    int8: ExportedFile, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    made = [convert_to_ort(int8, ARM, RunContext(Store(tmp_path / name))) for name in ("a", "b")]
    os.fsync(1)
    told = capfd.readouterr()
    assert (told.out, told.err) == ("", "")
    assert made[0].bytes == made[1].bytes
    texts = [file.operators_file.read_text() for file in made if file.operators_file]
    assert texts[0] == texts[1]


def test_what_is_no_onnx_model_is_refused(image_onnx: ExportedFile, context: RunContext, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no model")
    broken = replace(image_onnx, file=tmp_path / "model.onnx", fingerprint="broken")
    with pytest.raises(InputError, match=r"can't write it in ORT format: .*leave ort out of the target's"):
        convert_to_ort(broken, ARM, context)


def test_a_bundle_ships_it_judged_like_any_other_file(
    digits: PreparedData, context: RunContext, tmp_path: Path
) -> None:
    run = releases.real_release(tmp_path / "run", digits, context)
    target = planned(profile_file(tmp_path))
    networks = Networks(digits, digits, run.teacher, run.teacher_onnx_bytes, None, run.students)
    extras = judge_extras(target, list(run.files), networks, context, latency=False)
    run = replace(run, files=(*run.files, *extras))
    recipe = releases.recipe()
    report = make_report(run, recipe, target.profile, target.budgets)
    bundle = write_bundle(run, recipe, target.profile, report, decide(report), tmp_path / "pixel8")
    assert (bundle / "model.float32.ort").is_file()
    assert "ai.onnx;" in (bundle / "model.float32.required_operators_and_types.config").read_text()
    assert {file["name"] for file in report["files"] if file["shipped"]} == {"model.float32.onnx", "model.float32.ort"}
    assert [pair["value"] for pair in report["agreements"]] == [1.0]
    assert {result.file: result.passed for result in validate_bundle(bundle)} == {
        "model.float32.onnx": True, "model.float32.ort": True,
    }  # fmt: skip
    assert {check.file for check in check_bundle(bundle).checks} >= {"model.float32.onnx", "model.float32.ort"}
    assert json.loads((bundle / "preprocess.json").read_text())["model.float32.ort"]["image"]["layout"] == "NCHW"


def planned(profile: Path) -> TargetPlan:
    (target,) = make_plan(load_recipe(ROOT / "recipes/digits-mobilenet.yaml"), (str(profile),)).targets
    return target


def test_the_plan_names_it(tmp_path: Path) -> None:
    plan = make_plan(load_recipe(ROOT / "recipes/digits-mobilenet.yaml"), (str(profile_file(tmp_path)),))
    assert ("extra", "model.int8-static.ort", "pixel8") in describe_plan(plan)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("  extra_formats: [ort, ort]\n", "a format is listed twice"),
        ("  extra_formats: [onnx]\n", "Input should be 'ort', 'executorch' or 'coreml'"),
    ],
)
def test_wrong_formats_are_refused_when_the_profile_is_read(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(TargetError, match=re.escape(reason)):
        load_profile(str(profile_file(tmp_path, text)))


def test_ort_needs_an_onnx_file(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="ort is made of the ONNX file: add onnxruntime to runtimes"):
        load_profile(str(profile_file(tmp_path, name="coral_dev")))
