"""Predictions of files, through the command; the emulator is stood in for, but where it is installed in one test."""

import dataclasses
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.emulated.prediction import computed_dtype, predict_file, work_of
from pipeline.quantize.graph import Constant, Graph, Operator, read_graph
from targets.emulator.counts import InstructionCounts
from targets.prediction.coefficients import read_coefficients
from targets.profile import load_profile
from targets.runners.emulated import EmulatedRunner
from tests.targets.test_emulated import CAN_NOT_COUNT
from tests.targets.tiny_models import onnx_model, tflite_model

MILLION = 1_000_000
A72 = next(core for core in read_coefficients().cores if core.uarch == "cortex-a72")


def counts(core: str = "cortex-a72", millions: int = 100) -> InstructionCounts:
    return InstructionCounts(core, "litert", "2.3.0", "QEMU 7.2", 7, 0.0, millions * MILLION, 0, 0, 0, 0, 0)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every file takes 100 million instructions; the cores that were asked."""
    asked: list[str] = []

    def count(self: EmulatedRunner, *_: object) -> InstructionCounts:
        asked.append(self.core.name)
        return counts(self.core.name)

    monkeypatch.setattr(EmulatedRunner, "count", count)
    return asked


def call(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["bench", *arguments, "--predict"])
    return result.exit_code, result.output


def layer(weights: str, activations: str, *, cast: bool = False) -> Graph:
    """A fully connected layer of 4 x 3 weights, which are cast to float32 first if `cast`."""
    constants = {"w": Constant("w", weights, (4, 3), 12, 0.0)}
    operators = [Operator("dequantize", ("w",), ("wide",))] if cast else []
    operators.append(Operator("fully-connected", ("x", "wide" if cast else "w"), ("y",)))
    dtypes = {"w": weights, "wide": "float32", "x": activations, "y": activations}
    shapes = {"w": (4, 3), "wide": (4, 3), "x": (1, 4), "y": (1, 3)}
    return Graph(tuple(operators), constants, dtypes, shapes)


@pytest.mark.parametrize(
    ("graph", "dtype"),
    [
        (layer("float32", "float32"), "float32"),
        (layer("int8", "int8"), "int8"),
        (layer("int8", "float32"), "int8"),  # dynamic: the delegate quantizes the activations
        (layer("int4", "float32"), "int8"),
        (layer("int8", "int16"), "int16"),
        (layer("int8", "float32", cast=True), "float32"),
        (layer("float16", "float32", cast=True), "float32"),
        (Graph((), {}, {}), "float32"),
    ],
)
def test_a_file_computes_in_what_most_of_its_products_do(graph: Graph, dtype: str) -> None:
    assert computed_dtype(graph) == dtype


def test_bytes_are_those_that_an_inference_moves() -> None:
    """Weights of 12 values as they are used, scores of 3; the cast happens when the file is opened."""
    plain = work_of(layer("float32", "float32"), counts(), "float32")
    assert (plain.weight_bytes, plain.activation_bytes, plain.operators) == (48, 12, 1)
    cast = work_of(layer("float16", "float32", cast=True), counts(), "float32")
    assert (cast.weight_bytes, cast.activation_bytes, cast.operators) == (48, 12, 1)
    assert work_of(layer("int8", "int8"), counts(), "int8").weight_bytes == 12
    assert plain.instructions == 100 * MILLION


def test_of_a_table_the_rows_that_are_read_count_alone() -> None:
    graph = Graph(
        (Operator("gather", ("table", "ids"), ("rows",)),),
        {"table": Constant("table", "float32", (1000, 8), 32_000, 0.0)},
        {"table": "float32", "ids": "int32", "rows": "float32"},
        {"table": (1000, 8), "ids": (1, 2), "rows": (1, 2, 8)},
    )
    found = work_of(graph, counts(), "float32")
    assert (found.weight_bytes, found.activation_bytes) == (0, 64)


def test_a_file_is_read_as_its_runtime_runs_it(tmp_path: Path) -> None:
    """softmax(x @ weights + bias): weights of 4 x 3 and 3 biases, two results of 3 scores, in float32."""
    graph = read_graph(tflite_model(tmp_path / "m.tflite"), "tflite")
    found = work_of(graph, counts(), computed_dtype(graph))
    assert (found.dtype, found.weight_bytes, found.activation_bytes, found.operators) == ("float32", 60, 24, 2)


def test_the_command_tells_the_latency_with_its_interval_and_sources(tmp_path: Path, counted: list[str]) -> None:
    file = tflite_model(tmp_path / "m.tflite")
    code, text = call(str(file), "--target", "rpi4", "--json")
    assert code == 0
    found = json.loads(text)
    four_threads = A72.ms_per_million_instructions["float32"] * 100 + A72.ms_per_mb_of_weights * 60e-6
    assert found["ms"] == pytest.approx(four_threads * 2**0.5)  # the profile runs 2
    assert found["low"] < found["ms"] < found["high"]
    assert (found["source"], found["file"], found["fitted_on"]) == ("predicted", "m.tflite", "rpi4")
    assert (found["threads"], found["fitted_threads"], found["borrowed"]) == (2, 4, False)
    assert found["work"]["instructions"] == 100 * MILLION
    assert "XNNPACK" in found["sources"][0]
    code, text = call(str(file), "--target", "rpi4")
    assert code == 0
    assert "90% interval" in text
    assert "source: predicted, from latencies of rpi4 (XNNPACK README" in text
    assert "note: latencies were measured with 4 threads, the target runs 2" in text
    assert counted == ["cortex-a72", "cortex-a72"]


def test_a_borrowed_prediction_says_so(tmp_path: Path, counted: list[str]) -> None:
    code, text = call(str(tflite_model(tmp_path / "m.tflite")), "--target", "rpi5")
    assert code == 0
    assert "note: no latency on a Cortex-A76 at 2.4 GHz was measured: costs are borrowed from the cortex-a72" in text
    assert counted == ["cortex-a76"]


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("coral_dev", "by edgetpu, predictions are of the processor's cores alone"),
        ("pixel8", "core Cortex-X3 can't be emulated"),
        ("host", "target host names no cores"),
        ("rpi44", "did you mean 'rpi4'"),
    ],
)
def test_a_target_without_anything_to_predict_from_is_one_message(
    target: str, told: str, tmp_path: Path, counted: list[str]
) -> None:
    code, text = call(str(tflite_model(tmp_path / "m.tflite")), "--target", target)
    assert code == 2
    assert told in text
    assert counted == []


def test_files_that_no_latency_stands_for_are_refused_before_anything_is_counted(
    tmp_path: Path, counted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, text = call(str(onnx_model(tmp_path / "m.onnx")), "--target", "rpi4")
    assert code == 2
    assert "no latency of onnxruntime was measured" in text
    (tmp_path / "words.tflite").write_text("not a model")
    code, text = call(str(tmp_path / "words.tflite"), "--target", "rpi4")
    assert code == 2
    assert "words.tflite" in text
    monkeypatch.setattr("pipeline.emulated.prediction.computed_dtype", lambda graph: "int16")
    code, text = call(str(tflite_model(tmp_path / "m.tflite")), "--target", "rpi4")
    assert code == 2
    assert "computes in int16, and a prediction for rpi4 knows latencies of float32" in text
    assert counted == []


def test_predicting_and_running_are_two_things(tmp_path: Path) -> None:
    code, text = call(str(tflite_model(tmp_path / "m.tflite")), "--target", "rpi4", "--runs", "5")
    assert code == 2
    assert "takes one file and nothing but --target" in text


@pytest.mark.skipif(bool(CAN_NOT_COUNT), reason=CAN_NOT_COUNT)
def test_counts_of_the_real_emulator_make_a_prediction(tmp_path: Path) -> None:
    found = predict_file(tflite_model(tmp_path / "m.tflite"), load_profile("rpi4"))
    assert found.prediction.extrapolated  # a model of twelve multiplications
    assert found.work.instructions == found.counts.total > 0
    assert 0 < found.prediction.low < found.prediction.ms < found.prediction.high
    assert dataclasses.asdict(found.work)["core"] == "cortex-a72"
