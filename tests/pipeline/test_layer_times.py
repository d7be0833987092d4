"""Time of each layer: prefixes that compute what the whole graph does, and answers that name every operator."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.dom import minidom

import numpy as np
import pytest
from typer.testing import CliRunner

from pipeline import layer_times
from pipeline.cli import app
from pipeline.errors import InputError
from pipeline.layer_times import bench_layers, cut_after_each
from pipeline.report.layer_plot import DRAWN, short_layer, standalone
from pipeline.report.layer_plot import layer_times as drawn
from targets.errors import TargetError
from targets.runtimes.base import RuntimeOptions, open_model
from tests.pipeline.operator_models import SIDE, WEIGHTS, onnx_chain, tflite_chain
from tests.targets.tiny_models import tflite_model

FC, SWISH, TURN = "FULLY_CONNECTED", "HARD_SWISH", "TRANSPOSE"
INPUT = np.linspace(-1, 1, SIDE * SIDE, dtype=np.float32).reshape(SIDE, SIDE)


def swish(x: np.ndarray) -> np.ndarray:
    return x * np.clip(x + 3, 0, 6) / 6


def dense(x: np.ndarray) -> np.ndarray:
    return np.maximum(x @ WEIGHTS.T.astype(np.float32), 0)


def test_each_prefix_computes_what_the_graph_has_computed_by_then(tmp_path: Path) -> None:
    file = tflite_chain(tmp_path / "model.tflite", FC, SWISH, TURN, quantized=False)
    prefixes = cut_after_each(file, tmp_path)
    assert [prefix.kind for prefix in prefixes] == ["fully-connected", "hard-swish", "transpose"]
    assert [prefix.name for prefix in prefixes] == ["y0", "y1", "y2"]
    expected = [dense(INPUT), swish(dense(INPUT)), swish(dense(INPUT)).T]
    for prefix, wanted in zip(prefixes, expected, strict=True):
        model = open_model(prefix.file, RuntimeOptions("litert"))
        (found,) = model.run({model.inputs[0].name: INPUT})
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_a_prefix_leaves_out_the_weights_of_what_follows(tmp_path: Path) -> None:
    file = tflite_chain(tmp_path / "model.tflite", SWISH, FC, quantized=False)
    first, whole = cut_after_each(file, tmp_path)
    assert whole.file.stat().st_size - first.file.stat().st_size >= WEIGHTS.size * 4


def test_a_file_with_a_signature_and_8_bit_ends_is_cut(tmp_path: Path) -> None:
    file = tflite_model(tmp_path / "model.tflite", eight_bit=True)
    prefixes = cut_after_each(file, tmp_path)
    assert [prefix.kind for prefix in prefixes] == ["dequantize", "fully-connected", "softmax", "quantize"]
    values = np.array([[10, -20, 30, 5]], np.int8)
    whole, last = (open_model(path, RuntimeOptions("litert")) for path in (file, prefixes[-1].file))
    (wanted,), (found,) = (model.run({model.inputs[0].name: values}) for model in (whole, last))
    assert (found == wanted).all()


def test_room_that_prefixes_lack_is_said_before_any_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tflite_chain(tmp_path / "model.tflite", FC, FC)
    monkeypatch.setattr(layer_times.shutil, "disk_usage", lambda folder: SimpleNamespace(free=10))
    with pytest.raises(InputError, match="its 2 prefixes may take"):
        cut_after_each(file, tmp_path / "none")


def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two short sweeps: how long a layer takes is nothing that a test can tell."""
    monkeypatch.setattr("targets.runners.layers.SWEEPS", 2)
    monkeypatch.setattr("targets.runners.layers.RUNS", 2)


@pytest.mark.parametrize("format_name", ["onnx", "tflite"])
def test_every_layer_is_timed_in_the_order_of_computation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format_name: str
) -> None:
    few(monkeypatch)
    told: list[str] = []
    if format_name == "onnx":
        file = onnx_chain(tmp_path / "model.onnx", "MatMul", "Softmax", quantized=False)
        kinds = ["mat-mul", "softmax"]
    else:
        file = tflite_chain(tmp_path / "model.tflite", FC, SWISH, FC)
        kinds = ["fully-connected", "hard-swish", "fully-connected"]
    answer = bench_layers(file, "host", told.append)
    assert [layer["kind"] for layer in answer["layers"]][: len(kinds)] == kinds
    assert answer["source"] == "host"
    assert answer["total_ms"] == pytest.approx(sum(layer["ms"] for layer in answer["layers"]), abs=1e-3)
    assert told[1:] == (["sweep 1 of 5", "sweep 2 of 5"] if format_name == "tflite" else [])
    assert str(tmp_path) not in json.dumps(answer)


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "model.tflite"
    file.write_bytes(b"nothing of the kind")
    with pytest.raises(TargetError, match="not a TFLite model"):
        bench_layers(file, "host")


def answer(count: int) -> dict[str, Any]:
    layers = [{"name": f"a/b/layer{n};", "kind": "conv-2d", "ms": float(n - 1), "share": None} for n in range(count)]
    return {"source": "host", "layers": layers, "total_ms": 1.0}


def test_the_plot_draws_the_dearest_layers_in_their_order() -> None:
    svg = drawn(answer(DRAWN + 5), "layers")
    assert "5 shorter ones left out" in svg
    assert "conv-2d layer4<" not in svg
    assert svg.index("layer6<") < svg.index("layer7<") < svg.index(f"layer{DRAWN + 4}<")
    assert drawn(answer(3), "layers").count("too short to tell") == 2
    assert svg == drawn(answer(DRAWN + 5), "layers")


def test_a_plot_of_its_own_is_an_svg_without_the_pages_variables() -> None:
    text = standalone(drawn(answer(4), "layers"))
    assert minidom.parseString(text).documentElement.tagName == "svg"
    assert "var(" not in text


def test_a_layer_is_called_by_the_end_of_its_path() -> None:
    names = {"net/torch.nn.modules.conv.Conv2d_stem;": "Conv2d_stem", "scores": "scores", "a/b/c;x/y;1": "c", "/": "/"}
    assert {name: short_layer({"name": name}) for name in names} == names


def test_the_command_prints_a_table_and_writes_the_plot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few(monkeypatch)
    file = tflite_chain(tmp_path / "model.tflite", FC, SWISH)
    plot = tmp_path / "plots" / "layers.svg"
    done = CliRunner().invoke(app, ["bench", str(file), "--layers", "--plot", str(plot)])
    assert done.exit_code == 0
    assert "hard-swish" in done.stdout
    assert "source: host" in done.stdout
    assert minidom.parse(str(plot)).documentElement.tagName == "svg"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--layers", "--runs", "3"], "leave out --runs, --device and --tool"),
        (["--layers", "--plot", "layers.png"], "expected .svg"),
        (["--plot", "layers.svg"], "say --layers too"),
        (["--layers", "--target", "coral_dev"], "has no runtime for .onnx files"),
    ],
)
def test_options_that_do_not_go_together_are_refused(tmp_path: Path, options: list[str], words: str) -> None:
    file = onnx_chain(tmp_path / "model.onnx", "Relu", quantized=False)
    done = CliRunner().invoke(app, ["bench", str(file), *options])
    assert done.exit_code == 2
    assert words in done.output
