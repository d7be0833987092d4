"""What a student learns from: labels, and the soft targets of a teacher, cached or asked as it goes."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pipeline.data.batches import Batch
from pipeline.networks import load_network
from pipeline.recipe import Augmentation, DistillSettings
from pipeline.results import CacheResult, NetworkResult, PreparedData
from pipeline.training import Loss, Schedule

TeacherLogits = Callable[[Batch, int], Tensor]  # (batch, view) -> [B, classes]


def soft_target_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T^2 * KL(teacher_T || student_T), mean over the batch, of logits [B, classes] (Hinton et al. 2015,
    section 2.1: T^2 keeps the size of the gradients whatever the temperature)."""
    expected = functional.log_softmax(teacher / temperature, dim=1)
    found = functional.log_softmax(student / temperature, dim=1)
    return temperature**2 * functional.kl_div(found, expected, reduction="batchmean", log_target=True)


def distillation_loss(student: Tensor, teacher: Tensor, labels: Tensor, temperature: float, alpha: float) -> Tensor:
    """alpha * soft targets + (1 - alpha) * cross-entropy with `labels` int64 [B]."""
    soft = soft_target_loss(student, teacher, temperature)
    return alpha * soft + (1 - alpha) * functional.cross_entropy(student, labels)


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
    )


def label_loss(logits: Tensor, batch: Batch, view: int) -> Tensor:
    """What a naive student learns from."""
    return functional.cross_entropy(logits, batch.labels)


def teacher_logits(
    data: PreparedData,
    teacher: NetworkResult,
    cache: CacheResult | None,
    settings: DistillSettings,
    device: torch.device,
) -> TeacherLogits:
    """The teacher's logits for a batch of the train split: read from `cache`, or asked in mode `online`."""
    if settings.mode == "online":
        network = load_network(teacher).to(device)

        def ask(batch: Batch, view: int) -> Tensor:
            with torch.no_grad():
                return network(*batch.inputs)

        return ask
    expected = (views_of(data, settings)[1], len(data.rows("train")), len(data.labels))
    if cache is None or cache.logits.shape != expected:
        raise ValueError(f"mode cached needs a cache of shape {expected} (views, training samples, classes)")
    logits, rows = cache.logits, data.rows("train")
    return lambda batch, view: torch.from_numpy(logits[view][np.searchsorted(rows, batch.rows)]).to(device)


def guided_loss(ask: TeacherLogits, settings: DistillSettings) -> Loss:
    """The distillation loss as `pipeline.training.fit` takes it."""

    def loss(logits: Tensor, batch: Batch, view: int) -> Tensor:
        expected = ask(batch, view)
        return distillation_loss(logits, expected, batch.labels, settings.temperature, settings.alpha)

    return loss
