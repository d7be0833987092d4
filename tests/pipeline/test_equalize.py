"""Equalized channels fill the range that they share, and the network says in float what it said."""

import pytest
import torch
from torch import Tensor, nn

from pipeline.aware.equalize import HEADROOM, equalizable_pairs, equalize
from pipeline.aware.rounding import GRANULARITIES, Granularity, RoundedNetwork, rounding_places, watched


def images(count: int = 16, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, 12, 12, generator=torch.Generator().manual_seed(seed))


class Bottleneck(nn.Module):
    """Expansion, depthwise and projection around a sum, as MobileNets have them, channels of very unequal size."""

    def __init__(self, activation: type[nn.Module]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.expand = nn.Conv2d(8, 24, 1)
        self.depthwise = nn.Conv2d(24, 24, 3, padding=1, groups=24)
        self.project = nn.Conv2d(24, 8, 1)
        self.head = nn.Linear(8, 5)
        self.first, self.second = activation(), activation()
        with torch.no_grad():
            size = torch.logspace(-1.5, 0.5, 24)[torch.randperm(24)]
            self.expand.weight.mul_(size.view(-1, 1, 1, 1))
            self.expand.bias.mul_(size)  # type: ignore[union-attr]
            self.depthwise.weight.mul_((1 / size).view(-1, 1, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        x = self.stem(image)
        y = self.project(self.second(self.depthwise(self.first(self.expand(x)))))
        return self.head((x + y).mean((2, 3)))


class Branch(nn.Module):
    """What a bottleneck adds: in the mean over places that its head takes, rounding would vanish."""

    def __init__(self, whole: Bottleneck) -> None:
        super().__init__()
        self.whole = whole

    def forward(self, image: Tensor) -> Tensor:
        whole = self.whole
        y: Tensor = whole.project(whole.second(whole.depthwise(whole.first(whole.expand(whole.stem(image))))))
        return y


def worst(network: nn.Module, granularity: Granularity, pixels: Tensor) -> float:
    """Mean squared error that 8 bits cost the outputs, in units of their variance."""
    places, _ = rounding_places(network, (pixels,))
    low, high = torch.full((len(places),), torch.inf), torch.full((len(places),), -torch.inf)

    def look(place: int, output: Tensor) -> None:
        if place in places:
            index = places.index(place)
            low[index], high[index] = output.min(), output.max()

    watched(network, (pixels,), look)
    with torch.no_grad():
        in_float = network(pixels)
        in_8_bits = RoundedNetwork(network, places, low, high, granularity)(pixels)
        return float((in_8_bits - in_float).square().mean() / in_float.var())


def test_pairs_are_convolutions_between_which_nothing_or_a_relu_stands() -> None:
    network = Bottleneck(nn.ReLU6)
    found = [(pair.first, pair.second, pair.bounds) for pair in equalizable_pairs(network, (images(),))]
    assert found == [
        (network.expand, network.depthwise, (0.0, 6.0)),
        (network.depthwise, network.project, (0.0, 6.0)),
    ]  # the stem gives to two, the projection to a sum
    assert equalizable_pairs(Bottleneck(nn.Hardswish), (images(),)) == []
    linear = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1))
    assert [pair.bounds for pair in equalizable_pairs(linear, (images(),))] == [None]


def test_a_layer_that_runs_twice_is_in_no_pair() -> None:
    layer = nn.Conv2d(3, 3, 1)
    assert equalizable_pairs(nn.Sequential(layer, nn.ReLU(), layer), (images(),)) == []


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_a_relu_network_says_in_float_what_it_said_whatever_the_samples(granularity: Granularity) -> None:
    network = Bottleneck(nn.ReLU).eval()
    others = images(seed=1) * 50 - 20
    before = network(others)
    weight = network.depthwise.weight.clone()
    equalize(network, equalizable_pairs(network, (images(),)), [(images(),)], granularity)
    assert (network.depthwise.weight / weight).log().abs().max() > 0.5
    torch.testing.assert_close(network(others), before, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_under_a_ceiling_outputs_stay_for_all_samples_within_the_headroom(granularity: Granularity) -> None:
    network = Bottleneck(nn.ReLU6).eval()
    with torch.no_grad():
        network.expand.bias[:4] = 8.0  # type: ignore[index] # these reach 6
    pixels = images()
    before, loud = network(pixels), network.expand.weight[:4].clone()
    equalize(network, equalizable_pairs(network, (pixels,)), [(pixels[:8],), (pixels[8:],)], granularity)
    torch.testing.assert_close(network(pixels), before, rtol=1e-4, atol=1e-4)
    assert torch.equal(network.expand.weight[:4], loud)
    given = network.expand(network.stem(pixels)).amax((0, 2, 3))
    assert (given[4:] <= 6 / HEADROOM + 1e-4).all()
    if granularity == "per-channel":  # before a depthwise convolution a channel fills what it may
        assert given[4:].median() > 6 / HEADROOM - 1e-3


def test_factors_are_those_of_the_paper_where_a_tensor_has_one_scale() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU(), nn.Conv2d(2, 1, 1))
    first, second = network[0], network[2]
    assert isinstance(first, nn.Conv2d)
    assert isinstance(second, nn.Conv2d)
    with torch.no_grad():
        first.weight.copy_(torch.tensor([16.0, 1.0]).view(2, 1, 1, 1))
        first.bias.copy_(torch.tensor([8.0, 1.0]))  # type: ignore[union-attr]
        second.weight.copy_(torch.tensor([1.0, 4.0]).view(1, 2, 1, 1))
    equalize(network, equalizable_pairs(network, (torch.ones(1, 1, 2, 2),)), [(torch.ones(1, 1, 2, 2),)], "per-tensor")
    # r1 = (16, 1), r2 = (1, 4): s = sqrt(r1 / r2), with each range as a share of its tensor's largest (2, 1/4).
    torch.testing.assert_close(first.weight.flatten(), torch.tensor([8.0, 4.0]))
    torch.testing.assert_close(second.weight.flatten(), torch.tensor([2.0, 1.0]))
    torch.testing.assert_close(first.bias, torch.tensor([4.0, 4.0]))


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize(("activation", "share"), [(nn.ReLU, 0.5), (nn.ReLU6, 0.8)])
def test_8_bits_cost_an_equalized_network_less(
    activation: type[nn.Module], share: float, granularity: Granularity
) -> None:
    """Under a ceiling there is less room to spread channels."""
    network, pixels = Branch(Bottleneck(activation)).eval(), images(64)
    before = worst(network, granularity, pixels)
    equalize(network, equalizable_pairs(network, (pixels,)), [(pixels,)], granularity)
    assert worst(network, granularity, pixels) < share * before


def test_silent_channels_and_empty_weights_keep_their_scale() -> None:
    network = Bottleneck(nn.ReLU).eval()
    with torch.no_grad():
        network.expand.bias[0] = -100.0  # type: ignore[index]
        network.depthwise.weight[1] = 0.0
    before = network.expand.weight[:2].clone()
    equalize(network, equalizable_pairs(network, (images(),)), [(images(),)], "per-channel")
    assert torch.equal(network.expand.weight[:2], before)
    assert torch.isfinite(network(images())).all()
