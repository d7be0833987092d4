from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torchvision
from torch import nn

from pipeline.errors import InputError
from pipeline.metrics import accuracy
from pipeline.networks import (
    ImageNetwork,
    body_shapes,
    build_network,
    count_macs,
    count_parameters,
    example_inputs,
    load_network,
    reshape_body,
    save_network,
    timm_body,
)
from pipeline.results import NetworkResult, PreparedData
from pipeline.students.squeezenet import SqueezeNet
from pipeline.weights import load_image_weights

MOBILENET = {
    "kind": "timm", "model": "mobilenetv2_100", "width": 0.35, "classes": 10, "input_size": None,
    "mean": [127.5] * 3, "std": [127.5] * 3,
}  # fmt: skip
BERT = {
    "kind": "transformers",
    "config": {
        "model_type": "bert", "vocab_size": 30522, "hidden_size": 32, "num_hidden_layers": 2,
        "num_attention_heads": 4, "intermediate_size": 64, "max_position_embeddings": 32,
    },
    "labels": ["negative", "positive"],
}  # fmt: skip


def described(network: nn.Module, architecture: dict[str, object], folder: Path) -> NetworkResult:
    save_network(network, folder / "model.safetensors")
    return NetworkResult(
        fingerprint="0", role="student", name="small", checkpoint_file=folder / "model.safetensors",
        architecture=architecture, parameters=0, macs=None, accuracy=accuracy(np.eye(2), np.arange(2)),
        test_logits_file=folder / "none.npy", validation_accuracy=0.0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("model", "width", "published"),
    [
        ("mobilenetv2_100", 0.5, "mobilenetv2_050"),
        ("mobilenetv3_small_100", 0.75, "mobilenetv3_small_075"),
        ("mobilenetv3_large_100", 0.75, "mobilenetv3_large_075"),
        ("mobilenetv4_conv_small", 0.5, "mobilenetv4_conv_small_050"),
        ("tf_efficientnet_lite0", 1.0, "efficientnet_lite0"),
    ],
)
def test_a_width_gives_the_network_that_timm_publishes_for_it(model: str, width: float, published: str) -> None:
    ours, theirs = timm_body(model, 10, width), timm.create_model(published, num_classes=10)
    assert [p.shape for p in ours.parameters()] == [p.shape for p in theirs.parameters()]


@pytest.mark.parametrize(
    "model", ["mobilenetv2_100", "mobilenetv3_small_100", "tf_efficientnet_lite0", "tf_efficientnet_lite2"]
)
def test_any_width_scales_parameters_and_work(model: str) -> None:
    image = (torch.zeros(1, 3, 32, 32),)
    bodies = [timm_body(model, 10, width) for width in (0.3, 0.6, 0.9)]
    assert sorted(counts := [count_parameters(body) for body in bodies]) == counts
    assert counts[0] < 0.5 * counts[2]
    assert sorted(macs := [count_macs(body, image) for body in bodies]) == macs


def test_a_width_just_off_one_is_nearly_the_network_that_is_published() -> None:
    """Of a network that is wider and deeper than the first of its family by itself."""
    ours, theirs = timm_body("tf_efficientnet_lite2", 10, 1.0001), timm_body("tf_efficientnet_lite2", 10)
    assert [p.shape for p in ours.parameters()] == [p.shape for p in theirs.parameters()]


def test_squeezenet_is_torchvisions_and_takes_its_weights(tmp_path: Path) -> None:
    theirs = torchvision.models.squeezenet1_1().eval()
    torch.save(theirs.state_dict(), tmp_path / "squeezenet.pth")
    mine = SqueezeNet(1000).eval()
    load_image_weights(mine, "squeezenet1_1", str(tmp_path / "squeezenet.pth"), train=False)
    assert count_parameters(mine) == 1_235_496  # as torchvision tells it
    image = torch.rand(1, 3, 64, 64)
    found = mine.classifier[:2](mine.features(image)).relu().mean((2, 3))
    torch.testing.assert_close(found, theirs(image))
    assert (mine(image) < 0).any()


def test_squeezenet_takes_any_width() -> None:
    counts = [count_parameters(SqueezeNet(10, width)) for width in (0.25, 0.5, 1.0, 1.5)]
    assert sorted(counts) == counts
    assert all(layer.out_channels % 8 == 0 for layer in SqueezeNet(8, 0.3).modules() if isinstance(layer, nn.Conv2d))


def test_a_random_network_begins_unsure(digits: PreparedData) -> None:
    """Confident answers before the first step would be wrong ones, to be unlearned."""
    network = build_network({**MOBILENET, "model": "tf_efficientnet_lite0", "width": 1.0})
    pixels = torch.from_numpy(digits.inputs[:32].copy()).permute(0, 3, 1, 2).float()
    loss = nn.functional.cross_entropy(network(pixels), torch.from_numpy(digits.targets[:32]))
    assert loss.item() == pytest.approx(np.log(10), rel=0.1)


def test_an_unknown_model_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(InputError, match=r"unknown image model 'mobilnetv2_100': did you mean 'mobilenetv2_100'"):
        build_network({**MOBILENET, "model": "mobilnetv2_100"})


