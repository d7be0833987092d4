"""Where students for 8 bits start: folded, with the ranges that they have in float."""

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.aware.fold import fold, normalised_convolutions
from pipeline.aware.rounding import Granularity, RoundedNetwork, rounding_places, watched
from pipeline.data.batches import evaluation_batches
from pipeline.networks import ImageNetwork, build_network, example_inputs, load_network
from pipeline.results import NetworkResult, PreparedData
from pipeline.training.fit import to_device

STARTING = 256  # training samples over which the first ranges are measured
BATCH = 32  # of them: extremes are averaged over batches, so that a lone value does not set a range


def folded(student: NetworkResult, data: PreparedData) -> tuple[nn.Module, dict[str, object]]:
    """The student without batch normalisation, and its architecture."""
    network = load_network(student)
    assert isinstance(network, ImageNetwork)
    pairs = normalised_convolutions(network, example_inputs(data))
    fold(network, pairs)
    architecture = {**student.architecture, "folded": pairs}
    plain = build_network(architecture)  # anew from its description, so that what is trained is what will be loaded
    plain.load_state_dict(network.state_dict())
    return plain, architecture


def rounded_network(
    network: nn.Module, data: PreparedData, device: torch.device, seed: int, granularity: Granularity
) -> RoundedNetwork:
    """`network` with its first ranges: extremes over batches of training samples, averaged."""
    network.eval()
    places, alike = rounding_places(network, tuple(tensor.to(device) for tensor in example_inputs(data)))
    index = {place: number for number, place in enumerate(places)}
    rows = np.sort(np.random.default_rng(seed).permutation(data.rows("train"))[:STARTING])
    ends = torch.zeros(2, len(places))
    batches = 0

    def look(place: int, output: Tensor) -> None:
        if place in index:
            ends[0, index[place]] += output.min().cpu()
            ends[1, index[place]] += output.max().cpu()

    for batch in evaluation_batches(data, rows, BATCH, seed, None, 0):
        watched(network, to_device(batch, device).inputs, look)
        batches += 1
    return RoundedNetwork(network, places, ends[0] / batches, ends[1] / batches, granularity, alike)
