"""One live line a stage, with rate and time left; plain lines where there is no terminal."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from pipeline.results import EpochRecord
from pipeline.words import sparkline

# (stage, phase of its training, epoch's record): told of every epoch that a training ends.
Observer = Callable[[str, str, EpochRecord], None]


class Curves(Protocol):
    """Who keeps the curves of trainings. `key` is the fingerprint of the stage's result."""

    def epoch(self, stage: str, key: str, phase: str, record: EpochRecord) -> None:
        """An epoch has ended. Of a training that goes on after a kill, all earlier ones are told again first."""

    def whole(self, stage: str, key: str, curve: tuple[EpochRecord, ...]) -> None:
        """The training is done, or was in an earlier run; its epochs are numbered through all phases."""


PLAIN_EVERY = 15.0  # seconds between the plain lines of one stage


@dataclass
class Meter:
    """The line of one stage: `advance` counts units done, `note` shows a short text (a loss, an accuracy)."""

    name: str
    unit: str
    total: int
    done: int = 0
    text: str = ""
    started: float = field(default_factory=time.monotonic)
    on_epoch: Callable[[str, EpochRecord], None] | None = field(default=None, kw_only=True)
    on_curve: Callable[[str, EpochRecord], None] | None = field(default=None, kw_only=True)
    accuracies: list[float] = field(default_factory=list, kw_only=True)  # on the validation split, by epoch
    draws: bool = field(default=False, kw_only=True)  # whether what it shows on has the characters of a sparkline

    def epoch(self, phase: str, record: EpochRecord, earlier: bool = False) -> None:
        """An epoch of a training has ended, in an `earlier` process or just now."""
        self.accuracies.append(record.validation_accuracy)
        course = f" {sparkline(self.accuracies)}".rstrip() if self.draws else ""
        accuracy = f"validation {100 * record.validation_accuracy:.1f}%{course}"
        self.advance(0, f"epoch {record.epoch + 1}: loss {record.train_loss:.3f}, {accuracy}")
        if self.on_curve is not None:
            self.on_curve(phase, record)
        if self.on_epoch is not None and not earlier:
            self.on_epoch(phase, record)

    def advance(self, units: int = 1, note: str | None = None) -> None:
        self.done += units
        if note is not None:
            self.text = note
        self.show()

    def show(self) -> None:
        """Nothing to show on: a silent meter."""

    @property
    def rate(self) -> float:
        return self.done / max(time.monotonic() - self.started, 1e-9)


@dataclass
class _PlainMeter(Meter):
    console: Console | None = None
    shown: float = field(default_factory=time.monotonic)

    def show(self) -> None:
        now = time.monotonic()
        if self.console is None or now - self.shown < PLAIN_EVERY:
            return
        self.shown = now
        # Under one unit a second, or before the first, a rate or a time left would only mislead.
        pace = f", {self.rate:.0f}/s, {(self.total - self.done) / self.rate:.0f} s left" if self.rate >= 1 else ""
        line = f"  {self.name}: {self.done}/{self.total} {self.unit}{pace} {self.text}".rstrip()
        self.console.print(line, highlight=False, soft_wrap=True, markup=False)


@dataclass
class _LiveMeter(Meter):
    live: Progress | None = None
    task: int = 0

    def show(self) -> None:
        if self.live is not None:
            rate = f"{self.rate:.0f} {self.unit}/s"
            self.live.update(self.task, completed=self.done, total=self.total, rate=rate, text=self.text)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Reporter:
    """Tells a person how a run goes. `quiet` says nothing."""

    console: Console
    quiet: bool = False

    def say(self, text: str) -> None:
        if not self.quiet:
            self.console.print(text, highlight=False, soft_wrap=True)

    @contextmanager
    def stage(self, name: str, total: int = 1, unit: str = "steps") -> Iterator[Meter]:
        """A meter for one stage; says how long it took when it ends well."""
        if self.quiet:
            yield Meter(name, unit, total)
            return
        started = time.monotonic()
        draws = self.console.encoding.startswith("utf")
        if self.console.is_terminal:
            counts = (MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
            times = (TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.fields[text]}"))
            columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), *counts, *times)
            with Progress(
                *columns, console=self.console, transient=True, redirect_stdout=False, redirect_stderr=False
            ) as live:
                task = live.add_task(name, total=total, rate="", text="")
                meter: Meter = _LiveMeter(name, unit, total, live=live, task=task, draws=draws)
                yield meter
        else:
            meter = _PlainMeter(name, unit, total, console=self.console, draws=draws)
            yield meter
        note = f"  {meter.text}" if meter.text else ""
        self.say(f"  {name}: {time.monotonic() - started:.1f} s{note}")


SILENT = Reporter(Console(quiet=True), quiet=True)
