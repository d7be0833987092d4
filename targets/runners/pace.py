"""At which pace a core ran while something was measured on it: a fixed small work timed in between, and waiting for the
next tick where inferences are to come at a pace of their own."""

import time
from time import perf_counter_ns

import numpy as np

EVERY = 10  # inferences from one reference to the next
_TERMS, _ROUNDS = 1024, 40  # 16 kB with the sums: they stay in the first cache

_terms = np.ones(_TERMS)
_sums = np.empty(_TERMS)


def reference_ms() -> float:
    """Milliseconds of a chain of additions each of which waits for the one before: neither memory nor the width of the
    core matters to it, so what changes it is the clock, or other work on the core."""
    start = perf_counter_ns()
    for _ in range(_ROUNDS):
        np.cumsum(_terms, out=_sums)
    return (perf_counter_ns() - start) / 1e6


class Ticks:
    """Waits for the next of the moments that are `pace_ms` apart; not at all where that is None. `late` counts the
    moments that had passed already: the next one counts from then on."""

    def __init__(self, pace_ms: float | None) -> None:
        self.step = None if pace_ms is None else int(pace_ms * 1e6)
        self.next = 0
        self.late = 0

    def wait(self) -> None:
        if self.step is None:
            return
        now = perf_counter_ns()
        if self.next <= now:
            self.late += self.next > 0  # the first moment is now
            self.next = now
        else:
            time.sleep((self.next - now) / 1e9)
        self.next += self.step


def at_pace(samples_ms: np.ndarray, references_ms: np.ndarray) -> np.ndarray:
    """The samples, float64 [runs], as if the reference had taken its median all the time. `references_ms`, float64
    [runs / EVERY, rounded up]: that of each `EVERY` runs, taken just before them. The median of a reference and its two
    neighbours counts, so that one which was interrupted changes nothing."""
    padded = np.pad(references_ms, 1, mode="edge")
    smooth = np.median(np.stack([padded[:-2], padded[1:-1], padded[2:]]), axis=0)
    return samples_ms * (np.median(references_ms) / np.repeat(smooth, EVERY)[: len(samples_ms)])
