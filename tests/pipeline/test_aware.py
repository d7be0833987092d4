"""A student that computes in 8 bits while it learns computes what its files will, and they get what it learned."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.aware.biases import correct_biases
from pipeline.aware.fold import fold, normalised_convolutions
from pipeline.aware.ranges import learned_ranges
from pipeline.aware.repair import repair
from pipeline.aware.rounding import RoundedNetwork, round_values, round_weight, rounding_places
from pipeline.aware.start import folded
from pipeline.aware.train import train_aware
from pipeline.context import RunContext
from pipeline.errors import InputError
from pipeline.export.onnx import export_onnx
from pipeline.export.tflite import export_tflite
from pipeline.networks import build_network, example_inputs, load_network
from pipeline.quantize.onnx import quantize_onnx
from pipeline.quantize.tflite import quantize_tflite
from pipeline.results import NetworkResult, PreparedData
from pipeline.settings.distill import DistillSettings
from pipeline.settings.release import AwareSettings, QuantizeSettings
from targets.profile import Quantization
from tests.pipeline.quantized import FEW, activation_scales, calibrated, likeness, scores_of

STATIC = Quantization(scheme="int8-static")
CORRECTED = QuantizeSettings(correct_biases=True)
DISTILLING = DistillSettings(mode="online", batch_size=32)


@pytest.fixture(scope="module")
def aware(image_student: NetworkResult, digits: PreparedData, session_context: RunContext) -> NetworkResult:
    settings = AwareSettings(epochs=1, learning_rate=1e-3)
    return train_aware(digits, image_student, image_student, None, settings, DISTILLING, session_context)


def images(count: int = 4) -> torch.Tensor:
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 255


@pytest.mark.parametrize("model", ["mobilenetv2_050", "mobilenetv3_small_050", "mobilenetv4_conv_small_050"])
def test_a_folded_network_computes_the_same_without_normalisation(model: str) -> None:
    torch.manual_seed(0)
    mean, std = [120.0] * 3, [60.0] * 3
    architecture = {"kind": "timm", "model": model, "classes": 7, "mean": mean, "std": std}
    network = build_network(architecture).train()
    for _ in range(3):
        network(images(8))  # running statistics that are not those at the start
    network.eval()
    expected = network(images())
    pairs = normalised_convolutions(network, (images(),))
    fold(network, pairs)
    assert not [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    torch.testing.assert_close(network(images()), expected, rtol=1e-3, atol=1e-4)
    again = build_network({**architecture, "folded": pairs}).eval()
    again.load_state_dict(network.state_dict())
    torch.testing.assert_close(again(images()), network(images()))


def test_weights_are_rounded_as_torch_rounds_them_and_let_gradients_through() -> None:
    weight = torch.randn(5, 3, 3, 3, requires_grad=True)
    scale = weight.detach().abs().amax(dim=(1, 2, 3)) / 127
    expected = torch.fake_quantize_per_channel_affine(
        weight.detach(), scale, torch.zeros(5, dtype=torch.int32), 0, -127, 127
    )
    rounded = round_weight(weight)
    torch.testing.assert_close(rounded, expected)
    rounded.sum().backward()
    assert torch.equal(weight.grad, torch.ones_like(weight))


def test_values_and_their_gradients_are_those_of_torchs_learned_rounding() -> None:
    values = (torch.randn(64) * 2).requires_grad_()
    scale, zero = torch.tensor([0.01], requires_grad=True), torch.tensor([100.0])
    other, its_scale = values.detach().clone().requires_grad_(), scale.detach().clone().requires_grad_()
    share = 1 / (64 * 255) ** 0.5
    expected = torch._fake_quantize_learnable_per_tensor_affine(other, its_scale, zero, 0, 255, share)
    found = round_values(values, scale, zero)
    torch.testing.assert_close(found, expected)
    (found**2).sum().backward()
    (expected**2).sum().backward()
    torch.testing.assert_close(values.grad, other.grad)
    torch.testing.assert_close(scale.grad, its_scale.grad)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)
        self.relu, self.last = nn.ReLU6(inplace=True), nn.Linear(4, 2)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.relu(self.first((image - 120) * 0.02))  # places 0, 1; arithmetic on pixels is none
        y = self.second(x)  # place 2
        z = x + y  # place 3, with a term that a ReLU gives
        z = z + self.third(z)  # places 4, 5
        return self.last(self.relu(y + z).mean((2, 3)))  # places 6, 7, 8, 9, the sum in one with its ReLU


def test_a_network_rounds_behind_activations_sums_and_means_and_not_before_a_relu() -> None:
    places, _ = rounding_places(Residual(), (images(),))
    assert places == [1, 2, 3, 4, 5, 7, 8, 9]


def test_a_sum_and_its_terms_learn_one_scale_but_where_a_relu_cuts() -> None:
    places, alike = rounding_places(Residual(), (images(),))
    assert alike == [frozenset({3, 4, 5})]
    low, high = torch.linspace(-1, -2, len(places)), torch.linspace(1, 4, len(places))
    rounded = RoundedNetwork(Residual(), places, low, high, alike=alike)
    rounded(images()).sum().backward()
    with torch.no_grad():
        rounded.log_scale -= rounded.log_scale.grad.sign() * 0.01
    ends = torch.stack(rounded.ranges, 1)
    kept = {place: ends[rounded.where[place]].tolist() for place in places}
    assert kept[3] == kept[4] == kept[5]
    assert len({tuple(pair) for pair in kept.values()}) == len(places) - 2


def test_a_rounded_network_gives_levels_and_learns_their_distance(digits: PreparedData) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    rounded = RoundedNetwork(network, [1], torch.tensor([0.0]), torch.tensor([2.55]))
    output = rounded(images() / 255)
    levels = output / 0.01
    torch.testing.assert_close(levels, levels.round(), atol=1e-3, rtol=0)
    assert output.max() <= 2.55 + 1e-6
    output.sum().backward()
    assert rounded.log_scale.grad is not None
    assert rounded.log_scale.grad.abs().sum() > 0


def test_corrected_biases_give_each_channel_its_mean_back() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3)).eval()
    pixels = (images(64) / 255,)
    # A few coarse levels within the layers: rounding shifts the means.
    rounded = RoundedNetwork(network, [1, 3], torch.tensor([0.0, 0.0]), torch.tensor([40.0, 40.0]))
    with torch.no_grad():
        expected = network(*pixels).mean((0, 2, 3))
        before = (rounded(*pixels).mean((0, 2, 3)) - expected).abs().max()
        assert correct_biases(rounded, pixels) > 0
        after = (rounded(*pixels).mean((0, 2, 3)) - expected).abs().max()
    assert after < before / 3


def test_the_files_of_both_formats_get_the_learned_ranges(
    aware: NetworkResult, digits: PreparedData, session_context: RunContext
) -> None:
    assert aware.ranges_file is not None
    learned = json.loads(aware.ranges_file.read_text())
    onnx = export_onnx(digits, aware, 20, None, session_context)
    tflite = export_tflite(digits, aware, None, session_context)
    calibration = calibrated(onnx, digits, aware, session_context, samples=FEW)
    rows = digits.rows("train")[:3]
    assert learned_ranges(aware, digits, rows, {}) == {}
    wanted = np.array([(high - low) / 255 for low, high in learned.values()])
    files = [
        quantize_onnx(onnx, digits, STATIC, calibration, (), session_context),
        quantize_tflite(tflite, digits, STATIC, calibration, session_context),
    ]
    for file in files:
        scales = activation_scales(file)
        there = [scale for scale in wanted if np.min(np.abs(scales - scale)) < 1e-4 * scale]
        assert len(there) >= 0.95 * len(wanted)
    assert likeness(scores_of(files[0], digits), scores_of(files[1], digits)) > 0.95


def test_the_rounded_network_says_what_the_file_says(
    aware: NetworkResult, digits: PreparedData, session_context: RunContext
) -> None:
    assert aware.ranges_file is not None
    learned = json.loads(aware.ranges_file.read_text())
    ends = torch.tensor(list(learned.values()))
    network = load_network(aware)
    rounded = RoundedNetwork(network, [int(place) for place in learned], ends[:, 0], ends[:, 1]).eval()
    onnx = export_onnx(digits, aware, 20, None, session_context)
    calibration = calibrated(onnx, digits, aware, session_context, samples=FEW)
    scores = scores_of(quantize_onnx(onnx, digits, STATIC, calibration, (), session_context), digits)
    rows = digits.rows("test")
    pixels = torch.from_numpy(np.ascontiguousarray(digits.inputs[rows])).permute(0, 3, 1, 2).float()
    with torch.no_grad():
        said, in_float = rounded(pixels).softmax(1).numpy(), network(pixels).softmax(1).numpy()
    assert likeness(said, scores) > max(0.95, likeness(in_float, scores))


def test_a_repaired_student_has_other_biases_and_the_same_structure(
    image_student: NetworkResult, digits: PreparedData, session_context: RunContext
) -> None:
    repaired = repair(digits, image_student, CORRECTED, session_context)
    network, _ = folded(image_student, digits)
    for (name, before), (other, after) in zip(
        network.named_parameters(), load_network(repaired).named_parameters(), strict=True
    ):
        assert name == other
        assert torch.equal(before, after) == (not name.endswith("bias"))
    assert repaired.ranges_file is None
    assert "biases corrected" in repaired.notes[-1]


def test_texts_are_refused(
    text_student: NetworkResult, reviews: PreparedData, context: RunContext, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="dynamic INT8"):
        train_aware(reviews, text_student, text_student, None, AwareSettings(), DISTILLING, context)
    with pytest.raises(InputError, match="convolutional"):
        repair(reviews, text_student, CORRECTED, context)
    assert not example_inputs(reviews)[0].is_floating_point()
