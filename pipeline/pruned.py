"""Pruning within a run: how far is counted, or told by the files that the targets would get."""

from collections.abc import Callable, Sequence

from pipeline.context import RunContext
from pipeline.distill.cache_results import CacheResult
from pipeline.plan import TargetPlan, pruned_for
from pipeline.prune import prune
from pipeline.prune_goal import Shipping, choose_pruning
from pipeline.pruning.timing import TimedFile
from pipeline.recipe import Recipe
from pipeline.results import NetworkResult, PreparedData, PruningChoice


def prune_for(
    recipe: Recipe,
    targets: Sequence[TargetPlan],
    student: NetworkResult,
    data: PreparedData,
    guide: NetworkResult,
    cache: CacheResult | None,
    files: Callable[[NetworkResult, RunContext], list[TimedFile]],
    context: RunContext,
) -> tuple[NetworkResult, PruningChoice | None]:
    """`student` pruned as `recipe` says, and for a goal that `files` tell, which are made of a network as `targets` get
    them, how far they told to go."""
    settings, distilling, choice = recipe.prune, recipe.distill, None
    if settings.measured:
        target = targets[0]
        decided_by = pruned_for(target, settings)
        shipping = Shipping(files, decided_by, target.quantization.scheme, target.profile.measure)
        choice = choose_pruning(data, student, guide, cache, settings, distilling, shipping, context)
    return prune(data, student, guide, cache, settings, distilling, context, choice), choice
