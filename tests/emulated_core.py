"""In place of the emulator, which takes QEMU and a second Python."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from targets.emulator.counts import InstructionCounts
from targets.runners.emulated import EmulatedRunner
from targets.runtimes.base import RuntimeOptions, open_model
from tests import releases


class Core:
    """In place of the emulator: computes what the host does, plus `wrong`; counts as many instructions as it is told,
    and how often it was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wrong, self.total, self.asked = 0.0, 100_000_000, list[str]()
        monkeypatch.setattr(EmulatedRunner, "run", lambda core, *given: self.run(core, *given))
        monkeypatch.setattr(EmulatedRunner, "count", lambda core, *given: self.count(core, *given))
        monkeypatch.setattr(EmulatedRunner, "identity", lambda core, options: core.core.name)

    def run(self, runner: EmulatedRunner, file: Path, options: RuntimeOptions, feeds: Any) -> list[list[np.ndarray]]:
        self.asked.append(f"run {runner.core.name} {len(feeds)} {options.threads}")
        model = open_model(file, options)
        return [[output + np.float32(self.wrong) for output in model.run(feed)] for feed in feeds]

    def count(self, runner: EmulatedRunner, file: Path, options: RuntimeOptions, feeds: Any) -> InstructionCounts:
        self.asked.append(f"count {runner.core.name}")
        return replace(releases.counted(self.total, runner.core.name), runtime=options.runtime)
