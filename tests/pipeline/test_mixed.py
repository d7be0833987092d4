"""Mixed precision: the layer that 8 bits ruin is found, kept in float in both files, and its price told."""

from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError

from pipeline.context import RunContext
from pipeline.errors import InputError
from pipeline.files import Networks, StaticScheme, parts_of, static_scheme
from pipeline.plan import TargetPlan, describe_plan, make_plan
from pipeline.quantize.graph import read_graph
from pipeline.quantize.inspect import layer_weights
from pipeline.quantize.mixed import Part, mix_precision
from pipeline.quantize.mixed_cost import ROUNDS, measure_mixed
from pipeline.quantize.mixed_results import LayerSensitivity, MixedResult, SensitivityResult
from pipeline.quantize.sensitivity import measure_sensitivity
from pipeline.recipe import Recipe
from pipeline.release import Release, release
from pipeline.report.layers import mixed_notes
from pipeline.results import Calibration, ExportedFile, NetworkResult, PreparedData
from pipeline.settings.release import SensitivitySettings
from targets.profile import Measure, Quantization
from targets.runtimes.base import RuntimeOptions
from tests import releases
from tests.pipeline.ruined import RUINED, ruined, with_much_validation

STATIC = Quantization(scheme="int8-static")
ASKED = {"max_drop": 10.0, "sensitivity": {"samples": 16}}


