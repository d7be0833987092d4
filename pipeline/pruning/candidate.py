"""A network of a pruned architecture that was never trained, to be made into files and measured."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pipeline.networks import build_network, count_parameters, save_network
from pipeline.results import NetworkResult
from pipeline.store import fingerprint


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
    """Gives layers that a pruned structure left at zero weights as they start a training: zeros would make every
    activation the same, which leaves a quantizer no range."""
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)) and not module.weight.any():
            nn.init.kaiming_normal_(module.weight)
        elif isinstance(module, nn.BatchNorm2d) and not module.weight.any():
            nn.init.ones_(module.weight)
