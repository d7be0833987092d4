"""A trained student in which 8 bits ruin one layer that we know."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from pipeline.evaluate import predict
from pipeline.metrics import accuracy
from pipeline.networks import load_network, save_network
from pipeline.results import NetworkResult, PreparedData

RUINED = "blocks.3.0.conv_pwl"


def ruined(student: NetworkResult, data: PreparedData, folder: Path) -> NetworkResult:
    """`student`, a MobileNetV2, with one channel inside a block switched off and its weights in the layer behind made a
    thousand times larger than any other: nothing is added in float, but of a channel's 255 levels that weight takes
    all, and the others round to zero."""
    network = load_network(student)
    layer = network.get_submodule(f"body.{RUINED}")
    normalisation = network.get_submodule(f"body.{RUINED.replace('conv_pwl', 'bn2')}")
    with torch.no_grad():
        normalisation.bias[0] = -100.0  # far below what ReLU6 lets through
        layer.weight[:, 0] = 1000 * layer.weight.abs().max()
    folder.mkdir(parents=True, exist_ok=True)
    save_network(network, folder / "student.safetensors")
    test = data.rows("test")
    logits = predict(network, data, test)
    np.save(folder / "test_logits.npy", logits)
    return replace(
        student,
        fingerprint=f"{student.fingerprint} ruined",
        checkpoint_file=folder / "student.safetensors",
        test_logits_file=folder / "test_logits.npy",
        accuracy=accuracy(logits, data.targets[test]),
    )


def with_much_validation(data: PreparedData, folder: Path) -> PreparedData:
    """The same samples, half of those to train on for validation."""
    folder.mkdir(parents=True, exist_ok=True)
    train, test = data.rows("train"), data.rows("test")
    half = len(train) // 2
    np.savez(folder / "split.npz", train=train[:half], validation=train[half:], test=test)
    return replace(data, fingerprint=f"{data.fingerprint} halved", split_file=folder / "split.npz")
