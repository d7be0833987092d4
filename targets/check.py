"""What a valid profile leaves open: notes for whoever wrote it, none of which stops a run."""

from pathlib import Path

from targets.emulator.cores import profile_cores
from targets.errors import TargetError
from targets.latency import look_schedule, runs_to_pass
from targets.profile import Budgets, Profile, load_profile
from targets.runtimes.base import runtime_version


def check_profile(file: Path | str) -> list[str]:
    """Notes on the profile in `file` (or on a ready one, by id). Raises TargetError if it is not valid."""
    name = str(file)
    profile = load_profile(name)
    notes = []
    if name.endswith((".yaml", ".yml")) and Path(name).stem != profile.id:
        notes.append(f"the file is called {Path(name).name}, its id is '{profile.id}'")
    return [
        *notes,
        *_figures(profile),
        *_runtimes(profile),
        *_tasks(profile),
        *_without_effect(profile),
        *_measuring(profile),
    ]


def _figures(profile: Profile) -> list[str]:
    notes = []
    figures = profile.cores or profile.ram_mb or profile.app_ram_budget_mb
    if figures and profile.provenance.kind == "estimate":
        notes.append("provenance is 'estimate' but cores or memory are given: a figure without a source stays null")
    counted = sum(core.count for core in profile.cores)
    for runtime in profile.runtimes:
        if counted and runtime.threads > counted:
            notes.append(f"{runtime.name} uses {runtime.threads} threads, the device has {counted} cores")
    return notes


def _runtimes(profile: Profile) -> list[str]:
    notes = []
    for runtime in profile.runtimes:
        try:
            runtime_version(runtime.name)
        except TargetError as error:
            notes.append(f"files for {runtime.name} can't be checked here: {error}")
    if profile.export.banned_ops and not profile.export.banned_reason:
        notes.append("export.banned_ops has no banned_reason: a refused student's owner will ask")
    return notes


def _tasks(profile: Profile) -> list[str]:
    tasks = [
        ("image", profile.quantization.image, profile.budgets.image),
        ("text", profile.quantization.text, profile.budgets.text),
    ]
    notes = [
        f"budgets.{task} sets no {what}: the gate does not look at it"
        for task, quantization, budgets in tasks
        if quantization
        for what in _unset(budgets)
    ]
    if not any(quantization for _, quantization, _ in tasks):
        notes.append("quantization is null for image and for text: the target takes no model at all")
    return notes


def _unset(budgets: Budgets) -> list[str]:
    latency, accuracy = budgets.latency_ms, budgets.accuracy
    limits = {
        "latency_ms": (latency.p50, latency.p90, latency.p99),
        "size_mb": (budgets.size_mb,),
        "accuracy": (accuracy.min, accuracy.max_drop, accuracy.max_group_drop),
    }
    return [name for name, values in limits.items() if all(value is None for value in values)]


def _without_effect(profile: Profile) -> list[str]:
    notes = []
    if not profile.export.static_shapes:
        notes.append("export.static_shapes is false: files get static shapes all the same")
    return notes


def _measuring(profile: Profile) -> list[str]:
    measure = profile.measure
    notes = []
    if measure.where == "log":
        notes.append("measure.where is 'log': a run measures nothing, figures come by edgepress import-log")
    if measure.where == "emulated":
        notes += _untold(profile)
    if measure.where == "emulated" or profile.budgets.image.instructions_m or profile.budgets.text.instructions_m:
        notes += _emulated(profile)
    looks = len(look_schedule(measure.min_runs, measure.max_runs))
    for task, budgets in (("image", profile.budgets.image), ("text", profile.budgets.text)):
        for name, share in (("p50", 0.50), ("p90", 0.90), ("p99", 0.99)):
            if getattr(budgets.latency_ms, name) is None:
                continue
            needed = runs_to_pass(0, share, budgets.confidence, looks)
            if needed > measure.max_runs:
                notes.append(
                    f"budgets.{task}.latency_ms.{name} can't pass at confidence {budgets.confidence}: it takes "
                    f"{needed} runs without a miss, measure.max_runs is {measure.max_runs}"
                )
    return notes


def _emulated(profile: Profile) -> list[str]:
    try:
        profile_cores(profile)
    except TargetError as error:
        return [f"{error}; a run refuses it"]
    return []


def _untold(profile: Profile) -> list[str]:
    """Budgets that no run of a target can pass that is emulated."""
    notes = []
    for task, budgets in (("image", profile.budgets.image), ("text", profile.budgets.text)):
        limits = {"cold_start_ms": budgets.cold_start_ms, "peak_mem_mb": budgets.peak_mem_mb}
        if not profile.measure.allow_prediction:
            limits |= {f"latency_ms.{name}": value for name, value in budgets.latency_ms.model_dump().items()}
        notes += [
            f"budgets.{task}.{name} can't be told by an emulated core: it passes by an imported log alone"
            for name, value in limits.items()
            if value is not None
        ]
    return notes
