"""What every stage is given besides its own input: the store, the progress line and the seed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from pipeline import scale
from pipeline.errors import InputError
from pipeline.progress import SILENT, Curves, Meter, Observer, Reporter
from pipeline.results import NetworkResult
from pipeline.settings.training import ComputeSettings
from pipeline.store import Store

R = TypeVar("R")
EXACT = ComputeSettings()


@dataclass(frozen=True)
class RunContext:
    """`threads` and `compute` are for training; None leaves the number of threads to torch. `observer` hears of every
    epoch; `curves` keeps those of all trainings, of stored ones too."""

    store: Store
    reporter: Reporter = SILENT
    seed: int = 0
    threads: int | None = None
    observer: Observer | None = None
    curves: Curves | None = None
    compute: ComputeSettings = EXACT

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
        together: bool = False,
    ) -> R:
        """The stored result of stage `name` for `inputs` (settings and fingerprints), or the one that
        `make(folder, fingerprint, meter)` returns after writing its files into `folder`.

        Of several processes, process 0 makes it and the others wait until they find it. A stage that all make
        `together` is entered by all, with the same folder, into which process 0 alone writes. How many they are is no
        part of the fingerprint: but for rounding, the result is the same.
        """

        def made(folder: Path, meter: Meter) -> R:
            if not together:
                return make(folder, key, meter)
            with scale.together():  # the folder is there for all, as long as one needs it
                return make(folder, key, meter)

        key = self.store.key(name, {**inputs, "seed": self.seed}, make)
        found = self.store.find(name, key, kind)
        missing, theirs = scale.from_first([found is None, key])
        if theirs != key:
            raise InputError(
                f"stage {name}: another process would make it otherwise than process 0: every machine needs the same "
                "edgepress, libraries and recipe"
            )
        if missing and scale.first():
            with self.reporter.stage(title or name, total, unit) as meter:
                meter.on_epoch = partial(self.observer, name) if self.observer else None
                meter.on_curve = partial(self.curves.epoch, name, key) if self.curves else None
                found = self.store.make(name, key, kind, lambda folder: made(folder, meter))
        elif missing:
            found = None
            if together:
                made(self.store.work_folder(name, key), Meter(name, unit, total))
        scale.from_first(None)  # it is whole
        if found is None:
            found = scale.seen(lambda: self.store.find(name, key, kind), f"stage {name}")
        if self.curves and scale.first() and isinstance(found, NetworkResult):
            self.curves.whole(name, key, found.curve)
        return found
