"""When a series of latencies has settled: caches filled, clocks raised, lazy work done."""

import numpy as np

BATCH = 5


def settled_after(samples: np.ndarray) -> int | None:
    """How many of the first samples are warm-up: those without which the rest gives the surest mean. None if that is
    not told yet, because it is more than half of them or there are fewer than four batches.

    MSER-5 (White 1997, An effective truncation heuristic; Franklin & White 2008): of all the numbers of leading batches
    of five, that which makes the squared standard error of the rest's mean the smallest. Batches are taken by their
    median, where MSER-5 has their mean, so that a single slow run is no warm-up.
    """
    batches = np.median(samples[: len(samples) // BATCH * BATCH].reshape(-1, BATCH), axis=1)
    count = len(batches)
    if count < 4:
        return None
    errors = [batches[left:].var() / (count - left) for left in range(count - 1)]  # a single batch has no spread
    dropped = int(np.argmin(errors))
    return dropped * BATCH if dropped <= count // 2 else None
