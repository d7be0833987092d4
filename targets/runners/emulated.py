"""Model files on an emulated ARM core, run by genuine aarch64 builds of the runtimes: what they compute there and how
many instructions it takes. How long it takes there says nothing of the device."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np

import targets
from targets.emulator.cores import EmulatedCore
from targets.emulator.counts import InstructionCounts
from targets.emulator.place import installed
from targets.emulator.plugin import FIRST, LAST, MARK_CALL, compiled_plugin, read_counts
from targets.emulator.qemu import find_qemu, run_guest
from targets.errors import TargetError
from targets.profile import Budgets, Measure
from targets.runtimes.base import RuntimeOptions

WARMUP = 2  # inferences before the first that is counted
COUNTED = 7  # inferences that are counted, in turn through the feeds

Feeds = Sequence[Mapping[str, np.ndarray]]


@dataclass(frozen=True)
class EmulatedRunner:
    """A runner of `targets.runners.base` for one core. Needs what `edgepress targets install-emulator` gets."""

    core: EmulatedCore

    def identity(self, options: RuntimeOptions) -> str:
        """The core, what emulates it and the guest's packages, as far as an output or a count depends on them."""
        versions = ", ".join(f"{name} {version}" for name, version in sorted(installed().versions.items()))
        return f"emulated {self.core.name}, {find_qemu().label}, {versions}"

    def run(self, file: Path, options: RuntimeOptions, feeds: Feeds) -> list[list[np.ndarray]]:
        """Outputs of each feed, as the core computes them with the session options that ship.

        Raises TargetError if the emulator is not there or not whole, or the process on it failed.
        """
        if not feeds:
            raise TargetError(f"{file}: no sample to run it on, expected at least one")
        with tempfile.TemporaryDirectory(prefix="emulated-") as folder:
            self._ask(Path(folder), file, options, feeds, marks=())
            with np.load(Path(folder) / "outputs.npz", allow_pickle=False) as arrays:
                places = len(arrays.files) // len(feeds)
                return [[arrays[f"{row}_{place}"] for place in range(places)] for row in range(len(feeds))]

    def measure(
        self,
        file: Path,
        options: RuntimeOptions,
        feeds: Feeds,
        plan: Measure,
        folder: Path,
        *,
        budget: Budgets | None = None,
    ) -> NoReturn:
        """Raises TargetError: an emulator's time is none of the device's."""
        raise TargetError(
            f"measure.where is 'emulated': the time of an emulated {self.core.name} says nothing of the device, whose "
            "instructions it runs one by one in software; count instructions (edgepress bench FILE --target TARGET "
            "--emulate), or measure on the device or on the host"
        )

    def count(self, file: Path, options: RuntimeOptions, feeds: Feeds) -> InstructionCounts:
        """Instructions of an inference in one thread: with more, idle threads that spin would count too.

        Raises TargetError as `run` does, and where QEMU can't count or no C compiler is there.
        """
        if not feeds:
            raise TargetError(f"{file}: no sample to run it on, expected at least one")
        plugin = compiled_plugin()
        single = RuntimeOptions(options.runtime, 1, options.delegate)
        turns = [feeds[turn % len(feeds)] for turn in range(COUNTED)]
        with tempfile.TemporaryDirectory(prefix="emulated-") as folder:
            marks = (MARK_CALL, FIRST, LAST)
            version = self._ask(Path(folder), file, single, turns, marks=marks, plugin=plugin)
            found = read_counts(Path(folder) / "counts.txt", WARMUP + 1 + COUNTED)
        inferences = found[WARMUP + 1 :] - found[WARMUP]
        # Medians: now and then the C library's memory management adds a tenth to one inference.
        low, middle, high = np.percentile(inferences.sum(axis=1), [25, 50, 75])
        return InstructionCounts(
            self.core.name,
            options.runtime,
            version,
            find_qemu().label,
            COUNTED,
            float((high - low) / middle),
            *(round(count) for count in np.median(inferences, axis=0).tolist()),
        )

    def _ask(
        self,
        folder: Path,
        file: Path,
        options: RuntimeOptions,
        feeds: Feeds,
        *,
        marks: Sequence[int],
        plugin: Path | None = None,
    ) -> str:
        """Has the worker do one request in `folder`; the version of its runtime."""
        guest = installed()
        inputs = list(feeds[0])
        arrays = {f"{row}_{place}": feed[name] for row, feed in enumerate(feeds) for place, name in enumerate(inputs)}
        request = {
            "file": str(file.resolve()),
            "runtime": options.runtime,
            "threads": options.threads,
            "delegate": options.delegate,
            "inputs": inputs,
            "warmup": WARMUP,
            "marks": marks,
        }
        (folder / "request.json").write_text(json.dumps(request), encoding="utf-8")
        np.savez(folder / "feeds.npz", **arrays)  # type: ignore[arg-type]
        (folder / "ours").mkdir()
        (folder / "ours/targets").symlink_to(Path(targets.__file__).parent)  # and nothing of the host's packages
        arguments = ["-m", "targets.runners.emulated_worker", "request.json"]
        said = run_guest(guest, self.core, arguments, folder, str(file), paths=[folder / "ours"], plugin=plugin)
        return said.split()[-1] if said.split() else "unknown"
