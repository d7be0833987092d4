"""What a student learns from its teacher's answers: soft targets, cached or asked as it goes, and labels."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.data.batches import Batch
from pipeline.data.mix import mix
from pipeline.distill.losses import SOFT_LOSSES, at, mixed_answers
from pipeline.labels import label_loss
from pipeline.networks import load_network
from pipeline.recipe import Augmentation, DistillSettings
from pipeline.results import CacheResult, NetworkResult, PreparedData
from pipeline.training import Moment, Objective, Schedule


@dataclass(frozen=True)
class TeacherAnswers:
    """`ask(batch, view)` gives the teacher's logits [B, classes]; `judges_inputs` where it looks at the batch's
    inputs, whatever was done to them, and not at their ids."""

    ask: Callable[[Batch, int], Tensor]
    judges_inputs: bool


def views_of(data: PreparedData, settings: DistillSettings) -> tuple[Augmentation | None, int]:
    """The augmentation and the number of views that differ: one for texts and for images left as they are."""
    if data.task == "image-classification" and settings.augmentation.varies:
        return settings.augmentation, settings.views
    return None, 1


def student_schedule(data: PreparedData, settings: DistillSettings, seed: int) -> Schedule:
    """How a student is trained, distilled and naive alike."""
    augmentation, views = views_of(data, settings)
    return Schedule(
        settings.epochs,
        settings.learning_rate,
        settings.weight_decay,
        settings.batch_size,
        seed,
        augmentation,
        views,
        settings.regularization,
    )


def teacher_answers(
    data: PreparedData,
    teacher: NetworkResult,
    cache: CacheResult | None,
    settings: DistillSettings,
    device: torch.device,
) -> TeacherAnswers:
    """The teacher's logits for a batch of the train split: read from `cache`, or asked in mode `online`."""
    if settings.mode == "online":
        network = load_network(teacher).to(device)

        def ask(batch: Batch, view: int) -> Tensor:
            with torch.no_grad():
                return network(*batch.inputs)

        return TeacherAnswers(ask, judges_inputs=True)
    expected = (views_of(data, settings)[1], len(data.rows("train")), len(data.labels))
    if cache is None or cache.logits.shape != expected:
        raise ValueError(f"mode cached needs a cache of shape {expected} (views, training samples, classes)")
    logits, rows = cache.logits, data.rows("train")

    def look_up(batch: Batch, view: int) -> Tensor:
        return torch.from_numpy(logits[view][np.searchsorted(rows, batch.rows)]).to(device)

    return TeacherAnswers(look_up, judges_inputs=False)


def learn_answers(settings: DistillSettings, teacher: TeacherAnswers) -> Objective:
    """alpha * soft target loss + (1 - alpha) * the labels' loss.

    Of mixed images, a teacher that is asked judges the mixed image; a cached one's answers to the two are mixed.
    """
    soft_loss = SOFT_LOSSES[settings.loss]

    def learn(network: nn.Module, batch: Batch, moment: Moment) -> Tensor:
        temperature, alpha = at(settings.temperature, moment.share), at(settings.alpha, moment.share)
        mixed = mix(batch, settings.regularization)
        seen = batch if mixed is None else mixed.batch
        logits = network(*seen.inputs)
        expected = teacher.ask(seen, moment.view)
        if mixed is not None and not teacher.judges_inputs:
            expected = mixed_answers(expected, expected[mixed.partner], mixed.share, temperature)
        hard = label_loss(logits, batch.labels, mixed, settings.label_smoothing)
        return alpha * soft_loss(logits, expected, temperature) + (1 - alpha) * hard

    return learn
