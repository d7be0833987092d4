"""How many instructions one inference takes, as an emulated core counted them."""

from dataclasses import dataclass

from targets.emulator.classes import CLASSES


@dataclass(frozen=True)
class InstructionCounts:
    """Instructions of one inference on `core`, in one thread: the median of `inferences`, by class
    (`targets.emulator.classes`). Handing the inputs over and fetching the outputs is not in them.

    `runtime` and its `version` are the guest's, `qemu` the emulator's version. `spread`: of the totals of the single
    inferences, how far the quartiles lie apart, as a share of the median.
    """

    core: str
    runtime: str
    version: str
    qemu: str
    inferences: int
    spread: float
    vector_multiply_add: int
    vector: int
    load: int
    store: int
    scalar: int
    branch: int

    @property
    def total(self) -> int:
        return sum(self.by_class().values())

    def by_class(self) -> dict[str, int]:
        """In the order of `CLASSES`."""
        return {name: getattr(self, name) for name in CLASSES}
