"""Samples that two sets share, by what a network is given: the same pixels after resizing, the same word pieces."""

import hashlib
from collections.abc import Iterator

import numpy as np

from pipeline.results import PreparedData, SplitName

COPY = 1024  # rows in memory at once


def row_chunks(inputs: np.ndarray, rows: np.ndarray) -> Iterator[np.ndarray]:
    """`inputs[rows]` in chunks along the first axis."""
    for start in range(0, len(rows), COPY):
        yield inputs[rows[start : start + COPY]]


def digests(inputs: np.ndarray, rows: np.ndarray | None = None) -> list[bytes]:
    """Of each of `rows` (None: of all) of `inputs`, as `PreparedData.inputs` is."""
    every = np.arange(len(inputs)) if rows is None else rows
    return [
        hashlib.blake2b(np.ascontiguousarray(row).tobytes(), digest_size=16).digest()
        for chunk in row_chunks(inputs, every)
        for row in chunk
    ]


def held_out(data: PreparedData) -> frozenset[bytes]:
    """Digests of what the student is judged by: the validation and test splits."""
    parts: tuple[SplitName, ...] = ("validation", "test")
    return frozenset(digest for part in parts for digest in digests(data.inputs, data.rows(part)))
