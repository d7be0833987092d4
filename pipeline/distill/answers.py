"""What a student learns from its teacher's answers: soft targets, cached, asked as it goes, or both, and labels."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.collectives import gathered
from pipeline.data.batches import Batch
from pipeline.data.mix import mix
from pipeline.distill.losses import OVER_THE_BATCH, SOFT_LOSSES, at, mixed_answers
from pipeline.labels import label_loss
from pipeline.networks import load_network
from pipeline.results import CacheResult, NetworkResult, PreparedData
from pipeline.settings import Augmentation, DistillSettings, Refresh
from pipeline.training import Moment, Schedule

Ask = Callable[[Batch], Tensor]  # batch on its device -> the teacher's logits [B, classes]


class TeacherAnswers(nn.Module):
    """`forward(batch)` gives the teacher's logits [B, classes]. `judges_inputs` where it looks at the batch's inputs,
    whatever was done to them, and not at their ids. A module without parameters: what it remembers is saved with the
    training."""

    def __init__(self, ask: Ask, judges_inputs: bool) -> None:
        super().__init__()
        self.ask = ask
        self.judges_inputs = judges_inputs

    def forward(self, batch: Batch) -> Tensor:
        return self.ask(batch)

    def heard(self, batch: Batch, student: Tensor, expected: Tensor) -> None:
        """Is told what the student answered."""


class RefreshedAnswers(TeacherAnswers):
    """Each training sample's last answer and the view that it is of; some are judged anew each epoch.

    A sample is always seen in the view that its answer is of, so the student learns what the teacher judged.
    """

    def __init__(self, ask: Ask, logits: np.ndarray, rows: np.ndarray, refresh: Refresh, seed: int) -> None:
        """`logits`: float32 [R, classes], of view 0 of the training samples `rows`."""
        super().__init__(self._answers, judges_inputs=False)
        self.teacher, self.rows, self.refresh, self.seed = ask, rows, refresh, seed
        self.register_buffer("logits", torch.from_numpy(np.array(logits)))
        self.register_buffer("views", torch.zeros(len(rows), dtype=torch.long))
        self.register_buffer("disagreement", torch.zeros(len(rows)))
        self.logits: Tensor
        self.views: Tensor
        self.disagreement: Tensor
        self.awaited = torch.zeros(len(rows), dtype=torch.bool)

    def choose_views(self, epoch: int) -> np.ndarray:
        """int64 [R]: the view that each training sample is seen in. Asked again for an epoch it says the same."""
        views = self.views.cpu().numpy()
        if epoch > 0 and views.max(initial=0) < epoch:  # else chosen already
            count = max(1, round(self.refresh.fraction * len(views)))
            first = views if self.refresh.by == "age" else -self.disagreement.cpu().numpy()
            chance = np.random.default_rng([self.seed, epoch]).random(len(views))
            chosen = torch.from_numpy(np.lexsort((chance, first))[:count])
            self.views[chosen] = epoch
            self.awaited[chosen] = True
        return self.views.cpu().numpy().copy()

    def _answers(self, batch: Batch) -> Tensor:
        places = torch.from_numpy(np.searchsorted(self.rows, batch.rows))
        new = self.awaited[places]
        if new.any():
            picked = new.numpy()
            part = Batch(
                tuple(tensor[new] for tensor in batch.inputs),
                batch.labels[new],
                batch.rows[picked],
                batch.positions[picked],
                batch.views[picked],
            )
            self.logits[places[new]] = self.teacher(part)
            self.awaited[places[new]] = False
        self._tell(self.logits, batch)
        return self.logits[places]

    def _tell(self, found: Tensor, batch: Batch) -> None:
        """Gives every process what the others found for their slices of the batch, so that all remember the same."""
        if batch.whole is not None:
            own, whole = (torch.from_numpy(np.searchsorted(self.rows, rows)) for rows in (batch.rows, batch.whole))
            found[whole] = gathered(found[own], batch)
            self.awaited[whole] = False

    def heard(self, batch: Batch, student: Tensor, expected: Tensor) -> None:
        places = torch.from_numpy(np.searchsorted(self.rows, batch.rows))
        with torch.no_grad():
            found, wanted = functional.log_softmax(student, 1), functional.log_softmax(expected, 1)
            self.disagreement[places] = functional.kl_div(found, wanted, reduction="none", log_target=True).sum(1)
            self._tell(self.disagreement, batch)


def views_of(data: PreparedData, settings: DistillSettings) -> tuple[Augmentation | None, int]:
    """The augmentation and the number of views that differ: one for texts and for images left as they are."""
    if data.task == "image-classification" and settings.augmentation.varies:
        return settings.augmentation, settings.views
    return None, 1


def student_schedule(
    data: PreparedData, settings: DistillSettings, seed: int, teacher: TeacherAnswers | None = None
) -> Schedule:
    """How a student is trained, distilled and naive alike; in mode `mixed` its `teacher` chooses the views, and
    without one each epoch has a new one."""
    augmentation, views = views_of(data, settings)
    chosen = teacher.choose_views if isinstance(teacher, RefreshedAnswers) else None
    return Schedule(
        settings.epochs,
        settings.learning_rate,
        settings.weight_decay,
        settings.batch_size,
        seed,
        augmentation,
        settings.epochs if settings.mode == "mixed" else views,
        settings.regularization,
        choose_views=chosen,
    )


def teacher_answers(
    data: PreparedData,
    teacher: NetworkResult,
    cache: CacheResult | None,
    settings: DistillSettings,
    device: torch.device,
    seed: int = 0,
) -> TeacherAnswers:
    """The teacher's logits for a batch of the train split: read from `cache`, asked in mode `online`, or in mode
    `mixed` read and, some in each epoch, asked again."""
    if settings.mode == "online":
        return TeacherAnswers(_asking(teacher, device), judges_inputs=True)
    expected = (views_of(data, settings)[1], len(data.rows("train")), len(data.labels))
    if cache is None or cache.logits.shape != expected:
        raise ValueError(f"mode {settings.mode} needs a cache of shape {expected} (views, training samples, classes)")
    logits, rows = cache.logits, data.rows("train")
    if settings.mode == "mixed":
        return RefreshedAnswers(_asking(teacher, device), logits[0], rows, settings.refresh, seed)

    def look_up(batch: Batch) -> Tensor:
        return torch.from_numpy(logits[batch.views, np.searchsorted(rows, batch.rows)]).to(device)

    return TeacherAnswers(look_up, judges_inputs=False)


def _asking(teacher: NetworkResult, device: torch.device) -> Ask:
    network = load_network(teacher).to(device)

    def ask(batch: Batch) -> Tensor:
        with torch.no_grad():
            return network(*batch.inputs).float()

    return ask


class LearnAnswers(nn.Module):
    """The objective alpha * soft target loss + (1 - alpha) * the labels' loss.

    Of mixed images, a teacher that is asked judges the mixed image; a cached one's answers to the two are mixed.
    """

    def __init__(self, settings: DistillSettings, teacher: TeacherAnswers) -> None:
        super().__init__()
        self.settings, self.teacher = settings, teacher

    def forward(self, network: nn.Module, batch: Batch, moment: Moment) -> Tensor:
        settings, teacher = self.settings, self.teacher
        temperature, alpha = at(settings.temperature, moment.share), at(settings.alpha, moment.share)
        mixed = mix(batch, settings.regularization)
        seen = batch if mixed is None else mixed.batch
        logits = network(*seen.inputs)
        expected = teacher(seen if teacher.judges_inputs else batch)
        teacher.heard(batch, logits, expected)
        if mixed is not None and not teacher.judges_inputs:
            expected = mixed_answers(expected, expected[mixed.partner], mixed.share, temperature)
        hard = label_loss(logits, batch.labels, mixed, settings.label_smoothing)
        if settings.loss in OVER_THE_BATCH:
            logits, expected = gathered(logits, batch), gathered(expected, batch)
        return alpha * SOFT_LOSSES[settings.loss](logits, expected, temperature) + (1 - alpha) * hard
