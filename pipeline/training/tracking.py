"""Curves of every training, written by a tracker that Accelerate knows, while it trains.

Each network is a run of the tracker's, named for its stage and fingerprint, with its training loss and validation
accuracy by epoch. A training that goes on after a kill is written again from its first epoch, and a result that the
store has is written once, so that a run's curves are whole and no point stands twice.
"""

import difflib
import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.markup import escape

from pipeline.errors import InputError
from pipeline.progress import Reporter
from pipeline.quiet import quiet
from pipeline.results import EpochRecord
from pipeline.store import write_atomic

WRITTEN = "written.json"  # the networks whose curves are whole, by tracker

# What names a run within a project, for trackers that have both.
RUN_KEYWORDS = {
    "wandb": "name", "trackio": "name", "swanlab": "experiment_name", "mlflow": "run_name", "clearml": "task_name",
}  # fmt: skip


def check_tracker(name: str) -> None:
    """Raises InputError for a tracker that Accelerate does not know, or whose package is not installed."""
    with quiet():
        from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers
        from accelerate.utils import LoggerType

    if name not in LOGGER_TYPE_TO_CLASS:
        near = difflib.get_close_matches(name, LOGGER_TYPE_TO_CLASS, n=1, cutoff=0.4)
        hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(sorted(LOGGER_TYPE_TO_CLASS))}"
        raise InputError(f"tracking '{name}' is not known to Accelerate: {hint}")
    if name in {str(kind.value) for kind in LoggerType} - {str(kind.value) for kind in get_available_trackers()}:
        package = "'edgepress[tracking]'" if name == "tensorboard" else name.replace("_", "-")
        raise InputError(f"tracking: {name} is not installed: pip install {package}, or remove tracking")


def track(name: str | None, recipe: str, out: Path, reporter: Reporter) -> "Tracking | None":
    """What keeps the curves of a run of `recipe` into `out`; None where no tracker is named."""
    return None if name is None else Tracking(name, recipe, out / recipe / "tracking", reporter)


@dataclass
class Tracking:
    """`pipeline.progress.Curves` for tracker `name`. Local trackers write into `folder`; `project` is what the others
    file the runs under. Whatever goes wrong in a tracker is told in one line, and ends the tracking, not the
    training."""

    name: str
    project: str
    folder: Path
    reporter: Reporter
    _failed: bool = False
    _open: dict[str, Any] = field(default_factory=dict)  # by network
    _heard: dict[str, int] = field(default_factory=dict)  # epochs written, by network
    _phases: dict[str, dict[str, int]] = field(default_factory=dict)  # epochs before each phase, by network

    def epoch(self, stage: str, key: str, phase: str, record: EpochRecord) -> None:
        network = f"{stage}-{key[:8]}"
        before = self._phases.setdefault(network, {}).setdefault(phase, self._heard.get(network, 0))
        self._guarded(self._write, network, record, before + record.epoch)

    def whole(self, stage: str, key: str, curve: tuple[EpochRecord, ...]) -> None:
        network = f"{stage}-{key[:8]}"
        if curve and not self._failed and network not in self._written():
            self._guarded(self._finish, network, curve)

    def _write(self, network: str, record: EpochRecord, epoch: int) -> None:
        if network not in self._open:
            self._open[network] = self._start(network)
        values = {"training loss": record.train_loss, "validation accuracy": record.validation_accuracy}
        self._open[network].log(values, step=epoch + 1)
        self._heard[network] = self._heard.get(network, 0) + 1

    def _finish(self, network: str, curve: tuple[EpochRecord, ...]) -> None:
        for record in curve[self._heard.get(network, 0) :]:
            self._write(network, record, record.epoch)
        self._open.pop(network).finish()
        every = {**self._read(), self.name: sorted({*self._written(), network})}
        write_atomic(self.folder / WRITTEN, json.dumps(every, indent=1, sort_keys=True) + "\n")

    def _start(self, network: str) -> Any:
        from accelerate.tracking import LOGGER_TYPE_TO_CLASS

        kind = LOGGER_TYPE_TO_CLASS[self.name]
        self.folder.mkdir(parents=True, exist_ok=True)
        if kind.requires_logging_directory:
            shutil.rmtree(self.folder / network, ignore_errors=True)  # of a training that was killed
            with quiet():
                tracker = kind(network, str(self.folder))
                tracker.start()
            return tracker
        # The others speak to a service, and what they say is for the person: an address, a login that is missing.
        word = RUN_KEYWORDS.get(self.name)
        tracker = kind(self.project, **{word: network}) if word else kind(f"{self.project}-{network}")
        tracker.start()
        return tracker

    def _written(self) -> list[str]:
        return self._read().get(self.name, [])

    def _read(self) -> dict[str, list[str]]:
        try:
            found = json.loads((self.folder / WRITTEN).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def _guarded(self, act: Any, *given: Any) -> None:
        if self._failed:
            return
        try:
            act(*given)
        except Exception as error:  # a tracker may raise whatever its service gives it
            self._failed = True
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            self.reporter.say(escape(f"  tracking: {self.name} failed ({reason}); the run goes on without it"))
