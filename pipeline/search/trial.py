"""One trial: the student trained and its files made as a run makes them, then judged on the validation split."""

from typing import Any

from pipeline.context import RunContext
from pipeline.emulated.emulate import emulate
from pipeline.files import make_files, static_scheme
from pipeline.latency import measure_latency
from pipeline.metrics import accuracy
from pipeline.plan import FilePlan, TargetPlan, make_plan
from pipeline.recipe import Recipe
from pipeline.results import ExportedFile, LatencyFigures, PreparedData
from pipeline.run import train
from pipeline.search.best import Judged
from pipeline.validate import score_file
from targets.latency import PERCENTILES, early_stopping
from targets.profile import Budgets

UNSURE = 1e-3  # share of its budget by which a latency counts as over it that too few runs were made to pass


def judge(recipe: Recipe, context: RunContext, *, target: str, latency: bool) -> Judged:
    """What an app would get: the accuracy of the worst of the files that ship, each run by its own runtime over the
    validation split, and the costs of the dearest. Data, teacher and cache come from the store that trials share; the
    test split has no part in it."""
    whole = make_plan(bare(recipe), (target,))
    (planned,), recipe = whole.targets, whole.recipe
    networks = train(recipe, context, (planned,))
    accuracies, figures, excess = [], dict[str, float](), dict[str, float]()
    static = static_scheme(recipe, planned, networks, context)
    for plan, files in zip(planned.files, make_files(recipe, planned, networks, static, context), strict=True):
        file = files[-1]
        accuracies.append(validation_accuracy(file, networks.data, plan, context))
        timed, found = None, {"size_mb": file.bytes / 1e6}
        if latency:
            timed = measure_latency(
                file, networks.data, plan.options, planned.profile.measure, planned.budgets, context
            )
            found |= {f"latency_ms.{share}": getattr(timed, share) for share in PERCENTILES}
            found |= other_costs(timed) | counted(file, networks.data, plan, planned, context)
        for key, value in found.items():
            figures[key] = max(value, figures.get(key, value))
        for key, over in excesses(found, timed, planned.budgets).items():
            excess[key] = max(over, excess.get(key, over))
    curve = tuple(record.validation_accuracy for record in networks.students[0].curve)
    return Judged(min(accuracies), figures, excess, curve)


def bare(recipe: Recipe) -> Recipe:
    """The recipe without what a trial does not need: a naive student, and explanations."""
    distilling = recipe.distill.model_copy(update={"compare_naive": False})
    return recipe.model_copy(update={"distill": distilling, "explain": None})


def validation_accuracy(file: ExportedFile, data: PreparedData, plan: FilePlan, context: RunContext) -> float:
    """Of the file in its own runtime, on the validation split."""
    rows = data.rows("validation")
    with context.reporter.stage(f"validate {file.label}.{file.format}", len(rows), "samples") as meter:
        scores = score_file(file, data, rows, plan.options, meter)
    return accuracy(scores, data.targets[rows]).value


def other_costs(timed: LatencyFigures) -> dict[str, float]:
    """Cold start and memory, as far as the place that measured tells them."""
    told = {"cold_start_ms": timed.cold_start_ms, "peak_mem_mb": timed.peak_mem_mb}
    return {key: value for key, value in told.items() if value is not None}


def counted(
    file: ExportedFile, data: PreparedData, plan: FilePlan, planned: TargetPlan, context: RunContext
) -> dict[str, float]:
    """Instructions of an inference in millions, on the core of the target that takes the most, where there is a budget
    for them."""
    if planned.budgets.instructions_m is None:
        return {}
    found = emulate(file, data, plan.options, planned.profile, context)
    return {"instructions_m": max(core.counts.total for core in found.cores) / 1e6}


def limits(budgets: Budgets, latency: bool) -> dict[str, float]:
    """The budgets of size and, with `latency`, of all that only runs tell, by their keys."""
    limit: dict[str, Any] = {"size_mb": budgets.size_mb}
    if latency:
        limit |= {f"latency_ms.{share}": getattr(budgets.latency_ms, share) for share in PERCENTILES}
        limit |= {key: getattr(budgets, key) for key in ("cold_start_ms", "peak_mem_mb", "instructions_m")}
    return {key: value for key, value in limit.items() if value is not None}


def excesses(found: dict[str, float], timed: LatencyFigures | None, budgets: Budgets) -> dict[str, float]:
    """By which share of a budget a file that costs `found` is over it; not above 0 where the gate would let it pass."""
    over = {key: found[key] / limit - 1 for key, limit in limits(budgets, timed is not None).items()}
    for share, quantile in PERCENTILES.items():
        key = f"latency_ms.{share}"
        if timed is not None and key in over:
            limit = getattr(budgets.latency_ms, share)
            rule = early_stopping(timed.samples, limit, quantile, budgets.confidence, timed.looks)
            over[key] = min(over[key], 0.0) if rule.outcome == "pass" else max(over[key], UNSURE)
    return over
