"""What a file does on emulated cores of its device, as results: its outputs beside the host's, its instructions, and
the latency that is predicted from them."""

from dataclasses import dataclass

from targets.emulator.counts import InstructionCounts
from targets.prediction.prediction import Prediction


@dataclass(frozen=True)
class EmulatedResult:
    """One file of a bundle run on an emulated core: `largest` difference of an output from the host's, in `unit`, None
    where one is no number or of another shape; `identical` if there is none.

    `step`: of an 8-bit output. `of itself`: relative to the score itself. `of the largest`: relative to the largest
    score of the same sample. `score`: absolute.
    """

    file: str
    core: str
    samples: int
    identical: bool
    largest: float | None
    tolerance: float
    unit: str
    passed: bool
    explanation: str


@dataclass(frozen=True)
class CoreFigures:
    """One file on one kind of core: what it computes there, and the instructions of one inference."""

    outputs: EmulatedResult
    counts: InstructionCounts


@dataclass(frozen=True)
class EmulatedFile:
    """A file on each kind of core that its target's profile names."""

    fingerprint: str
    cores: tuple[CoreFigures, ...]


@dataclass(frozen=True)
class PredictedLatency:
    """What a file's latency on its target is predicted to be; without a `prediction` there is a `reason`."""

    prediction: Prediction | None
    reason: str | None = None
