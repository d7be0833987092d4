"""A student taken down its ladder, judged by what it learned from."""

from dataclasses import replace
from itertools import islice

import torch
from torch import nn

from pipeline.context import RunContext
from pipeline.distill.answers import LearnAnswers, student_schedule, teacher_answers
from pipeline.distill.cache_results import CacheResult
from pipeline.networks import load_network
from pipeline.pruning.importance import gather_gradients
from pipeline.pruning.ladder import Rung, down_to_goal, ladder
from pipeline.results import NetworkResult, PreparedData, PruningChoice
from pipeline.settings.distill import DistillSettings
from pipeline.settings.prune import PruneSettings
from pipeline.training.labels import learn_labels
from pipeline.training.schedule import Objective, Schedule

Learning = tuple[Objective, Schedule]


def recovery(distilling: DistillSettings, settings: PruneSettings) -> DistillSettings:
    """How the student was distilled, for as long and at the rate that it recovers; a start does not."""
    if settings.when == "before":
        return distilling.model_copy(update={"epochs": 0})
    return distilling.model_copy(update={"epochs": settings.recovery_epochs, "learning_rate": settings.learning_rate})


def judging(
    data: PreparedData, teacher: NetworkResult, cache: CacheResult | None, settings: PruneSettings,
    distilling: DistillSettings, context: RunContext, device: torch.device,
) -> Learning:  # fmt: skip
    """What judges which channels go, and trains those that stay: the student's own loss; labels alone before it has
    any."""
    tuned = recovery(distilling, settings)
    if settings.when == "before":
        objective: Objective = learn_labels(distilling.regularization, distilling.label_smoothing)
        return objective, student_schedule(data, tuned, context.seed)
    answers = teacher_answers(data, teacher, cache, distilling, device, context.seed)
    schedule = student_schedule(data, tuned, context.seed, answers)
    return LearnAnswers(distilling, answers), replace(schedule, compute=context.compute)


def descend(
    data: PreparedData, student: NetworkResult, learning: Learning, settings: PruneSettings, context: RunContext,
    device: torch.device, choice: PruningChoice | None = None,
) -> tuple[nn.Module, list[Rung]]:  # fmt: skip
    """The student thinned down to its goal and the rungs passed; of a measured goal without a `choice`, down to the
    thinnest."""
    network = load_network(student).to(device)
    gather_gradients(network, data, *learning, settings.importance, device)
    rungs = ladder(network, data, dict(student.architecture), settings, context.seed)
    if choice is not None:
        return network, list(islice(rungs, choice.rung + 1))
    if settings.measured:
        return network, list(rungs)
    assert student.macs is not None, "a PyTorch network's are counted"
    return network, down_to_goal(rungs, student.macs, student.parameters, settings)