@pytest.fixture(scope="module")
def data(digits: PreparedData, tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    return with_much_validation(digits, tmp_path_factory.mktemp("split"))


@pytest.fixture(scope="module")
def networks(data: PreparedData, image_student: NetworkResult, tmp_path_factory: pytest.TempPathFactory) -> Networks:
    student = ruined(image_student, data, tmp_path_factory.mktemp("ruined"))
    return Networks(data, data, replace(image_student, role="teacher"), 10_000_000, None, (student,))


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return releases.recipe(quantize=ASKED, calibration={"samples": 32})


@pytest.fixture(scope="module")
def target(recipe: Recipe) -> TargetPlan:
    (planned,) = make_plan(recipe, ("pixel8",)).targets
    assert {file.format for file in planned.files} == {"onnx", "tflite"}
    return planned


@pytest.fixture(scope="module")
def static(recipe: Recipe, target: TargetPlan, networks: Networks, session_context: RunContext) -> StaticScheme:
    found = static_scheme(recipe, target, networks, session_context)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def sensitivity(static: StaticScheme) -> SensitivityResult:
    assert static.sensitivity is not None
    return static.sensitivity


@pytest.fixture(scope="module")
def mixed(static: StaticScheme) -> MixedResult:
    assert static.mixed is not None
    return static.mixed


@pytest.fixture(scope="module")
def made(
    recipe: Recipe,
    target: TargetPlan,
    networks: Networks,
    session_context: RunContext,
    tmp_path_factory: pytest.TempPathFactory,
) -> Release:
    return release(recipe, target, networks, tmp_path_factory.mktemp("out"), session_context, latency=False)


def test_every_layer_is_measured_by_itself_in_the_order_in_which_they_run(sensitivity: SensitivityResult) -> None:
    names = [layer.layer for layer in sensitivity.layers]
    assert len(names) == len(set(names)) == 53  # 52 convolutions and the classifier
    assert (names[0], names[-1]) == ("conv_stem", "classifier")
    assert sensitivity.samples == 16
    others = [layer for layer in sensitivity.layers if layer.layer != RUINED]
    assert all(10 < layer.sqnr < 120 for layer in others)  # some noise, and most of the signal
    assert all(layer.agreement > 0.8 and layer.divergence < 0.2 for layer in others)


def test_the_ruined_layer_is_by_far_the_noisiest(sensitivity: SensitivityResult) -> None:
    first, second, *_ = sensitivity.ranked
    assert first.layer == RUINED
    assert first.sqnr < 3 < second.sqnr
    assert first.agreement < 0.5
    assert first.points_lost > 20


def test_8_bit_ends_share_the_measurement_and_other_settings_do_not(
    sensitivity: SensitivityResult,
    static: StaticScheme,
    target: TargetPlan,
    networks: Networks,
    session_context: RunContext,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calibration, few = static.calibration, SensitivitySettings(samples=16)
    scheme = target.quantization

    def made(*arguments: object, **more: object) -> None:
        raise InterruptedError

    monkeypatch.setattr("pipeline.quantize.sensitivity.static_onnx", made)
    io8 = scheme.model_copy(update={"io_dtype": "int8"})
    again = measure_sensitivity(networks.data, calibration, io8, few, session_context)
    assert again.fingerprint == sensitivity.fingerprint
    per_tensor = scheme.model_copy(update={"granularity": "per-tensor"})
    for quantization, settings in ((per_tensor, few), (scheme, SensitivitySettings(samples=17))):
        with pytest.raises(InterruptedError):
            measure_sensitivity(networks.data, calibration, quantization, settings, session_context)


def test_the_layer_that_8_bits_ruin_is_the_one_that_is_kept(mixed: MixedResult) -> None:
    assert mixed.names == (RUINED,)
    assert mixed.held
    assert min(mixed.throughout.values()) > 20
    assert max(mixed.points_lost.values()) <= 10
    assert set(mixed.points_lost) == {"onnx", "tflite"}
    assert mixed.tried == 2  # in 8 bits throughout, and with this layer in float
    assert (mixed.layers, mixed.samples) == (53, 105)


def test_a_kept_layer_costs_its_weights_in_float(mixed: MixedResult, made: Release) -> None:
    (kept,) = mixed.kept
    weights = next(layer for layer in made.report["sensitivity"]["layers"] if layer["layer"] == RUINED)
    for name in ("onnx", "tflite"):
        assert kept.bytes[name] == mixed.bytes[name] - mixed.bytes_throughout[name]
        assert 0.5 < kept.bytes[name] / (3 * weights["weights"]["value"]) < 3  # and what tells its ranges
    assert kept.points_lost == mixed.throughout


def test_both_files_that_ship_hold_this_one_layer_in_float(made: Release) -> None:
    (size,) = (la["weights"]["value"] for la in made.report["sensitivity"]["layers"] if la["kept"])
    for name in ("model.int8-static.onnx", "model.int8-static.tflite"):
        weights = layer_weights(read_graph(made.bundle / name, name.rpartition(".")[2]))  # type: ignore[arg-type]
        assert [weight.bytes // 4 for weight in weights if weight.dtype == "float32"] == [size]
        assert sum(weight.dtype == "int8" for weight in weights) == 52
        (file,) = (file for file in made.report["files"] if file["name"] == name)
        assert f"kept in float by quantize.max_drop: {RUINED}" in file["notes"]


def test_the_files_are_as_accurate_as_was_found_out(made: Release) -> None:
    by_name = {file["name"]: file["accuracy"]["value"] for file in made.report["files"]}
    for format in ("onnx", "tflite"):
        assert by_name[f"model.int8-static.{format}"] > by_name[f"model.float32.{format}"] - 0.12  # 7 of 60


def test_the_report_tells_what_was_found_and_what_it_costs(made: Release, mixed: MixedResult) -> None:
    report, page = made.report, (made.bundle / "report.html").read_text()
    least = min(report["sensitivity"]["layers"], key=lambda layer: layer["sqnr"]["value"])
    assert (least["layer"], least["kept"]) == (RUINED, True)
    told = report["mixed_precision"]
    assert told["held"]
    (kept,) = told["kept"]
    assert {file["name"]: file["size"]["value"] for file in kept["files"]} == {
        f"model.int8-static.{format}": size for format, size in mixed.kept[0].bytes.items()
    }
    assert "Layer by layer" in page
    assert f"{RUINED} in 8 bits too" in page
    assert not any("can't be held" in note for note in report["notes"])


def test_milliseconds_are_measured_between_whole_files(
    static: StaticScheme, target: TargetPlan, networks: Networks, mixed: MixedResult, session_context: RunContext
) -> None:
    part = next(p for p in parts_of(target, networks, session_context) if p.export.format == "onnx")
    few = Measure(warmup=1, min_runs=3, max_runs=3)
    found = measure_mixed(part, mixed, networks.data, STATIC, static.calibration, few, session_context)
    assert [cost.layer for cost in found.costs] == [RUINED, None]
    assert all(cost.low <= cost.ms <= cost.high for cost in found.costs)
    assert (found.format, found.rounds) == ("onnx", ROUNDS)


def test_a_student_that_8_bits_do_not_harm_keeps_no_layer(
    data: PreparedData,
    image_onnx: ExportedFile,
    image_calibration: Calibration,
    session_context: RunContext,
) -> None:
    part = Part(image_onnx, image_onnx, RuntimeOptions("onnxruntime"))
    sensitivity = SensitivityResult("by hand", 1, (LayerSensitivity("a", "conv", 1, 1.0, 0.0, 1.0, 0.0),) * 2)
    found = mix_precision([part], data, STATIC, image_calibration, sensitivity, 5.0, session_context)
    assert found.held
    assert (found.kept, found.tried) == ((), 1)
    assert found.points_lost == found.throughout


def test_a_drop_that_no_layer_can_hold_is_told_and_stops_nothing(
    static: StaticScheme,
    target: TargetPlan,
    networks: Networks,
    data: PreparedData,
    session_context: RunContext,
    tmp_path: Path,
) -> None:
    """Other layers than the ruined one are all that may be kept."""
    part = next(p for p in parts_of(target, networks, session_context) if p.export.format == "onnx")
    names = ("conv_stem", "blocks.0.0.conv_dw", "classifier")
    others = tuple(LayerSensitivity(name, "conv", 1, 1.0 + place, 0, 1, 0) for place, name in enumerate(names))
    sensitivity = SensitivityResult("others", 1, others)
    found = mix_precision([part], data, STATIC, static.calibration, sensitivity, 2.0, session_context)
    assert not found.held
    assert found.points_lost["onnx"] <= found.throughout["onnx"]
    run = replace(releases.release(tmp_path, data), mixed=found)
    (note,) = mixed_notes(run)
    reached = found.points_lost["onnx"]
    assert note.startswith("quantize.max_drop 2 can't be held: with up to all but one of the 3 layers in float")
    assert f"{reached:.2f} points on 105 validation samples" in note


def test_a_target_that_runs_no_float_layers_is_refused_with_the_reason() -> None:
    recipe = releases.recipe(quantize={"max_drop": 0.5})
    with pytest.raises(InputError, match=r"coral_dev does not run .*allow_float_fallback: false.*quantize\.aware"):
        make_plan(recipe, ("coral_dev",))
    make_plan(releases.recipe(quantize={"sensitivity": {}}), ("coral_dev",))  # to measure is no harm


@pytest.mark.parametrize("quantize", [{"max_drop": 0.5}, {"sensitivity": {}}])
def test_texts_are_refused(quantize: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="for convolutional networks; remove them"):
        releases.recipe("text-classification", student={"family": "tinybert"}, quantize=quantize)


def test_the_plan_tells_of_both_stages_for_static_targets_alone() -> None:
    def stages(quantize: dict[str, object], name: str) -> list[str]:
        plan = make_plan(releases.recipe(quantize=quantize), (name,))
        return [what for stage, what, _ in describe_plan(plan) if stage in ("sensitivity", "mix")]

    assert stages({}, "pixel8") == []
    assert len(stages({"sensitivity": {}}, "pixel8")) == 1
    measured, kept = stages({"max_drop": 0.5}, "pixel8")
    assert "256 validation samples" in measured
    assert "at most 0.5 points below float32" in kept
    assert stages({"max_drop": 0.5}, "iphone15") == []
