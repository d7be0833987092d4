"""Small networks trained for seconds on the small data of `tests.samples`, as the stages hand them on."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from pipeline.data.batches import training_batches
from pipeline.evaluate import predict
from pipeline.metrics import accuracy
from pipeline.networks import build_network, count_parameters, save_network
from pipeline.results import NetworkResult, PreparedData
from pipeline.store import fingerprint


def small_mobilenet(data: PreparedData, folder: Path, epochs: int = 16) -> NetworkResult:
    """MobileNetV2 of width 0.35 with random start."""
    architecture = {
        "kind": "timm", "model": "mobilenetv2_100", "width": 0.35, "classes": len(data.labels),
        "input_size": None, "mean": [0.0] * 3, "std": [128.0] * 3,
    }  # fmt: skip
    return _trained(data, architecture, folder, "mobilenetv2 x0.35", epochs, batch_size=70, learning_rate=1e-2)


def small_bert(data: PreparedData, folder: Path, epochs: int = 8) -> NetworkResult:
    """BERT of 2 layers, 64 wide, with random start."""
    config = {
        "model_type": "bert", "vocab_size": 30522, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 128, "max_position_embeddings": int(data.inputs.shape[1]), "type_vocab_size": 2,
    }  # fmt: skip
    architecture = {"kind": "transformers", "config": config, "labels": list(data.labels)}
    return _trained(data, architecture, folder, "tinybert 2x64", epochs, batch_size=16, learning_rate=2e-3)


def small_student(
    data: PreparedData, architecture: dict[str, Any], folder: Path, epochs: int, learning_rate: float = 3e-3
) -> NetworkResult:
    """A student of `architecture` trained for seconds."""
    return _trained(data, architecture, folder, "small", epochs, batch_size=32, learning_rate=learning_rate)


def untrained(data: PreparedData, architecture: dict[str, Any], folder: Path) -> NetworkResult:
    """A network as torch made it."""
    return _trained(data, architecture, folder, "untrained", epochs=0, batch_size=16, learning_rate=1e-3)


def _settle_statistics(network: torch.nn.Module, data: PreparedData) -> None:
    """Batch normalisation's running averages lag behind so few steps: measures them anew, on all training samples."""
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.reset_running_stats()
            layer.momentum = None  # a plain average
    with torch.no_grad():
        for batch in training_batches(data, data.rows("train"), 70, seed=0, epoch=0):
            network(*batch.inputs)


def _trained(
    data: PreparedData,
    architecture: dict[str, Any],
    folder: Path,
    name: str,
    epochs: int,
    batch_size: int,
    learning_rate: float,
) -> NetworkResult:
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    network = build_network(architecture).train()
    optimizer = torch.optim.AdamW(network.parameters(), learning_rate)
    for epoch in range(epochs):
        for batch in training_batches(data, data.rows("train"), batch_size, seed=0, epoch=epoch):
            optimizer.zero_grad()
            functional.cross_entropy(network(*batch.inputs), batch.labels).backward()
            optimizer.step()
    _settle_statistics(network, data)
    network.eval()
    save_network(network, folder / "student.safetensors")
    test, validation = data.rows("test"), data.rows("validation")
    logits = predict(network, data, test)
    np.save(folder / "test_logits.npy", logits)
    validated = accuracy(predict(network, data, validation), data.targets[validation])
    return NetworkResult(
        fingerprint=fingerprint({"data": data.fingerprint, "architecture": architecture, "epochs": epochs}),
        role="student",
        name=name,
        checkpoint_file=folder / "student.safetensors",
        architecture=architecture,
        parameters=count_parameters(network),
        macs=None,
        accuracy=accuracy(logits, data.targets[test]),
        test_logits_file=folder / "test_logits.npy",
        validation_accuracy=validated.value,
    )
