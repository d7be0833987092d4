"""Ranges that were learned with the weights, on their way into files."""

import json
from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from pipeline.aware.rounding import watched
from pipeline.data.batches import evaluation_batches
from pipeline.networks import load_network
from pipeline.quantize.matching import Signature, same_activations, signatures
from pipeline.results import NetworkResult, PreparedData


def learned_ranges(
    student: NetworkResult, data: PreparedData, rows: Sequence[int], tensors: Mapping[str, Signature]
) -> dict[str, tuple[float, float]]:
    """By name of those of `tensors` that hold what a place of the student's forward pass gives for the samples `rows`:
    the range that the place learned. Nothing for a student that learned none."""
    if student.ranges_file is None:
        return {}
    learned = json.loads(student.ranges_file.read_text(encoding="utf-8"))
    network = load_network(student)
    seen: list[dict[str, np.ndarray]] = []

    def look(place: int, output: Tensor) -> None:
        if str(place) in learned:
            seen[-1][str(place)] = output.numpy().copy()

    for row in rows:
        seen.append({})
        (batch,) = evaluation_batches(data, np.array([row]), 1, 0, None, 0)
        watched(network, batch.inputs, look)
    places = same_activations(tensors, signatures(seen))
    return {name: (learned[place][0], learned[place][1]) for name, place in places.items()}
