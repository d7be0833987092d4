"""Which activation of a TFLite file is which of the ONNX file: both hold one network, under names of their own."""

from collections.abc import Mapping, Sequence

import numpy as np

# Two exports of one network differ by float32's rounding alone; activations of one size that agree so far in extremes,
# mean and deviation on several samples are taken for the same numbers.
TOLERANCE = 1e-3
SAMPLES = 3  # on which activations are compared

# Of a tensor: how many numbers, and for each sample the least, the greatest, their mean and standard deviation.
Signature = tuple[int, list[list[float]]]


def signatures(seen: Sequence[Mapping[str, np.ndarray]]) -> dict[str, Signature]:
    """Of the tensors that each of `seen`, one mapping a sample, holds; those that are not finite are left out."""
    found: dict[str, Signature] = {}
    for name, first in seen[0].items():
        values = [np.asarray(sample[name], dtype=np.float64) for sample in seen]
        if all(np.isfinite(v).all() for v in values):
            found[name] = (
                first.size,
                [[float(v.min()), float(v.max()), float(v.mean()), float(v.std())] for v in values],
            )
    return found


def same_activations(found: Mapping[str, Signature], known: Mapping[str, Signature]) -> dict[str, str]:
    """For tensors of `found` the name of the tensor of `known` that held the same numbers, in whatever order, for the
    same samples; the nearest where several did. Tensors that have no like are left out."""
    same = {}
    for name, (size, told) in found.items():
        likes = [(other, held) for other, (count, held) in known.items() if count == size]
        if not likes:
            continue
        mine, theirs = np.array(told), np.array([held for _, held in likes])
        apart = np.max(np.abs(theirs - mine), axis=(1, 2))
        nearest = int(np.argmin(apart))
        if apart[nearest] <= TOLERANCE * max(float(np.ptp(mine)), 1e-30):
            same[name] = likes[nearest][0]
    return same
