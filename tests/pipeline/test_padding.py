"""Padding before convolutions goes into them, and no number changes."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from pipeline.export.onnx_graph import fuse_padding as fuse_onnx
from pipeline.export.tflite_padding import fuse_padding as fuse_tflite
from pipeline.export.tflite_padding import same_padding
from pipeline.flatbuffer import read_model, write_model
from pipeline.networks import timm_body
from pipeline.quiet import quiet
from pipeline.results import ExportedFile
from targets.runtimes.base import RuntimeOptions, open_model, operators


class Padded(nn.Module):
    """Pads and convolves pixels, channels last, as a camera gives them."""

    def __init__(self, before: int, after: int, kernel: int, groups: int = 1) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.around = (before, after, before, after)
        self.layer = nn.Conv2d(4, 4, kernel, stride=2, groups=groups)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.layer(nn.functional.pad(image.permute(0, 3, 1, 2), self.around))
        return found


@pytest.mark.parametrize(
    ("before", "after", "kernel", "groups", "stays"),
    [(0, 1, 3, 1, 0), (0, 1, 3, 4, 0), (1, 2, 5, 1, 0), (1, 1, 3, 1, 1), (2, 2, 5, 1, 1)],
)
def test_tflites_own_padding_takes_the_place_of_an_operator_where_it_is_the_same(
    before: int, after: int, kernel: int, groups: int, stays: int, tmp_path: Path
) -> None:
    import litert_torch

    image = torch.rand(1, 8, 8, 4, generator=torch.Generator().manual_seed(1))
    with quiet():
        litert_torch.convert(Padded(before, after, kernel, groups).eval(), (image,)).export(str(tmp_path / "a.tflite"))
    model = read_model((tmp_path / "a.tflite").read_bytes())
    fuse_tflite(model)
    (tmp_path / "b.tflite").write_bytes(write_model(model))
    assert operators(tmp_path / "b.tflite", "litert")["pad"] == stays
    first, second = (open_model(tmp_path / name, RuntimeOptions("litert")) for name in ("a.tflite", "b.tflite"))
    fed = {first.inputs[0].name: image.numpy()}
    np.testing.assert_allclose(second.run(fed)[0], first.run(fed)[0], rtol=1e-5, atol=1e-6)


@given(st.integers(1, 60), st.integers(1, 7), st.integers(1, 4), st.integers(1, 3))
def test_same_padding_leaves_one_output_for_every_stride(size: int, kernel: int, stride: int, dilation: int) -> None:
    before, after = same_padding(size, kernel, stride, dilation)
    reach = (kernel - 1) * dilation + 1
    outputs = (size + before + after - reach) // stride + 1 if size + before + after >= reach else 0
    assert outputs == -(-size // stride)
    assert 0 <= after - before <= 1


@pytest.mark.parametrize("model", ["mobilenetv2_100", "mobilenetv4_conv_small", "tf_mobilenetv3_small_minimal_100"])
def test_students_strided_convolutions_pad_so(model: str) -> None:
    body = timm_body(model, 10, padding="same")
    strided = [layer for layer in body.modules() if isinstance(layer, nn.Conv2d) and layer.stride[0] > 1]
    assert {type(layer).__name__ for layer in strided} == {"Conv2dSame"}
    assert {layer.padding for layer in strided} == {(0, 0)}


def onnx_model(value: float, amounts: list[int], own: list[int], mode: str = "constant") -> onnx.ModelProto:
    random = np.random.default_rng(0)
    constants = [
        numpy_helper.from_array(random.random((2, 3, 3, 3), np.float32), "weight"),
        numpy_helper.from_array(np.float32(value), "value"),
        numpy_helper.from_array(np.int64(amounts), "amounts"),
    ]
    nodes = [
        helper.make_node("Pad", ["x", "amounts", "value"], ["padded"], mode=mode),
        helper.make_node("Conv", ["padded", "weight"], ["y"], pads=own, strides=[2, 2]),
    ]
    ends = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 6, 6])]
    ends.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, None))
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


@pytest.mark.parametrize(
    ("value", "amounts", "mode", "fused"),
    [
        (0, [0, 0, 0, 1, 0, 0, 1, 2], "constant", True),
        (1, [0, 0, 0, 0, 0, 0, 1, 1], "constant", False),
        (0, [0, 0, 1, 1, 0, 0, 1, 1], "reflect", False),
        (0, [0, 0, -1, 0, 0, 0, 1, 1], "constant", False),
    ],
)
def test_onnx_convolutions_pad_zeros_by_themselves(value: float, amounts: list[int], mode: str, fused: bool) -> None:
    model = onnx_model(value, amounts, [1, 0, 0, 0], mode)
    x = {"x": np.random.default_rng(1).random((1, 3, 6, 6), np.float32)}
    expected = onnxruntime.InferenceSession(model.SerializeToString()).run(None, x)[0]
    fuse_onnx(model)
    assert Counter(node.op_type for node in model.graph.node)["Pad"] == (not fused)
    found = onnxruntime.InferenceSession(model.SerializeToString()).run(None, x)[0]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_files_of_a_student_pad_nowhere(image_onnx: ExportedFile, image_tflite: ExportedFile) -> None:
    assert operators(image_onnx.file, "onnxruntime")["pad"] == 0
    assert operators(image_tflite.file, "litert")["pad"] == 0
