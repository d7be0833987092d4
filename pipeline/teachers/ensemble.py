"""Several teachers as one, whose answers everything after it takes as a single teacher's."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.context import RunContext
from pipeline.evaluate import predict
from pipeline.metrics import accuracy
from pipeline.networks import build_network, load_network
from pipeline.progress import Meter
from pipeline.recipe import Recipe
from pipeline.results import NetworkResult, PreparedData
from pipeline.settings.distill import Ramp
from pipeline.teachers.combine import EnsembleNetwork, mixture_weights
from pipeline.training.fit import Fit, deterministic, network_result, prepare_torch

HOW = {
    "weighted": "by weight",
    "confidence": "by weight and by certainty of each sample",
    "learned": "by weights fitted on the validation split",
}


def combine_teachers(
    data: PreparedData, members: Sequence[NetworkResult], recipe: Recipe, context: RunContext
) -> NetworkResult:
    """One teacher of `members`, `recipe.teachers` in their order, as `recipe.ensemble` says; its checkpoint holds all
    of theirs. Its notes name the members, what each counts and how good it is.

    Learned weights make the validation labels likeliest under the members' unsoftened answers. Fitted on the train
    split they would favour who knows it by heart; the test split is seen by nobody. One number a teacher is too
    little to spoil the choice of the best epochs, for which the validation split serves as well.
    """
    settings = recipe.ensemble
    assert settings is not None
    temperature = settings.temperature or recipe.distill.temperature
    assert not isinstance(temperature, Ramp), "a recipe with a ramp gives the ensemble its own"
    given = [teacher.weight for teacher in recipe.teachers.values()]
    rows = data.rows("validation")

    def make(folder: Path, key: str, meter: Meter) -> NetworkResult:
        device = prepare_torch(context)
        with deterministic():
            logits = np.stack([predict(load_network(m).to(device), data, rows, meter=meter) for m in members])
        weights = _fitted(logits, data.targets[rows]) if settings.combine == "learned" else _normalised(given)
        architecture: dict[str, Any] = {
            "kind": "ensemble", "members": [member.architecture for member in members], "weights": weights,
            "combine": settings.combine, "temperature": temperature,
        }  # fmt: skip
        if "config" in members[0].architecture:  # a text student asks its teacher for its word pieces
            architecture["config"] = members[0].architecture["config"]
        network = build_network(architecture)
        assert isinstance(network, EnsembleNetwork)
        for place, member in zip(network.members, members, strict=True):
            place.load_state_dict(load_network(member).state_dict())
        judged = torch.from_numpy(logits)
        value = accuracy(network.combine(judged).numpy(), data.targets[rows]).value
        result = network_result(
            network.to(device), data, Fit((), None, value), folder=folder, key=key, role="teacher",
            name=" + ".join(member.name for member in members), architecture=architecture, meter=meter,
        )  # fmt: skip
        counts = network.cpu().shares(judged).mean(1).tolist()
        head = f"{len(members)} teachers {HOW[settings.combine]}, averaged at temperature {temperature:g}"
        return replace(result, notes=(head, *_notes(members, counts)))

    inputs = {
        "data": data.fingerprint,
        "members": [member.fingerprint for member in members],
        "weights": given,
        "combine": settings.combine,
        "temperature": temperature,
    }
    total = len(members) * len(rows) + len(data.rows("test"))
    return context.stage("ensemble", inputs, NetworkResult, make, total=total, unit="samples", together=True)


def _normalised(weights: Sequence[float]) -> list[float]:
    return [weight / sum(weights) for weight in weights]


def _fitted(logits: np.ndarray, labels: np.ndarray) -> list[float]:
    """Of the members' logits [K, N, classes] and the labels [N]."""
    chances = torch.from_numpy(logits).double().log_softmax(2).numpy()
    return mixture_weights(chances[:, np.arange(len(labels)), labels]).tolist()


def _notes(members: Sequence[NetworkResult], counts: list[float]) -> list[str]:
    """`counts`: each one's mean weight on the validation split."""
    notes = []
    for member, count in zip(members, counts, strict=True):
        notes.append(f"{member.name}: counts {count:.3f}, accuracy {100 * member.accuracy.value:.2f}%")
        notes += [f"{member.name}: {note}" for note in member.notes]
    return notes
