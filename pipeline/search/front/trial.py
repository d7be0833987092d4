"""One trial of a search over the front: what the student's files cost before it is trained, and what they came to."""

from dataclasses import dataclass

from pipeline.context import RunContext
from pipeline.files import Networks, make_files, static_scheme
from pipeline.latency import measure_latency
from pipeline.plan import FilePlan, TargetPlan, make_plan
from pipeline.recipe import Recipe
from pipeline.results import ExportedFile, PreparedData
from pipeline.run import train
from pipeline.search.best import Judged
from pipeline.search.front.goals import COSTS
from pipeline.search.front.pace import Reference, measure_beside, reference_of
from pipeline.search.front.study import Costs
from pipeline.search.result import RATIO
from pipeline.search.trial import bare, counted, limits, other_costs, validation_accuracy
from pipeline.settings.release import CalibrationSettings, QuantizeSettings
from targets.profile import Budgets

FEW = 16  # calibration samples of a student that is not trained: ranges that mean nothing, but cost what others cost

SLOW = COSTS["latency"]

References = dict[str, Reference]  # by runtime


def untrained(recipe: Recipe) -> Recipe:
    """The recipe with no epoch of training for its student: made, pruned and pressed into files as it would be, it
    costs what the trained one will, but for the channels that pruning chooses by what was learned."""
    distilling = recipe.distill.model_copy(
        update={
            "epochs": 0, "hard_label_epochs": 0, "assistants": (), "features": (), "layers": None,
            "cache": recipe.distill.cache.model_copy(update={"hidden": False}),
        }
    )  # fmt: skip
    changes = {
        "distill": distilling,
        "prune": recipe.prune.model_copy(update={"recovery_epochs": 0}),
        "quantize": QuantizeSettings(scheme=recipe.quantize.scheme),
        "calibration": CalibrationSettings(samples=FEW, select="random"),
    }
    return bare(recipe).model_copy(update=changes)


def references(recipe: Recipe, context: RunContext, *, target: str) -> References:
    """The files of the recipe's own student, untrained, that those of all trials are measured beside."""
    made = _make(untrained(recipe), context, target)
    plan = made.planned.profile.measure
    return {
        file.runtime.name: reference_of(export, made.networks.data, file.options, plan, context)
        for file, export in made.files
    }


def price(recipe: Recipe, context: RunContext, *, target: str, beside: References) -> Costs:
    """What the files of the recipe's student cost, the dearest, before it is trained. No latency without references."""
    return _costs(_make(untrained(recipe), context, target), beside, context)


def judge_front(recipe: Recipe, context: RunContext, *, target: str, beside: References) -> Judged:
    """What an app would get, as in a search for the best: the accuracy of the worst of the files that ship, on the
    validation split, and the costs of the dearest."""
    made = _make(bare(recipe), context, target)
    accuracy = min(validation_accuracy(export, made.networks.data, file, context) for file, export in made.files)
    found = _costs(made, beside, context)
    curve = tuple(record.validation_accuracy for record in made.networks.students[0].curve)
    return Judged(accuracy, found.figures, found.excess, curve)


@dataclass(frozen=True)
class _Made:
    """A recipe's networks for one target, and the files that ship."""

    planned: TargetPlan
    networks: Networks
    files: list[tuple[FilePlan, ExportedFile]]


def _make(recipe: Recipe, context: RunContext, target: str) -> _Made:
    plan = make_plan(recipe, (target,))
    (planned,) = plan.targets
    networks = train(plan.recipe, context, (planned,))
    static = static_scheme(plan.recipe, planned, networks, context)
    made = make_files(plan.recipe, planned, networks, static, context)
    shipped = [(file, files[-1]) for file, files in zip(planned.files, made, strict=True)]
    return _Made(planned, networks, shipped)


def _costs(made: _Made, beside: References, context: RunContext) -> Costs:
    figures: dict[str, float] = {}
    for plan, file in made.files:
        found = {"size_mb": file.bytes / 1e6}
        if beside:
            found |= _timed(file, plan, made.planned, made.networks.data, beside[plan.runtime.name], context)
            found |= counted(file, made.networks.data, plan, made.planned, context)
        slower = found.get(SLOW, 0.0) > figures.get(SLOW, 0.0)
        for key, value in found.items():
            # The ratio is the slowest file's: each runtime has a reference of its own.
            if key != RATIO or slower:
                figures[key] = value if key == RATIO else max(value, figures.get(key, value))
    limited = limits(made.planned.budgets, bool(beside))
    return Costs(figures, {key: figures[key] / limit - 1 for key, limit in limited.items()})


def _timed(
    file: ExportedFile,
    plan: FilePlan,
    planned: TargetPlan,
    data: PreparedData,
    reference: Reference,
    context: RunContext,
) -> dict[str, float]:
    """Latencies at the reference's pace; cold start and memory, which take a process of their own, where there is a
    budget for them."""
    paired = measure_beside(reference, file, data, plan.options, planned.profile.measure, context)
    found = {
        "latency_ms.p50": paired.p50, "latency_ms.p90": paired.p90, "latency_ms.p99": paired.p99, RATIO: paired.ratio
    }  # fmt: skip
    if planned.budgets.cold_start_ms is not None or planned.budgets.peak_mem_mb is not None:
        alone = measure_latency(file, data, plan.options, planned.profile.measure, Budgets(), context)
        found |= other_costs(alone)
    return found
