"""What goes first, checked by hand on networks of a few channels."""

from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.networks import ImageNetwork
from pipeline.pruning.channels import thin_channels_to, thinner_channels
from pipeline.pruning.importance import column_importance, gather_gradients
from pipeline.results import PreparedData
from pipeline.settings.prune import Importance, PruneSettings
from pipeline.settings.training import Regularization
from pipeline.training.labels import learn_labels
from pipeline.training.schedule import Schedule

PIXELS = (torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0)),)


class Body(nn.Module):
    """Two convolutions of four channels each, both normalised, and a classifier of two classes."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.first_norm = nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4)
        self.second, self.second_norm = nn.Conv2d(4, 4, 1, bias=False), nn.BatchNorm2d(4)
        self.classifier = nn.Linear(4, 2)

    def get_classifier(self) -> nn.Module:
        return self.classifier

    def forward(self, x: Tensor) -> Tensor:
        x = self.first_norm(self.first(x)).relu()
        return self.classifier(self.second_norm(self.second(x)).relu().mean((2, 3)))


def network() -> ImageNetwork:
    """Every weight is 1."""
    body = Body().eval()
    for parameter in body.parameters():
        nn.init.ones_(parameter)
    return ImageNetwork(body, [0.0], [1.0])


def marked(importance: Importance, matters: list[float]) -> ImageNetwork:
    """A network in whose first layer channel c matters as `matters[c]` says, to this importance and to no other; the
    rest of each weight tells the contrary. In the second layer all matter much."""
    made, scale = network(), torch.tensor(matters)
    body = made.body
    with torch.no_grad():
        body.first.weight[:, 0, 0, 0] = torch.arange(4).float() + 1  # by which the channels are known
        for layer in (body.second, body.second_norm, body.classifier):
            layer.weight.mul_(100)
        for parameter in body.parameters():
            parameter.grad = torch.ones_like(parameter)
        if importance == "taylor":
            body.first.weight.grad = scale.view(4, 1, 1, 1).expand(4, 3, 1, 1) / body.first.weight
        elif importance == "hessian":
            body.first.weight.grad = scale.view(4, 1, 1, 1).expand(4, 3, 1, 1) / body.first.weight.square()
        elif importance == "bn_scale":
            body.first_norm.weight.copy_(scale)
        else:
            body.first.weight[:, 1:] = 20 * scale.view(4, 1, 1, 1)
        if importance in ("taylor", "hessian"):  # what depends on the channels leaves it to the first layer
            for parameter in (body.first_norm.weight, body.second.weight):
                parameter.grad.zero_()
            body.second_norm.weight.grad.fill_(1e3)
    return made


def left(made: ImageNetwork) -> list[int]:
    """The channels of the first layer that are still there."""
    return [int(number) - 1 for number in made.body.first.weight[:, 0, 0, 0].tolist()]


@pytest.mark.parametrize("importance", ["taylor", "hessian", "magnitude_l1", "magnitude_l2", "bn_scale"])
def test_the_channels_that_matter_least_go_first(importance: Importance) -> None:
    made = marked(importance, [3.0, 1.0, 4.0, 2.0])
    seen = [[0, 1, 2, 3]]
    settings = PruneSettings(importance=importance, scope="layer", round_to=1)
    for _ in thinner_channels(made, PIXELS, {}, settings):
        if left(made) != seen[-1]:
            seen.append(left(made))
    assert seen == [[0, 1, 2, 3], [0, 2, 3], [0, 2], [2]]


def test_globally_a_layer_that_matters_less_loses_more() -> None:
    made = marked("taylor", [3.0, 1.0, 4.0, 2.0])
    rungs = thinner_channels(made, PIXELS, {}, PruneSettings(round_to=1))
    shapes = [(rung["shapes"]["first"][0], rung["shapes"]["second"][0]) for rung in rungs if rung]
    assert (1, 4) in shapes
    assert all(second == 4 for first, second in shapes if first > 1)
    assert shapes[-1] == (1, 1)  # what matters much goes too where more is asked for than the rest can give


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_no_layer_has_fewer_channels_than_a_multiple(scope: Literal["global", "layer"]) -> None:
    *_, last = thinner_channels(
        marked("taylor", [3.0, 1.0, 4.0, 2.0]), PIXELS, {}, PruneSettings(scope=scope, round_to=3)
    )
    assert (last["shapes"]["first"][0], last["shapes"]["second"][0]) == (3, 3)


def test_by_layer_all_lose_alike() -> None:
    rungs = thinner_channels(
        marked("taylor", [3.0, 1.0, 4.0, 2.0]), PIXELS, {}, PruneSettings(scope="layer", round_to=1)
    )
    shapes = {(rung["shapes"]["first"][0], rung["shapes"]["second"][0]) for rung in rungs if rung}
    assert shapes == {(4, 4), (3, 3), (2, 2), (1, 1)}


def test_random_importance_follows_the_seed() -> None:
    def survivors(seed: int) -> list[int]:
        made = marked("random", [1.0] * 4)
        torch.manual_seed(seed)
        rungs = thinner_channels(made, PIXELS, {}, PruneSettings(importance="random", scope="layer", round_to=1))
        next(rung for rung in rungs if rung and rung["shapes"]["first"][0] == 1)
        return left(made)

    assert survivors(0) == survivors(0)
    assert len({survivors(seed)[0] for seed in range(8)}) > 1


def test_a_network_is_thinned_to_given_sizes_by_what_matters_now() -> None:
    made = marked("taylor", [1.0, 3.0, 2.0, 4.0])
    wanted = {"shapes": {"first": [2, 3, 1, 1], "second": [3, 2, 1, 1]}}
    assert thin_channels_to(made, PIXELS, wanted, PruneSettings()) == wanted
    assert left(made) == [1, 3]
    assert made.body.second.weight.shape == (3, 2, 1, 1)
    assert made(*PIXELS).shape == (1, 2)


def test_columns_matter_by_the_formula_of_each_importance() -> None:
    weight = nn.Parameter(torch.tensor([[1.0, -2.0], [3.0, 4.0]]))
    weight.grad = torch.tensor([[2.0, 1.0], [-1.0, 0.5]])
    norms = torch.tensor([4.0, 6.0])
    assert column_importance(weight, "taylor").tolist() == [1.0, 0.0]
    assert column_importance(weight, "hessian").tolist() == [2.0 - 9.0, 4.0 + 8.0]
    torch.testing.assert_close(column_importance(weight, "magnitude_l1"), norms / 5)
    torch.testing.assert_close(column_importance(weight, "magnitude_l2"), torch.tensor([10.0, 20.0]) / 15)


class Linear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3 * 32 * 32, 10)
        nn.init.normal_(self.layer.weight, std=1e-4)

    def forward(self, image: Tensor) -> Tensor:
        return self.layer(image.flatten(1) / 255)


def of_all_samples(data: PreparedData) -> tuple[Tensor, Tensor]:
    """Images [N, 3 * 32 * 32] in [0, 1] and labels of the train split."""
    rows = data.rows("train")
    pixels = torch.from_numpy(np.ascontiguousarray(data.inputs[rows])).permute(0, 3, 1, 2).float()
    return pixels.flatten(1) / 255, torch.from_numpy(data.targets[rows])


def judge(linear: Linear, data: PreparedData, importance: Importance) -> None:
    schedule = Schedule(1, 1e-3, 0.0, 32, 0)
    gather_gradients(linear, data, learn_labels(Regularization(), 0.0), schedule, importance, torch.device("cpu"))


def test_taylor_judges_by_the_gradient_of_the_summed_loss(digits: PreparedData) -> None:
    linear = Linear()
    judge(linear, digits, "taylor")
    found = linear.layer.weight.grad
    pixels, labels = of_all_samples(digits)
    linear.zero_grad()
    functional.cross_entropy(linear.layer(pixels), labels, reduction="sum").backward()
    torch.testing.assert_close(found, linear.layer.weight.grad, rtol=1e-4, atol=1e-5)


def test_hessian_judges_by_the_mean_square_of_single_samples_gradients(digits: PreparedData) -> None:
    """Of a linear layer under cross-entropy a sample's gradient is (p - y) x^T."""
    linear = Linear()
    judge(linear, digits, "hessian")
    pixels, labels = of_all_samples(digits)
    with torch.no_grad():
        surplus = linear.layer(pixels).softmax(1) - functional.one_hot(labels, 10)
        expected = torch.einsum("nc,ni->ci", surplus.square(), pixels.square()) / len(labels)
    assert linear.layer.weight.grad is not None
    torch.testing.assert_close(linear.layer.weight.grad, expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("importance", ["magnitude_l1", "bn_scale", "random"])
def test_the_others_look_at_no_sample(digits: PreparedData, importance: Importance) -> None:
    linear = Linear()
    judge(linear, digits, importance)
    assert linear.layer.weight.grad is None
