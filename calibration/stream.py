"""Calibration samples on their way into a quantizer: made one at a time, never all in memory."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

Sample = Mapping[str, np.ndarray]

CHUNK = 16  # samples a quantizer may hold at once


@dataclass(frozen=True)
class SampleStream:
    """Samples of `rows`, made by `make(row)` when they are asked for: arrays by input name, as the model file takes
    them. It can be run through as often as one likes and gives the same samples each time."""

    rows: tuple[int, ...]
    make: Callable[[int], Sample]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Sample]:
        return (self.make(row) for row in self.rows)

    def chunks(self, size: int = CHUNK) -> Iterator["SampleStream"]:
        """The stream cut into streams of at most `size` samples.

        onnxruntime's calibrators keep what each sample gave until the end of the data they are handed, and
        ai-edge-quantizer makes a list of the samples to count them: handed one chunk at a time, neither grows.
        """
        return (SampleStream(self.rows[start : start + size], self.make) for start in range(0, len(self.rows), size))

    def sha256(self) -> str:
        """Digest over the samples' names, dtypes, shapes and bytes, in order, in hexadecimal."""
        digest = hashlib.sha256()
        for sample in self:
            for name in sorted(sample):
                array = np.ascontiguousarray(sample[name])
                digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
                digest.update(array.data)
        return digest.hexdigest()
