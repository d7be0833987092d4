"""Weights that learned which way to round give what they gave in float, and files round them no further."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils
from torch import Tensor, nn

from pipeline.aware import adaround
from pipeline.aware.adaround import learn_rounding
from pipeline.aware.layer_samples import layer_samples
from pipeline.aware.repair import repair
from pipeline.aware.rounding import GRANULARITIES, Granularity, RoundedNetwork, round_weight, weight_scale
from pipeline.aware.start import folded
from pipeline.context import RunContext
from pipeline.errors import InputError
from pipeline.export.onnx import export_onnx
from pipeline.export.tflite import export_tflite
from pipeline.networks import load_network
from pipeline.quantize.onnx import quantize_onnx
from pipeline.quantize.tflite import quantize_tflite
from pipeline.results import ExportedFile, NetworkResult, PreparedData
from pipeline.settings.release import QuantizeSettings
from targets.profile import Quantization
from tests.pipeline.quantized import FEW, calibrated

ALL = QuantizeSettings(equalize=True, round="adaround", correct_biases=True)


def images(count: int = 64, seed: int = 0) -> Tensor:
    """Smooth, so that neighbours go together as pixels do."""
    noise = torch.rand(count, 3, 6, 6, generator=torch.Generator().manual_seed(seed))
    return nn.functional.interpolate(noise, (12, 12), mode="bilinear")


def chunks(pixels: Tensor) -> Iterator[tuple[Tensor, ...]]:
    return ((part,) for part in pixels.split(16))


def unrounded(network: nn.Module) -> RoundedNetwork:
    """Activations stay as they are."""
    return RoundedNetwork(network, [], torch.empty(0), torch.empty(0))


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.Conv2d(3, 6, 3, padding=2, dilation=2, groups=3, bias=False),
        nn.Conv2d(3, 3, 5, padding=(2, 1), groups=3),
        nn.Conv2d(3, 4, 1),
    ],
)
def test_what_a_convolution_takes_and_gives_at_a_position_belongs_together(layer: nn.Conv2d) -> None:
    network = nn.Sequential(layer, nn.ReLU6())
    with torch.no_grad():
        layer.weight.copy_(round_weight(layer.weight))  # on its levels: rounding changes nothing
    found = layer_samples(
        layer, 0, 1, unrounded(network), network, chunks(images(20)), 7, torch.Generator(), lambda count: None
    )
    weight, groups = layer.weight.detach(), layer.groups
    assert found.taken.shape == (20 * 7, groups, weight[0].numel())
    given = torch.einsum("ngk,gok->ngo", found.taken, weight.flatten(1).unflatten(0, (groups, -1))).flatten(1)
    given = given + (0 if layer.bias is None else layer.bias.detach())
    torch.testing.assert_close(given.clamp(0, 6), found.wanted)


def small_network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 12, 3, padding=1, groups=12), nn.ReLU6(),
        nn.Conv2d(12, 6, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4),
    ).eval()  # fmt: skip


def learned(granularity: Granularity, seed: int = 0) -> tuple[nn.Sequential, list[adaround.LearnedLayer]]:
    network = small_network()
    rounded = RoundedNetwork(network, [], torch.empty(0), torch.empty(0), granularity)
    seen: list[int] = []
    found = learn_rounding(rounded, small_network(), lambda: chunks(images()), 64, seed, seen.append)
    assert sum(seen) == 4 * 64
    return network, found


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_weights_go_to_a_level_beside_them_and_outputs_come_nearer(granularity: Granularity) -> None:
    network, found = learned(granularity)
    assert [layer.name for layer in found] == ["0", "2", "4", "7"]
    nearest = small_network()
    for (name, before), after in zip(small_network().named_parameters(), network.parameters(), strict=True):
        if name.endswith("bias"):
            assert torch.equal(before, after)
            continue
        scale = weight_scale(before, granularity)
        torch.testing.assert_close(weight_scale(after, granularity), scale)
        levels = after / scale
        torch.testing.assert_close(levels, levels.round(), atol=1e-3, rtol=0)
        assert ((after - before).abs() <= scale * 1.001).all()
        nearest.get_parameter(name).data = round_weight(before, granularity)
    pixels = images(64, seed=1)
    with torch.no_grad():
        wanted = small_network()(pixels)
        error = (network(pixels) - wanted).square().mean()
        assert error < 0.7 * (nearest(pixels) - wanted).square().mean()
    assert any(layer.kept for layer in found)
    assert all(layer.fall > 0 for layer in found if layer.kept)


def test_the_same_seed_learns_the_same_rounding() -> None:
    first, second, other = (learned("per-channel", seed)[0] for seed in (0, 0, 1))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))


def test_a_layer_that_learned_nothing_better_goes_to_the_nearest_levels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adaround, "RATE", 50.0)  # every step throws the weights from one side to the other
    monkeypatch.setattr(adaround, "STEPS", 3)
    network, found = learned("per-channel")
    assert not any(layer.kept for layer in found)
    assert {layer.fall for layer in found} == {0.0}
    for (name, before), after in zip(small_network().named_parameters(), network.parameters(), strict=True):
        assert torch.equal(after, round_weight(before) if name.endswith("weight") else before)


def stored_weights(file: ExportedFile) -> list[np.ndarray]:
    """The int8 constants of a file as torch lays them out, [outputs, inputs of a group, ...]."""
    if file.format == "onnx":
        constants = [onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(str(file.file)).graph.initializer]
        weights = [values for values in constants if values.dtype == np.int8 and values.ndim > 1]
        # Colours have a channel of zeros beside them.
        return [
            values[:, :3] if values.shape[1:] == (4, 3, 3) and not values[:, 3].any() else values for values in weights
        ]
    model = flatbuffer_utils.read_model(str(file.file))
    graph, found = model.subgraphs[0], []
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex].builtinCode
        if code not in (
            schema.BuiltinOperator.CONV_2D,
            schema.BuiltinOperator.DEPTHWISE_CONV_2D,
            schema.BuiltinOperator.FULLY_CONNECTED,
        ):
            continue
        tensor = graph.tensors[operator.inputs[1]]
        values = np.frombuffer(model.buffers[tensor.buffer].data, np.int8).reshape(tensor.shape)
        if code == schema.BuiltinOperator.DEPTHWISE_CONV_2D:
            values = values.transpose(3, 0, 1, 2)
        elif code == schema.BuiltinOperator.CONV_2D:
            values = values.transpose(0, 3, 1, 2)
        found.append(values)
    return found


def levels_of(network: nn.Module, granularity: Granularity) -> dict[str, np.ndarray]:
    layers = {n: m for n, m in network.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear))}
    return {
        name: torch.round(layer.weight / weight_scale(layer.weight, granularity)).detach().numpy().astype(np.int8)
        for name, layer in layers.items()
    }


def holds(stored: list[np.ndarray], levels: np.ndarray) -> bool:
    """Depthwise and 1 x 1 kernels are stored in several shapes."""
    return any(
        values.size == levels.size and (values.reshape(levels.shape) == levels).all()
        for values in (*stored, *(values.T for values in stored if values.ndim == 2))
    )


@pytest.fixture(scope="module")
def repaired(image_student: NetworkResult, digits: PreparedData, session_context: RunContext) -> Any:
    """Repaired in every way, with short learning, by granularity."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adaround, "STEPS", 40)
        yield {weights: repair(digits, image_student, ALL, session_context, weights) for weights in GRANULARITIES}


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_both_files_hold_the_very_levels_that_were_learned(
    repaired: dict[Granularity, NetworkResult],
    granularity: Granularity,
    digits: PreparedData,
    session_context: RunContext,
) -> None:
    student = repaired[granularity]
    scheme = Quantization(scheme="int8-static", granularity=granularity)
    exported = export_onnx(digits, student, 20, None, session_context)
    calibration = calibrated(exported, digits, student, session_context, samples=FEW)
    files = [
        quantize_onnx(exported, digits, scheme, calibration, (), session_context),
        quantize_tflite(export_tflite(digits, student, None, session_context), digits, scheme, calibration,
                        session_context),
    ]  # fmt: skip
    wanted = levels_of(load_network(student), granularity)
    assert len(wanted) > 50
    for file in files:
        stored = stored_weights(file)
        assert [name for name, levels in wanted.items() if not holds(stored, levels)] == []


