"""What predictions rest on: latencies that profiles quote as their baselines, each with the counts of its network."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from targets.emulator.classes import CLASSES
from targets.errors import TargetError
from targets.profile import Baseline, Core, Profile

ROOM = Path(__file__).parent
COUNTS = ROOM / "counts.json"


@dataclass(frozen=True)
class Work:
    """What one inference of a file has to do on `core`: instructions by class (`targets.emulator.classes`) in one
    thread of `runtime`, bytes of weights and of activations (each tensor that an operator makes, once), operators.

    `dtype` is what most is computed in: float32 or int8.
    """

    core: str
    runtime: str
    dtype: str
    vector_multiply_add: int
    vector: int
    load: int
    store: int
    scalar: int
    branch: int
    weight_bytes: int
    activation_bytes: int
    operators: int

    @property
    def instructions(self) -> int:
        return sum(getattr(self, name) for name in CLASSES)


@dataclass(frozen=True)
class Measurement:
    """A latency of `network` on one of `device`'s cores: `ms` with `threads`, and the work that it took."""

    device: str
    network: str
    threads: int
    ghz: float
    ms: float
    source: str
    work: Work


def read_counts(file: Path = COUNTS) -> dict[tuple[str, str, str], Work]:
    """The counted work by (core, network, dtype). Raises TargetError for a file that holds something else."""
    try:
        rows: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))
        names = [field.name for field in fields(Work)]
        return {(row["core"], row["network"], row["dtype"]): Work(**{name: row[name] for name in names})
                for row in rows}  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TargetError(
            f"{file}: not the counts of networks ({error!r}): write them with python -m benchmarks.devices_counts"
        ) from None


def single_core(profile: Profile) -> Core | None:
    """The profile's core where all of its cores are of one kind, else None."""
    return profile.cores[0] if len(profile.cores) == 1 else None


def published(profiles: Iterable[Profile], counts: dict[tuple[str, str, str], Work]) -> tuple[Measurement, ...]:
    """The baselines of `profiles` that have counts, in their order. One says how many threads it took, or it is left
    out; so is one of a profile with several kinds of cores, or without a clock."""
    found = []
    for profile in profiles:
        core = single_core(profile)
        if core is None or core.ghz is None:
            continue
        for baseline in profile.baselines:
            work = counts.get((core.uarch.lower(), baseline.model, baseline.dtype))
            if work is not None and baseline.threads is not None:
                found.append(_measurement(profile, core.ghz, baseline, baseline.threads, work))
    return tuple(found)


def _measurement(profile: Profile, ghz: float, baseline: Baseline, threads: int, work: Work) -> Measurement:
    return Measurement(profile.id, baseline.model, threads, ghz, baseline.ms, baseline.source, work)
