"""Changes to TFLite graphs that keep every number and spare XNNPACK work."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.context import RunContext
from pipeline.flatbuffer import read_model
from pipeline.quantize.tflite import GROUPING, quantize_tflite
from pipeline.quantize.tflite_kernels import COLUMNS, group_first_columns
from pipeline.results import Calibration, ExportedFile, PreparedData
from targets.profile import Quantization
from targets.runtimes.base import RuntimeOptions, open_model

STATIC = Quantization(scheme="int8-static")


def quantized(layers: nn.Module, shape: tuple[int, ...], file: Path) -> bytes:
    """`layers`, which take pixels channels last, in static 8 bits by random samples."""
    import litert_torch
    from ai_edge_quantizer import quantizer, recipe

    torch.manual_seed(0)
    moved = litert_torch.to_channel_last_io(layers.eval(), args=[0])
    litert_torch.convert(moved, (torch.rand(shape),)).export(str(file))
    tool = quantizer.Quantizer(str(file))
    tool.load_quantization_recipe(recipe.static_wi8_ai8())
    (name,) = (given.name for given in open_model(file, RuntimeOptions("litert")).inputs)
    random = np.random.default_rng(0)
    samples = [{name: random.random(shape, dtype=np.float32)} for _ in range(4)]
    content: bytes = tool.quantize(tool.calibrate({"serving_default": samples})).quantized_model
    return bytes(content)


def outputs(content: bytes, file: Path) -> np.ndarray:
    file.write_bytes(content)
    model = open_model(file, RuntimeOptions("litert"))
    (given,) = model.inputs
    random = np.random.default_rng(1)
    inputs = [given.quantize(random.random(given.shape, dtype=np.float32)) for _ in range(5)]
    return np.stack([model.run({given.name: pixels})[0] for pixels in inputs])


def shapes_of_weights(content: bytes) -> list[tuple[int, ...]]:
    model = read_model(content)
    tensors = model.subgraphs[0].tensors
    return [
        tuple(tensor.shape)
        for tensor in tensors
        if len(tensor.shape) == 4 and model.buffers[tensor.buffer].data is not None
    ]


@pytest.mark.parametrize(("channels", "kernel", "padding"), [(3, 3, 1), (3, 5, 2), (2, 3, 0), (3, 3, (0, 1))])
def test_the_first_convolution_goes_by_groups_of_columns_and_every_number_stays(
    channels: int, kernel: int, padding: Any, tmp_path: Path
) -> None:
    ends: list[nn.Module] = []
    if isinstance(padding, tuple):  # before and after: as SAME pads
        ends, padding = [nn.ZeroPad2d((*padding, *padding))], 0
    elif padding == 0:
        ends = [nn.ZeroPad2d((2, 0, 2, 0))]  # two columns to the left
    layers = nn.Sequential(*ends, nn.Conv2d(channels, 8, kernel, 2, padding), nn.ReLU6(), nn.Conv2d(8, 4, 1))
    before = quantized(layers, (1, 16, 24, channels), tmp_path / "float.tflite")
    after = group_first_columns(before)
    wide = [shape for shape in shapes_of_weights(after) if shape[0] == 16]
    assert [shape[3] for shape in wide] == [COLUMNS * channels]
    found = outputs(after, tmp_path / "after.tflite")
    assert len(np.unique(found)) > 10
    assert np.array_equal(found, outputs(before, tmp_path / "before.tflite"))


@pytest.mark.parametrize(
    ("layers", "shape"),
    [
        (nn.Conv2d(3, 8, 3, 1, 1), (1, 16, 16, 3)),  # of stride 1
        (nn.Conv2d(4, 8, 3, 2, 1), (1, 16, 16, 4)),  # of channels enough
        (nn.Conv2d(3, 8, 3, 2, 1), (1, 16, 18, 3)),  # of columns that leave a rest
    ],
)
def test_another_first_convolution_stays(layers: nn.Module, shape: tuple[int, ...], tmp_path: Path) -> None:
    content = quantized(nn.Sequential(layers, nn.ReLU()), shape, tmp_path / "float.tflite")
    assert group_first_columns(content) == content


def test_files_go_by_columns_for_processors_that_gain_by_it(
    image_calibration: Calibration, image_tflite: ExportedFile, digits: PreparedData, session_context: RunContext
) -> None:
    files = [
        quantize_tflite(image_tflite, digits, STATIC, image_calibration, session_context, isa=isa).file.read_bytes()
        for isa in (("neon",), (GROUPING,))
    ]
    assert group_first_columns(files[0]) == files[1]
    assert files[0] != files[1]
