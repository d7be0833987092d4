"""What a runtime makes of a model file's operators: those that run as the file's scheme means them, and the others."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Coverage:
    """Operators by kind, as they are run. What is computed once, of constants alone, is none of them, and what only
    changes between float and 8 bits is counted apart (`conversions`).

    `taken`: run by the `delegate`, in the arithmetic that the scheme means. `left_out`: by the runtime's own kernels,
    because the delegate did not take them. `in_float`: taken, but computed in float where the scheme means integers.
    `pieces`: the parts of the graph that the delegate runs, 1 if nothing cuts it; None for onnxruntime, which has one
    provider here that takes all. `transposes` are counted in the file, before a runtime moves or removes them.
    `macs`: multiply-accumulates of one inference, None where a shape is not known; `taken_macs` those of `taken`.
    """

    fingerprint: str
    delegate: str
    taken: dict[str, int]
    left_out: dict[str, int]
    in_float: dict[str, int]
    pieces: int | None
    conversions: int
    transposes: int
    macs: int | None
    taken_macs: int

    @property
    def operators(self) -> int:
        return sum(sum(kinds.values()) for kinds in (self.taken, self.left_out, self.in_float))

    @property
    def share(self) -> float:
        """Of the operators, in [0, 1]; 1 for a graph without any."""
        return sum(self.taken.values()) / self.operators if self.operators else 1.0

    @property
    def macs_share(self) -> float | None:
        """Of the multiply-accumulates, in [0, 1]; None where there are none, or they are not known."""
        return self.taken_macs / self.macs if self.macs else None


@dataclass(frozen=True)
class OperatorTimes:
    """Milliseconds of one inference by kind of operator as run, the dearest first, as the runtime's own profiler told.
    It costs time itself: good to compare kinds, too high for a latency."""

    fingerprint: str
    runs: int
    ms: dict[str, float]


@dataclass(frozen=True)
class NotTaken:
    """Operators of a file that a delegate's table leaves out. `dtype`: those of the tensors that they compute, joined
    by commas; empty where the file does not tell."""

    kind: str
    dtype: str
    count: int
    reason: str


@dataclass(frozen=True)
class TableCoverage:
    """What a delegate takes of a file by its table, before anything runs. `operators` counts all that an inference
    computes, conversions between float and 8 bits too; `pieces` the parts that the delegate would be given, 1 if
    nothing cuts the graph. `complete` is false where the table's source could not be read to its end."""

    delegate: str
    sources: str
    operators: int
    pieces: int
    not_taken: tuple[NotTaken, ...]
    complete: bool
    deprecated: str | None = None

    @property
    def outside(self) -> int:
        return sum(kind.count for kind in self.not_taken)

    @property
    def share(self) -> float:
        """Of the operators, in [0, 1]; 1 for a graph without any."""
        return 1 - self.outside / self.operators if self.operators else 1.0
