"""What every stage is given besides its own input: the store, the progress line and the seed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from pipeline.progress import SILENT, Curves, Meter, Observer, Reporter
from pipeline.results import NetworkResult
from pipeline.store import Store

R = TypeVar("R")


@dataclass(frozen=True)
class RunContext:
    """`threads` is for training; None leaves the choice to torch. `observer` hears of every epoch;
    `curves` keeps those of all trainings, of stored ones too."""

    store: Store
    reporter: Reporter = SILENT
    seed: int = 0
    threads: int | None = None
    observer: Observer | None = None
    curves: Curves | None = None

    def stage(
        self,
        name: str,
        inputs: Mapping[str, Any],
        kind: type[R],
        make: Callable[[Path, str, Meter], R],
        *,
        total: int = 1,
        unit: str = "steps",
        title: str | None = None,
    ) -> R:
        """The stored result of stage `name` for `inputs` (settings and fingerprints), or the one that
        `make(folder, fingerprint, meter)` returns after writing its files into `folder`."""
        key = self.store.key(name, {**inputs, "seed": self.seed}, make)
        found = self.store.find(name, key, kind)
        if found is None:
            with self.reporter.stage(title or name, total, unit) as meter:
                meter.on_epoch = partial(self.observer, name) if self.observer else None
                meter.on_curve = partial(self.curves.epoch, name, key) if self.curves else None
                found = self.store.make(name, key, kind, lambda folder: make(folder, key, meter))
        if self.curves and isinstance(found, NetworkResult):
            self.curves.whole(name, key, found.curve)
        return found