def test_repairs_go_together_and_are_told(
    repaired: dict[Granularity, NetworkResult], image_student: NetworkResult, digits: PreparedData
) -> None:
    student = repaired["per-channel"]
    assert student.name == f"{image_student.name}, equalized, rounded by AdaRound, biases corrected"
    pairs, rounding, biases = student.notes[-3:]
    assert pairs.startswith("36 pairs of convolutions equalized")
    assert "rounding of" in rounding
    assert "biases corrected" in biases
    assert repaired["per-tensor"].fingerprint != student.fingerprint
    plain, _ = folded(image_student, digits)
    assert levels_of(plain, "per-channel").keys() == levels_of(load_network(student), "per-channel").keys()


def test_a_repair_is_made_anew_only_for_other_settings(
    repaired: dict[Granularity, NetworkResult],
    image_student: NetworkResult,
    digits: PreparedData,
    session_context: RunContext,
) -> None:
    again = repair(digits, image_student, ALL.model_copy(), session_context)
    assert again == repaired["per-channel"]
    other = replace(image_student, fingerprint="another student")
    less = QuantizeSettings(equalize=True)
    made = {
        repair(digits, s, less, session_context, g).fingerprint for s in (image_student, other) for g in GRANULARITIES
    }
    assert len(made | {result.fingerprint for result in repaired.values()}) == 6


def test_texts_are_refused(text_student: NetworkResult, reviews: PreparedData, context: RunContext) -> None:
    with pytest.raises(InputError, match=r"quantize\.equalize, round, correct_biases: .* convolutional"):
        repair(reviews, text_student, ALL, context)
