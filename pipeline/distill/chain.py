"""From the teacher to the network that teaches the student: itself, or the last of a chain of assistants."""

from pipeline.context import RunContext
from pipeline.distill.cache import cache_teacher
from pipeline.distill.cache_results import CacheResult
from pipeline.distill.stored import is_stored, stored_cache
from pipeline.distill.student import distill
from pipeline.results import NetworkResult, PreparedData
from pipeline.settings.distill import DistillSettings
from pipeline.teachers.inference import for_inference


def guide_of(
    data: PreparedData, teacher: NetworkResult, settings: DistillSettings, context: RunContext
) -> tuple[NetworkResult, CacheResult | None]:
    """The network that the student learns from, and its cached answers (None in mode `online`).

    Each of `settings.assistants` is distilled from the one before, the first from `teacher`, so that no step down in
    size is wider than a student can follow (Mirzadeh et al. 2020).
    """

    def cached(network: NetworkResult) -> CacheResult | None:
        if is_stored(network):
            return stored_cache(data, network, settings, context.seed)
        return cache_teacher(data, network, settings, context) if settings.mode != "online" else None

    guide, cache = teacher, cached(teacher)
    for assistant in settings.assistants:
        guide = distill(data, guide, cache, assistant, settings, context, role="assistant")
        guide = for_inference(data, guide, context)
        cache = cached(guide)
    return guide, cache
