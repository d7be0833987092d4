"""Model files in their real runtimes: what goes in, what comes out, and what is refused."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from targets.errors import TargetError
from targets.runtimes.base import (
    RuntimeOptions,
    TensorSpec,
    open_model,
    operator_name,
    operators,
    runtime_version,
    session_settings,
)
from tests.targets.tiny_models import (
    SCALE,
    SCORE_SCALE,
    SCORE_ZERO_POINT,
    ZERO_POINT,
    expected,
    onnx_model,
    onnx_with_branches,
    tflite_model,
)

X = np.array([[0.5, -1.0, 2.0, 1.5]], dtype=np.float32)
FORMATS = [("onnxruntime", onnx_model), ("litert", tflite_model)]
both = pytest.mark.parametrize(("runtime", "write"), FORMATS, ids=["onnxruntime", "litert"])


@both
def test_a_file_computes_what_it_says_with_named_inputs_and_outputs(
    runtime: str, write: Callable[..., Path], tmp_path: Path
) -> None:
    model = open_model(write(tmp_path / "m"), RuntimeOptions(runtime))
    assert model.inputs == (TensorSpec("image", (1, 4), "float32"),)
    assert model.outputs == (TensorSpec("scores", (1, 3), "float32"),)
    (scores,) = model.run({"image": X})
    np.testing.assert_allclose(scores, expected(X), atol=1e-6)


@both
def test_eight_bit_inputs_and_outputs_carry_their_scale_and_zero_point(
    runtime: str, write: Callable[..., Path], tmp_path: Path
) -> None:
    model = open_model(write(tmp_path / "m", eight_bit=True), RuntimeOptions(runtime))
    (image,), (scores,) = model.inputs, model.outputs
    assert image == TensorSpec("image", (1, 4), "int8", SCALE, ZERO_POINT)
    assert scores == TensorSpec("scores", (1, 3), "int8", SCORE_SCALE, SCORE_ZERO_POINT)
    (stored,) = model.run({"image": image.quantize(X)})
    assert stored.dtype == np.int8
    np.testing.assert_allclose(scores.dequantize(stored), expected(X), atol=SCORE_SCALE)


@both
def test_a_file_answers_the_same_each_time_with_any_number_of_threads(
    runtime: str, write: Callable[..., Path], tmp_path: Path
) -> None:
    file = write(tmp_path / "m")
    first, second = (open_model(file, RuntimeOptions(runtime, threads)) for threads in (1, 2))
    first.run({"image": -X})
    np.testing.assert_array_equal(first.run({"image": X})[0], second.run({"image": X})[0])


@both
@pytest.mark.parametrize("content", [b"", b"not a model, only words", bytes(range(256)) * 8])
def test_a_file_that_is_no_model_is_refused_by_name(
    runtime: str, write: Callable[..., Path], content: bytes, tmp_path: Path
) -> None:
    file = tmp_path / "words.bin"
    file.write_bytes(content)
    for use in (lambda: open_model(file, RuntimeOptions(runtime)), lambda: operators(file, runtime)):
        with pytest.raises(TargetError, match=r"words\.bin.*model"):
            use()


@both
@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
def test_a_truncated_model_is_refused_by_name(
    runtime: str, write: Callable[..., Path], share: float, tmp_path: Path
) -> None:
    whole = write(tmp_path / "whole").read_bytes()
    file = tmp_path / "cut.bin"
    file.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(TargetError, match=r"cut\.bin.*model"):
        open_model(file, RuntimeOptions(runtime))


@both
def test_a_missing_file_or_a_folder_is_refused_by_name(
    runtime: str, write: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "folder").mkdir()
    for name in ("missing", "folder"):
        for use in (open_model, lambda file, options: operators(file, options.runtime)):
            with pytest.raises(TargetError, match=name):
                use(tmp_path / name, RuntimeOptions(runtime))


def test_a_file_of_the_other_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="not a TFLite model"):
        open_model(onnx_model(tmp_path / "m.onnx"), RuntimeOptions("litert"))
    with pytest.raises(TargetError, match="as an ONNX model"):
        open_model(tflite_model(tmp_path / "m.tflite"), RuntimeOptions("onnxruntime"))


@pytest.mark.parametrize(
    ("runtime", "write", "batch"), [("onnxruntime", onnx_model, "batch"), ("litert", tflite_model, -1)]
)
def test_an_input_of_dynamic_shape_is_refused(
    runtime: str, write: Callable[..., Path], batch: int | str, tmp_path: Path
) -> None:
    with pytest.raises(TargetError, match=r"input 'image' has shape \[.*static"):
        open_model(write(tmp_path / "m", batch=batch), RuntimeOptions(runtime))


@pytest.mark.parametrize("scale", ["0", "-1.0", "nan", "inf", "a quarter"])
def test_onnx_metadata_with_an_impossible_scale_is_refused(scale: str, tmp_path: Path) -> None:
    file = onnx_model(tmp_path / "m.onnx", eight_bit=True, metadata={"edgepress.scale.image": scale})
    with pytest.raises(TargetError, match=r"'image'.*positive number"):
        open_model(file, RuntimeOptions("onnxruntime"))


def test_a_tflite_file_without_signature_uses_its_tensors_names(tmp_path: Path) -> None:
    model = open_model(tflite_model(tmp_path / "m.tflite", signature=False), RuntimeOptions("litert"))
    assert [spec.name for spec in (*model.inputs, *model.outputs)] == ["serving_image:0", "softmax:0"]
    np.testing.assert_allclose(model.run({"serving_image:0": X})[0], expected(X), atol=1e-6)


def test_operators_of_both_formats_have_the_same_names(tmp_path: Path) -> None:
    onnx = operators(onnx_model(tmp_path / "m.onnx", hard_swish=True), "onnxruntime")
    tflite = operators(tflite_model(tmp_path / "m.tflite", hard_swish=True), "litert")
    assert onnx == {"hard-swish": 1, "gemm": 1, "softmax": 1}
    assert tflite == {"hard-swish": 1, "fully-connected": 1, "softmax": 1}


def test_operators_inside_branches_are_counted(tmp_path: Path) -> None:
    assert operators(onnx_with_branches(tmp_path / "m.onnx"), "onnxruntime") == {"if": 1, "relu": 1, "sigmoid": 1}


@pytest.mark.parametrize(
    ("given_name", "name"),
    [
        ("HardSwish", "hard-swish"),
        ("HARD_SWISH", "hard-swish"),
        ("Conv", "conv"),
        ("CONV_2D", "conv-2d"),
        ("QLinearConv", "q-linear-conv"),
        ("GatherND", "gather-nd"),
        ("LSTM", "lstm"),
        ("edgetpu-custom-op", "edgetpu-custom-op"),
    ],
)
def test_operator_names_are_normalised(given_name: str, name: str) -> None:
    assert operator_name(given_name) == name


@given(st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,20}", fullmatch=True))
def test_a_normalised_operator_name_stays_as_it_is(name: str) -> None:
    normalised = operator_name(name)
    assert normalised == normalised.lower()
    assert "_" not in normalised
    assert operator_name(normalised) == normalised


@given(
    st.floats(-1e4, 1e4, allow_subnormal=False),
    st.floats(1e-3, 10),
    st.integers(-128, 127),
    st.sampled_from(["int8", "uint8"]),
)
def test_quantized_values_come_back_within_half_a_step_or_saturate(
    value: float, scale: float, zero_point: int, dtype: str
) -> None:
    spec = TensorSpec("x", (1,), dtype, scale, zero_point + (128 if dtype == "uint8" else 0))
    limits = np.iinfo(dtype)
    low, high = ((limit - spec.zero_point) * scale for limit in (limits.min, limits.max))
    stored = spec.quantize(np.array([value], dtype=np.float64))
    assert stored.dtype == np.dtype(dtype)
    back = float(spec.dequantize(stored)[0])
    nearest = min(max(value, low), high)
    assert abs(back - nearest) <= scale / 2 * 1.001 + 1e-5 * abs(nearest)


def test_onnxruntime_gets_the_session_options_that_ship(tmp_path: Path) -> None:
    options = RuntimeOptions("onnxruntime", threads=3)
    session_options = open_model(onnx_model(tmp_path / "m.onnx"), options)._session.get_session_options()
    assert (session_options.intra_op_num_threads, session_options.inter_op_num_threads) == (3, 1)
    spinning = session_options.get_session_config_entry("session.intra_op.allow_spinning")
    said = session_settings(options)
    assert f"allow_spinning {spinning}" in said
    assert "intra_op_num_threads 3" in said


def test_versions_of_both_runtimes_are_known() -> None:
    assert all(runtime_version(name)[0].isdigit() for name in ("onnxruntime", "litert"))


def test_a_runtime_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("onnxruntime", "ai_edge_litert.interpreter"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(TargetError, match="pip install onnxruntime"):
        runtime_version("onnxruntime")
    with pytest.raises(TargetError, match="pip install ai-edge-litert"):
        runtime_version("litert")


@both
def test_opening_a_model_prints_nothing_and_leaves_stderr_usable(
    runtime: str, write: Callable[..., Path], tmp_path: Path
) -> None:
    program = (
        "import os; from pathlib import Path; from targets.runtimes.base import RuntimeOptions, open_model; "
        f"open_model(Path({str(write(tmp_path / 'm'))!r}), RuntimeOptions({runtime!r})); os.write(2, b'mine')"
    )
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": root}
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "mine")
