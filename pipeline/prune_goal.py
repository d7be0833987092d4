"""Goals of pruning that only files tell, size and latency: how far a student is pruned for them, found by making the
files that a target would get; and what the latency of the pruned student's files is in the end."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline import scale
from pipeline.context import RunContext
from pipeline.distill.cache_results import CacheResult
from pipeline.errors import InputError
from pipeline.progress import SILENT, Meter
from pipeline.pruning.candidate import candidate
from pipeline.pruning.descent import descend, judging
from pipeline.pruning.ladder import counted, refusal
from pipeline.pruning.search import first_within
from pipeline.pruning.timing import TimedFile, compare_pace
from pipeline.results import NetworkResult, PreparedData, PrunedPace, PruningChoice, TargetFile
from pipeline.settings.distill import DistillSettings
from pipeline.settings.prune import RECOVERING, PruneSettings
from pipeline.store import Store
from pipeline.training.fit import prepare_torch
from targets.machine import describe_machine
from targets.profile import Measure, Scheme

# Of a weight.
BYTES: dict[Scheme, float] = {
    "float32": 4, "float16": 2, "int8-dynamic": 1, "int8-static": 1, "int8-static-a16": 1, "int4-dynamic": 0.5,
    "int4-weights": 0.5,
}  # fmt: skip


@dataclass(frozen=True)
class Shipping:
    """How a target gets its files: `make` gives those of a network, as `scheme` wants them, `measure` says how their
    latency is taken. `decided_by`: all that decides what a goal finds, plain; targets that agree in it share a student.
    """

    make: Callable[[NetworkResult, RunContext], list[TimedFile]]
    decided_by: dict[str, Any]
    scheme: Scheme
    measure: Measure


def choose_pruning(
    data: PreparedData,
    student: NetworkResult,
    teacher: NetworkResult,
    cache: CacheResult | None,
    settings: PruneSettings,
    distilling: DistillSettings,
    shipping: Shipping,
    context: RunContext,
) -> PruningChoice:
    """How far `student` must be pruned for the `size_mb` or `latency` of `settings`, in the worst of a target's files.

    The architectures that pruning passes through are made into files with random weights, which take as many bytes and
    as long as others, and measured until the first is found that keeps to the goal; latency in turns with the student's
    own files. The choice is stored: who finds it does not measure again. Raises InputError where the goal can't be
    reached.
    """
    assert settings.goal is not None
    goal, asked = settings.goal
    assert goal == "size_mb" or goal == "latency", "the others are counted"
    macs = student.macs
    assert macs is not None, "a PyTorch network's are counted"
    whole = shipping.make(student, context)
    timed = goal == "latency"
    machine = scale.from_first(describe_machine().label) if timed else None  # the first measures for all

    def make(folder: Path, key: str, meter: Meter) -> PruningChoice:
        device = prepare_torch(context)
        learning = judging(data, teacher, cache, settings, distilling, context, device)
        _, rungs = descend(data, student, learning, settings, context, device)
        scratch = folder / "resume"  # files made before a kill are found again
        aside = replace(context, store=Store(scratch / "store"), reporter=SILENT, observer=None, curves=None)

        def cost(number: int) -> float:
            files = shipping.make(candidate(student, rungs[number].architecture, scratch, context.seed), aside)
            pairs = zip(files, whole, strict=True)
            if timed:
                found = max(compare_pace(*pair, shipping.measure, scratch).share for pair in pairs)
            else:
                found = _megabytes(files)
            meter.advance(note=f"{rungs[number].macs / macs:.0%} of the MACs: {told(goal, found)}")
            return found

        amounts = [float(counted(rung, goal)) for rung in rungs]
        top, slope = (1.0, 1 / macs) if timed else (_megabytes(whole), BYTES[shipping.scheme] / 1e6)
        with scale.apart():
            if settings.layers is not None:  # the first rung is not the student any more
                top = cost(0)
            tried = first_within(cost, amounts, top, asked, slope)
        *_, (rung, found) = tried.items()
        if found > asked:
            raise InputError(refusal(settings, told(goal, found)))
        return PruningChoice(
            key, goal, asked, found, rung, rungs[rung].macs / macs, tuple(sorted(tried.items())), machine
        )

    inputs = {
        "data": data.fingerprint,
        "student": student.fingerprint,
        "teacher": None if settings.when == "before" else teacher.fingerprint,
        "settings": settings.model_dump(exclude=set(RECOVERING)),
        "distilling": distilling.model_dump(exclude={"compare_naive", "transfer", "epochs", "learning_rate"}),
        "files": [timed.file.fingerprint for timed in whole],  # which tells what makes them, too
        "decided_by": shipping.decided_by,
        "machine": machine,
    }
    title = f"search for {told(goal, asked)}"
    return context.stage("prune-goal", inputs, PruningChoice, make, total=5, unit="networks", title=title)


def measure_pace(
    file: TargetFile, whole: list[TimedFile], plan: Measure, data: PreparedData, context: RunContext
) -> TargetFile:
    """`file` of a pruned student with its latency beside the unpruned student's, which is in `whole`, measured in turns
    on this host; one that does not ship as it is."""
    if not file.shipped:
        return file
    machine = describe_machine().label
    (beside,) = (timed for timed in whole if timed.file.format == file.export.format)
    pruned = TimedFile(file.export, beside.options, data)

    def make(folder: Path, key: str, meter: Meter) -> PrunedPace:
        found = compare_pace(pruned, beside, plan, folder)
        meter.advance(note=told("latency", found.share))
        return PrunedPace(
            key, found.share, found.pruned_ms, found.whole_ms, found.rounds, machine, found.low, found.high
        )

    inputs = {
        "files": [pruned.file.fingerprint, beside.file.fingerprint],
        "data": [pruned.data.fingerprint, beside.data.fingerprint],
        "options": pruned.options,
        "plan": plan,
        "machine": machine,
    }
    title = f"latency beside unpruned {file.export.label}.{file.export.format}"
    return replace(file, pace=context.stage("pruned-latency", inputs, PrunedPace, make, unit="files", title=title))


def told(goal: str, value: float) -> str:
    return f"{value:.3f} MB" if goal == "size_mb" else f"{value:.1%} of the latency"


def _megabytes(files: list[TimedFile]) -> float:
    return max(timed.file.bytes for timed in files) / 1e6
