"""What every place gives where a model file can be run: outputs, and measured latencies. And which there are."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from targets.errors import TargetError
from targets.latency import PERCENTILES, StopRule, stop_rule
from targets.profile import Budgets, Measure, Source
from targets.runners.quiet import Quiet
from targets.runtimes.base import RuntimeOptions

Feeds = Sequence[Mapping[str, np.ndarray]]  # inputs by name, a mapping for each inference


@dataclass(frozen=True, eq=False)
class Measured:
    """`samples_ms`: float64 [runs], single inferences in the order measured: inputs handed over, run, outputs
    fetched.

    `cold_start_ms`: opening the file and the first inference, in a process that has its runtime imported; the
    start of that process is left out, and the file is likely in the page cache. `peak_mem_mb`: by how much the
    peak of resident memory exceeds what the process held just before it opened the file; `process_mem_mb` is that
    peak, Python and runtime included. MB are 10**6 bytes; None is what the place does not tell. `looks`: at how many
    points a verdict could have ended the runs; `targets.latency.early_stopping` asks for it. `source` and `machine`
    say what the figures speak of; neither a host's name nor a serial number stands in them.

    `quiet`: whether the machine was left alone meanwhile; `at_pace_ms`: the samples as they would have been had its
    clock stood still (`targets.runners.pace`). `energy_mj`: millijoules of one inference, with all else that ran on the
    processor. None where the place does not tell it.
    """

    samples_ms: np.ndarray
    cold_start_ms: float | None
    peak_mem_mb: float | None
    process_mem_mb: float | None
    looks: int
    notes: tuple[str, ...]
    source: Source = "host"
    machine: str = ""
    quiet: Quiet | None = None
    at_pace_ms: np.ndarray | None = None
    energy_mj: float | None = None


class Runner(Protocol):
    """A place where files are run. All raise TargetError for what the place, its runtime or the file does not do."""

    def identity(self, options: RuntimeOptions) -> str:
        """Which place this is and what measures there, as far as this computer knows it without asking a device: its
        address and tool. It goes into the fingerprint of a stored figure, which is then found again where the device
        is not at hand, and into no report."""
        ...

    def run(self, file: Path, options: RuntimeOptions, feeds: Feeds) -> list[list[np.ndarray]]:
        """The outputs of each feed, in the order and dtypes of the file's outputs."""
        ...

    def measure(
        self,
        file: Path,
        options: RuntimeOptions,
        feeds: Feeds,
        plan: Measure,
        folder: Path,
        *,
        budget: Budgets | None = None,
    ) -> Measured:
        """Single inferences of `file` in turn through `feeds`, after `plan.warmup`, until `plan.min_runs` and
        `plan.min_seconds`. With latency budgets, on until the early-stopping rule has passed all or failed one, and
        at most to `plan.max_runs`. `folder` is for temporary files; what a device had measured before it was lost is
        kept in `folder/resume`, from where a later call goes on."""
        ...


def _host(plan: Measure) -> Runner:
    from targets.runners.host import HostRunner

    return HostRunner()


def _ssh(plan: Measure) -> Runner:
    from targets.runners.ssh import SshRunner

    if plan.device is None:
        raise TargetError(
            "measure.where is 'ssh' and there is no address: set measure.device in the target's profile, or say "
            "--device TARGET=HOST"
        )
    return SshRunner(plan.device, plan.tools.python or "python3")


def _adb(plan: Measure) -> Runner:
    from targets.runners.adb import AdbRunner

    return AdbRunner(plan.device, plan.tools)


def _browser(plan: Measure) -> Runner:
    from targets.runners.browser import BrowserRunner

    return BrowserRunner(plan.tools.browser)


RUNNERS: dict[str, Callable[[Measure], Runner]] = {  # by `measure.where`
    "host": _host, "adb": _adb, "ssh": _ssh, "browser": _browser,
}  # fmt: skip


def runner_for(plan: Measure) -> Runner:
    """The runner of a profile's `measure`. Raises TargetError for a place that none can measure."""
    if plan.where == "log":
        raise TargetError(
            "measure.where is 'log' in the target's profile: its figures come from elsewhere; run with --no-latency, "
            "then `edgepress import-log BUNDLE LOG`"
        )
    if plan.where == "emulated":
        raise TargetError(
            "measure.where is 'emulated' in the target's profile, and the time that an emulated core takes says "
            "nothing of the device; `edgepress bench FILE --target TARGET --emulate` counts instructions, --predict "
            "makes a latency of them, --device measures on a real device"
        )
    if plan.where not in RUNNERS:
        raise TargetError(
            f"measure.where is '{plan.where}' in the target's profile, where nothing can be run; set it to one of "
            f"{', '.join(RUNNERS)}, or run with --no-latency"
        )
    return RUNNERS[plan.where](plan)


def rule_of(plan: Measure, budget: Budgets | None) -> StopRule:
    """When the runs of `plan` end that the latencies of `budget` decide."""
    budget = budget or Budgets()
    limits = [(share, getattr(budget.latency_ms, name)) for name, share in PERCENTILES.items()]
    limits = [(share, limit) for share, limit in limits if limit is not None]
    return stop_rule(limits, budget.confidence, plan.min_runs, plan.max_runs)