def test_a_width_is_refused_where_the_family_has_none() -> None:
    with pytest.raises(InputError, match="has no width to set"):
        timm_body("resnet18", 10, 0.5)


def test_images_are_normalised_inside() -> None:
    network = build_network({**MOBILENET, "mean": [120.0, 110.0, 100.0], "std": [60.0, 50.0, 40.0]}).eval()
    pixels = torch.randint(0, 256, (2, 3, 32, 32)).float()
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ([120.0, 110.0, 100.0], [60.0, 50.0, 40.0]))
    torch.testing.assert_close(network(pixels), network.body((pixels - mean) / std))


def test_equal_channels_are_normalised_by_one_number() -> None:
    network = ImageNetwork(nn.Identity(), [127.5] * 3, [127.5] * 3)
    assert network.mean.numel() == 1
    ends = network(torch.tensor([0.0, 255.0]).view(1, 1, 1, 2))
    torch.testing.assert_close(ends.flatten(), torch.tensor([-1.0, 1.0]))


def test_images_of_another_size_are_resized_inside() -> None:
    network = ImageNetwork(nn.Identity(), [0.0] * 3, [1.0] * 3, input_size=48)
    assert network(torch.full((2, 3, 32, 32), 7.0)).shape == (2, 3, 48, 48)
    torch.testing.assert_close(network(torch.full((1, 3, 32, 32), 7.0)), torch.full((1, 3, 48, 48), 7.0))


def test_a_saved_network_loads_in_evaluation_mode_with_the_same_logits(tmp_path: Path, digits: PreparedData) -> None:
    network = build_network(MOBILENET)
    network(torch.rand(8, 3, 32, 32) * 255)  # moves the statistics away from their start
    loaded = load_network(described(network, MOBILENET, tmp_path))
    assert not loaded.training
    inputs = example_inputs(digits)
    assert torch.equal(loaded(*inputs), network.eval()(*inputs))


def test_a_saved_text_network_loads_with_the_same_logits(tmp_path: Path, reviews: PreparedData) -> None:
    network = build_network(BERT).eval()
    loaded = load_network(described(network, BERT, tmp_path))
    inputs = example_inputs(reviews)
    assert torch.equal(loaded(*inputs), network(*inputs))
    assert loaded.transformer.config.id2label == {0: "negative", 1: "positive"}


def test_saving_twice_writes_the_same_bytes(tmp_path: Path) -> None:
    network = build_network(MOBILENET)
    for name in "ab":
        save_network(network, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("damage", ["truncated", "missing", "of another network"])
def test_a_damaged_checkpoint_is_refused(tmp_path: Path, damage: str) -> None:
    result = described(build_network(MOBILENET), MOBILENET, tmp_path)
    if damage == "truncated":
        result.checkpoint_file.write_bytes(result.checkpoint_file.read_bytes()[:-1000])
    elif damage == "missing":
        result.checkpoint_file.unlink()
    else:
        result = replace(result, architecture={**MOBILENET, "width": 0.5})
    with pytest.raises(InputError, match=r"model\.safetensors: not the weights of small"):
        load_network(result)


def test_a_pruned_structure_is_built_again(tmp_path: Path) -> None:
    shapes = body_shapes(timm_body("mobilenetv2_100", 10, 0.75))
    network = build_network({**MOBILENET, "width": 1.0, "shapes": shapes})
    assert body_shapes(network.body) == shapes
    narrow = build_network({**MOBILENET, "width": 0.75})
    network.load_state_dict(narrow.state_dict())
    image = torch.rand(1, 3, 32, 32) * 255
    torch.testing.assert_close(network.eval()(image), narrow.eval()(image))


def test_reshaping_to_the_same_shapes_keeps_the_weights() -> None:
    body = timm_body("mobilenetv2_100", 10, 0.25)
    before = {name: tensor.clone() for name, tensor in body.state_dict().items()}
    reshape_body(body, body_shapes(body))
    assert all(torch.equal(tensor, before[name]) for name, tensor in body.state_dict().items())


def test_an_image_example_is_a_batch_of_one_of_raw_pixels(digits: PreparedData) -> None:
    (image,) = example_inputs(digits)
    row = digits.rows("test")[0]
    assert image.dtype == torch.float32
    assert np.array_equal(image[0].permute(1, 2, 0).numpy(), digits.inputs[row])


@pytest.mark.parametrize("length", [8, 32, 40])
def test_a_text_example_is_cut_or_padded_and_keeps_its_end(reviews: PreparedData, length: int) -> None:
    ids, mask, types = example_inputs(reviews, length)
    row = reviews.rows("test")[0]
    used = min(int(reviews.lengths[row]), length)
    assert ids.shape == mask.shape == types.shape == (1, length)
    assert mask.sum() == used
    end = reviews.inputs[row][reviews.lengths[row] - 1]
    assert ids[0, used - 1] == end
    assert not ids[0, used:].any()
    assert not types.any()


def test_multiply_accumulates_are_those_of_convolutions_and_products() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 8 * 8, 10))
    assert count_macs(network, (torch.zeros(1, 3, 8, 8),)) == 3 * 3 * 3 * 4 * 8 * 8 + 4 * 8 * 8 * 10
    assert network.training
