"""A network of a pruned architecture that was never trained, to be made into files and measured."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pipeline.networks import build_network, count_parameters, save_network
from pipeline.results import NetworkResult
from pipeline.store import fingerprint

SPREAD = 0.1  # of what a training would move from 0 or 1


def candidate(student: NetworkResult, architecture: dict[str, Any], folder: Path, seed: int) -> NetworkResult:
    """`student` of another `architecture`, its weights random, its checkpoint under `folder`. What was measured of the
    student's answers stays."""
    torch.manual_seed(seed)
    network = build_network(architecture)
    _draw(network)
    key = fingerprint({"architecture": architecture, "seed": seed})
    place = folder / key[:24]
    place.mkdir(parents=True, exist_ok=True)
    save_network(network, place / "model.safetensors")
    return replace(
        student,
        fingerprint=key,
        name=f"{student.name}, thinner",
        architecture=architecture,
        checkpoint_file=place / "model.safetensors",
        parameters=count_parameters(network),
    )


def _draw(network: nn.Module) -> None:
    """Gives layers that a pruned structure left at zero weights as they start a training, and draws what starts as 0 or
    1 everywhere: equal tensors are kept once in a file, and zeros leave a quantizer no range."""
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)) and not module.weight.any():
            nn.init.kaiming_normal_(module.weight)
        elif isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.ones_(module.weight)
            nn.init.normal_(module.running_mean, std=SPREAD)
            nn.init.uniform_(module.running_var, 1 - SPREAD, 1 + SPREAD)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter), alpha=SPREAD)
