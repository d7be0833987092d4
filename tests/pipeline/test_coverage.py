"""How runtimes run the operators of a file: judged on real files, by the runtimes themselves."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from pipeline.context import RunContext
from pipeline.coverage import cover, coverage, time_operators
from pipeline.export.onnx import export_onnx
from pipeline.export.tflite import export_tflite
from pipeline.quantize.tflite import quantize_tflite
from pipeline.results import ExportedFile, PreparedData
from pipeline.slow import WITHOUT_8_BITS, known_slow
from pipeline.student import STUDENTS
from targets.errors import TargetError
from targets.profile import Quantization, Runtime, RuntimeName
from targets.runtimes.base import RuntimeOptions
from targets.runtimes.coverage import Coverage
from tests import releases
from tests.networks import untrained
from tests.pipeline.operator_models import MACS, SIDE, onnx_chain, tflite_chain
from tests.pipeline.quantized import calibrated

ORT, LITERT = RuntimeOptions("onnxruntime"), RuntimeOptions("litert")


def test_hard_swish_cuts_an_8_bit_tflite_graph(tmp_path: Path) -> None:
    kinds = ("FULLY_CONNECTED", "HARD_SWISH", "FULLY_CONNECTED", "HARD_SWISH", "FULLY_CONNECTED")
    found = coverage(tflite_chain(tmp_path / "model.tflite", *kinds), LITERT, "int8-static")
    assert found.pieces == 3
    assert (found.taken, found.left_out, found.in_float) == ({"fully-connected": 3}, {"hard-swish": 2}, {})
    assert found.share == pytest.approx(3 / 5)
    assert (found.macs, found.taken_macs) == (3 * MACS, 3 * MACS)


def test_relu_does_not_cut_it(tmp_path: Path) -> None:
    file = tflite_chain(tmp_path / "model.tflite", "FULLY_CONNECTED", "FULLY_CONNECTED", "FULLY_CONNECTED")
    found = coverage(file, LITERT, "int8-static")
    assert (found.pieces, found.share, found.left_out) == (1, 1.0, {})


def test_hard_swish_does_not_cut_a_float_graph(tmp_path: Path) -> None:
    file = tflite_chain(tmp_path / "model.tflite", "FULLY_CONNECTED", "HARD_SWISH", "FULLY_CONNECTED", quantized=False)
    found = coverage(file, LITERT, "float32")
    assert (found.pieces, found.share, found.operators) == (1, 1.0, 3)


def test_what_onnxruntime_computes_in_float_between_8_bits_is_told(tmp_path: Path) -> None:
    file = onnx_chain(tmp_path / "model.onnx", "MatMul", "HardSwish", "MatMul")
    found = coverage(file, ORT, "int8-static")
    assert (found.taken, found.left_out) == ({"q-linear-mat-mul": 2}, {})
    assert found.in_float == {"hard-sigmoid": 1, "mul": 1}  # into which onnxruntime takes it apart
    assert found.pieces is None
    assert found.conversions == 4  # at both ends, and on both sides of hard-swish
    assert (found.macs, found.taken_macs, found.macs_share) == (2 * MACS, 2 * MACS, 1.0)


def test_a_product_left_in_float_lowers_the_share_of_macs(tmp_path: Path) -> None:
    file = onnx_chain(tmp_path / "model.onnx", "MatMul", "MatMul")
    model = onnx.load(str(file))
    model.graph.initializer.append(numpy_helper.from_array(np.ones((SIDE, SIDE), np.float32), "float_weights"))
    products = [node for node in model.graph.node if node.op_type == "MatMul"]
    products[1].input[1] = "float_weights"
    onnx.save(model, str(file))
    found = coverage(file, ORT, "int8-static")
    assert found.in_float == {"mat-mul": 1}
    assert found.macs_share == pytest.approx(1 / 2)


def test_nothing_computes_wrongly_in_a_float_scheme(tmp_path: Path) -> None:
    found = coverage(onnx_chain(tmp_path / "model.onnx", "MatMul", "HardSwish", quantized=False), ORT, "float32")
    assert found.share == 1
    assert found.conversions == 0


def test_a_dynamic_file_is_asked_for_8_bit_weights_alone(tmp_path: Path) -> None:
    from onnxruntime.quantization import quantize_dynamic

    plain = onnx_chain(tmp_path / "plain.onnx", "MatMul", "HardSwish", quantized=False)
    quantize_dynamic(plain, tmp_path / "model.onnx")
    assert coverage(tmp_path / "model.onnx", ORT, "int8-dynamic").in_float == {}
    assert coverage(plain, ORT, "int8-dynamic").in_float == {"mat-mul": 1}


def test_transposes_are_counted_as_stored_but_for_those_of_constants(tmp_path: Path) -> None:
    tflite = tflite_chain(tmp_path / "model.tflite", "TRANSPOSE", "FULLY_CONNECTED", "TRANSPOSE")
    assert coverage(tflite, LITERT, "int8-static").transposes == 2
    file = onnx_chain(tmp_path / "model.onnx", "Transpose", "MatMul", "Transpose", "Transpose", quantized=False)
    model = onnx.load(str(file))
    model.graph.node.insert(0, helper.make_node("Transpose", ["weights"], ["turned"]))
    next(node for node in model.graph.node if node.op_type == "MatMul").input[1] = "turned"
    onnx.save(model, str(file))
    assert coverage(file, ORT, "float32").transposes == 3  # onnxruntime fuses one into the product


ONNX_NAMES = {"hard-swish": "HardSwish", "hard-sigmoid": "HardSigmoid"}


@pytest.mark.parametrize(
    ("runtime", "kind"), [(name, kind) for name in WITHOUT_8_BITS for kind in sorted(WITHOUT_8_BITS[name])]
)
def test_operators_said_to_have_no_8_bit_kernel_have_none(runtime: RuntimeName, kind: str, tmp_path: Path) -> None:
    if runtime == "onnxruntime":
        files = [
            onnx_chain(tmp_path / "with.onnx", "MatMul", ONNX_NAMES[kind]),
            onnx_chain(tmp_path / "without.onnx", "MatMul"),
        ]
    else:
        files = [
            tflite_chain(tmp_path / "with.tflite", "FULLY_CONNECTED", kind.replace("-", "_").upper()),
            tflite_chain(tmp_path / "without.tflite", "FULLY_CONNECTED"),
        ]
    found, without = (coverage(file, RuntimeOptions(runtime), "int8-static") for file in files)
    assert without.share == 1
    assert set(found.taken) == set(without.taken)
    assert found.share < 1


def test_a_file_that_is_no_model_is_told_by_name(tmp_path: Path) -> None:
    for name, options in (("model.tflite", LITERT), ("model.onnx", ORT)):
        (tmp_path / name).write_bytes(b"not a model at all")
        with pytest.raises(TargetError, match=name):
            coverage(tmp_path / name, options, "int8-static")


@pytest.fixture(scope="module")
def hard_swish(
    digits: PreparedData, session_context: RunContext, tmp_path_factory: pytest.TempPathFactory
) -> tuple[ExportedFile, ExportedFile]:
    """A MobileNetV3 of random weights as TFLite, float32 and static INT8."""
    architecture = {
        "kind": "timm", "model": "mobilenetv3_small_100", "width": 0.35, "classes": len(digits.labels),
        "input_size": None, "mean": [127.5] * 3, "std": [127.5] * 3,
    }  # fmt: skip
    student = untrained(digits, architecture, tmp_path_factory.mktemp("hard_swish"))
    onnx_file = export_onnx(digits, student, 20, None, session_context)
    ranges = calibrated(onnx_file, digits, student, session_context, samples=8)
    exported = export_tflite(digits, student, None, session_context)
    quantized = quantize_tflite(exported, digits, Quantization(scheme="int8-static"), ranges, session_context)
    return exported, quantized


def test_a_mobilenetv3_is_cut_at_each_hard_swish_in_8_bits_alone(
    hard_swish: tuple[ExportedFile, ExportedFile], session_context: RunContext
) -> None:
    before, after = (cover(file, LITERT, session_context) for file in hard_swish)
    assert before.pieces == 1
    assert before.share == 1
    assert before.taken["hard-swish"] == after.left_out["hard-swish"] > 10
    assert after.pieces is not None
    assert after.pieces > 10
    assert after.share < 0.9
    assert after.macs == before.macs == after.taken_macs


def test_the_coverage_of_a_file_is_stored(context: RunContext, tmp_path: Path) -> None:
    file = releases.exported(onnx_chain(tmp_path / "model.onnx", "MatMul", quantized=False), "onnx")
    first = cover(file, ORT, context)
    assert isinstance(first, Coverage)
    assert first.macs_share == 1
    assert cover(file, ORT, context) == first
    assert len(list((context.store.root / "coverage").iterdir())) == 1


def test_times_are_told_of_every_kind_that_runs(digits: PreparedData, context: RunContext, tmp_path: Path) -> None:
    _, weights, bias = releases.linear_student(tmp_path / "student", digits)
    file = releases.linear_onnx(tmp_path / "linear", digits, weights, bias)
    found = time_operators(file, digits, ORT, context)
    assert found is not None
    assert {"gemm", "softmax"} <= set(found.ms)
    assert list(found.ms.values()) == sorted(found.ms.values(), reverse=True)
    assert min(found.ms.values()) >= 0 < max(found.ms.values())
    assert [path.name for path in next((context.store.root / "operator-times").iterdir()).iterdir()] == ["result.json"]


def test_litert_tells_no_times(
    hard_swish: tuple[ExportedFile, ExportedFile], digits: PreparedData, context: RunContext
) -> None:
    assert time_operators(hard_swish[0], digits, LITERT, context) is None


def test_what_is_known_before_a_run_names_operators_and_alternative() -> None:
    family, runtime = STUDENTS["mobilenetv3_small"], Runtime(name="litert", delegate="xnnpack")
    told = known_slow(family, runtime, "int8-static")
    assert told is not None
    assert "hard-swish, for which XNNPACK has no 8-bit kernel" in told
    assert f"student.family: {family.alternative} has none" in told
    assert known_slow(family, runtime, "float16") is None
    assert known_slow(family, Runtime(name="litert", delegate="coreml"), "int8-static") is None
    assert known_slow(STUDENTS["mobilenetv2"], runtime, "int8-static") is None
