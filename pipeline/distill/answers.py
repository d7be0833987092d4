"""What a student learns from its teacher's answers: soft targets, cached, asked as it goes, or both, and labels."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.data.batches import Batch
from pipeline.data.mix import mix
from pipeline.distill.cache_results import CacheResult
from pipeline.distill.cached import read_answers
from pipeline.distill.losses import OVER_THE_BATCH, SOFT_LOSSES, at, mixed_answers
from pipeline.distill.overlap import AheadTeacher, ahead_teacher, shown_ahead
from pipeline.results import NetworkResult, PreparedData
from pipeline.settings.data import Augmentation
from pipeline.settings.distill import DistillSettings, Refresh
from pipeline.teachers.inference import load_answering
from pipeline.training.collectives import gathered
from pipeline.training.labels import label_loss
from pipeline.training.schedule import Moment, Schedule

Ask = Callable[[Batch], Tensor]  # batch on its device -> the teacher's logits [B, classes]


class TeacherAnswers(nn.Module):
    """`forward(batch)` gives the teacher's logits [B, classes]. `judges_inputs` where it looks at the batch's inputs,
    whatever was done to them, and not at their ids. A module without parameters: what it remembers is saved with the
    training."""

    def __init__(self, ask: Ask, judges_inputs: bool) -> None:
        super().__init__()
        self.ask = ask
        self.judges_inputs = judges_inputs
        self.ahead = ask if isinstance(ask, AheadTeacher) else None

    def forward(self, batch: Batch) -> Tensor:
        return self.ask(batch)

    def start(self) -> None:
        """There will be questions."""
        if self.ahead is not None:
            self.ahead.start()

    def foresee(self, batch: Batch) -> None:
        """Is shown a batch that it will be asked about, in the order of the questions."""
        if self.ahead is not None:
            self.ahead.foresee(batch)

    def end(self) -> None:
        """There are no more questions."""
        if self.ahead is not None:
            self.ahead.end()

    def heard(self, batch: Batch, student: Tensor, expected: Tensor) -> None:
        """Is told what the student answered."""


class RefreshedAnswers(TeacherAnswers):
    """Each training sample's last answer and the view that it is of; some are judged anew each epoch.

    A sample is always seen in the view that its answer is of, so the student learns what the teacher judged.
    """

    def __init__(self, ask: Ask, logits: np.ndarray, rows: np.ndarray, refresh: Refresh, seed: int) -> None:
        """`logits`: float32 [R, classes], of view 0 of the samples `rows`, sorted."""
        super().__init__(self._answers, judges_inputs=False)
        self.ahead = ask if isinstance(ask, AheadTeacher) else None
        self.teacher, self.rows, self.refresh, self.seed = ask, rows, refresh, seed
        self.register_buffer("logits", torch.from_numpy(np.array(logits)))
        self.register_buffer("views", torch.zeros(len(rows), dtype=torch.long))
        self.register_buffer("disagreement", torch.zeros(len(rows)))
        self.logits: Tensor
        self.views: Tensor
        self.disagreement: Tensor
        self.awaited = torch.zeros(len(rows), dtype=torch.bool)

    def choose_views(self, epoch: int, rows: np.ndarray | None = None) -> np.ndarray:
        """int64 [R]: the view that each of `rows` is seen in, which the epoch sees (None: all). Asked again for an
        epoch it says the same."""
        views = self.views.cpu().numpy()
        places = np.arange(len(views)) if rows is None else np.searchsorted(self.rows, rows)
        if epoch > 0 and views.max(initial=0) < epoch:  # else chosen already
            count = max(1, round(self.refresh.fraction * len(places)))
            first = views if self.refresh.by == "age" else -self.disagreement.cpu().numpy()
            chance = np.random.default_rng([self.seed, epoch]).random(len(views))
            chosen = torch.from_numpy(places[np.lexsort((chance[places], first[places]))[:count]])
            self.views[chosen] = epoch
            self.awaited[chosen] = True
        return self.views.cpu().numpy()[places]

    def foresee(self, batch: Batch) -> None:
        new = self.awaited[self._places(batch)]
        if new.any():
            super().foresee(_part(batch, new))

    def _answers(self, batch: Batch) -> Tensor:
        places = self._places(batch)
        new = self.awaited[places]
        if new.any():
            self.logits[places[new]] = self.teacher(_part(batch, new))
            self.awaited[places[new]] = False
        self._tell(self.logits, batch)
        return self.logits[places]

    def _places(self, batch: Batch) -> Tensor:
        return torch.from_numpy(np.searchsorted(self.rows, batch.rows))

    def _tell(self, found: Tensor, batch: Batch) -> None:
        """Gives every process what the others found for their slices of the batch, so that all remember the same."""
        if batch.whole is not None:
            own, whole = (torch.from_numpy(np.searchsorted(self.rows, rows)) for rows in (batch.rows, batch.whole))
            found[whole] = gathered(found[own], batch)
            self.awaited[whole] = False

    def heard(self, batch: Batch, student: Tensor, expected: Tensor) -> None:
        places = self._places(batch)
        with torch.no_grad():
            found, wanted = functional.log_softmax(student, 1), functional.log_softmax(expected, 1)
            self.disagreement[places] = functional.kl_div(found, wanted, reduction="none", log_target=True).sum(1)
            self._tell(self.disagreement, batch)


def _part(batch: Batch, chosen: Tensor) -> Batch:
    """The samples of `batch` where `chosen` (bool [B]) is True."""
    picked = chosen.numpy()
    return replace(
        batch,
        inputs=tuple(tensor[chosen] for tensor in batch.inputs),
        labels=batch.labels[chosen],
        rows=batch.rows[picked],
        positions=batch.positions[picked],
        views=batch.views[picked],
    )


def views_of(data: PreparedData, settings: DistillSettings) -> tuple[Augmentation | None, int]:
    """The augmentation and the number of views that differ: one for texts and for images left as they are."""
    if data.task == "image-classification" and settings.augmentation.varies:
        return settings.augmentation, settings.views
    return None, 1


def student_schedule(
    data: PreparedData, settings: DistillSettings, seed: int, teacher: TeacherAnswers | None = None
) -> Schedule:
    """How a student is trained, distilled and naive alike; in mode `mixed` its `teacher` chooses the views, and
    without one each epoch has a new one. The transfer set is that of `data`, which a naive student's has not."""
    augmentation, views = views_of(data, settings)
    chosen = teacher.choose_views if isinstance(teacher, RefreshedAnswers) else None
    transfer = len(data.rows("transfer"))
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
        transfer=min(transfer, settings.transfer_per_epoch or transfer),
    )


def teacher_answers(
    data: PreparedData,
    teacher: NetworkResult,
    cache: CacheResult | None,
    settings: DistillSettings,
    device: torch.device,
    seed: int = 0,
    network: nn.Module | None = None,
) -> TeacherAnswers:
    """The teacher's logits for a batch of `data.taught_rows`: read from `cache`, asked in mode `online`, or in mode
    `mixed` read and, some in each epoch, asked again. `network`: the teacher on `device`, where it is loaded."""

    def asking() -> Ask:
        runs_ahead = ahead_teacher(teacher, device) if settings.ahead else None
        return runs_ahead or _asking(network or load_answering(teacher, device))

    if settings.mode == "online":
        return TeacherAnswers(asking(), judges_inputs=True)
    kept, rows = cache, data.taught_rows
    expected = (views_of(data, settings)[1], len(rows), len(data.labels))
    if kept is None or kept.shape != expected:
        raise ValueError(f"mode {settings.mode} needs a cache of shape {expected} (views, training samples, classes)")
    if settings.mode == "mixed":
        return RefreshedAnswers(asking(), kept.logits[0], rows, settings.refresh, seed)

    def look_up(batch: Batch) -> Tensor:
        return torch.from_numpy(read_answers(kept, batch.views, np.searchsorted(rows, batch.rows))).to(device)

    return TeacherAnswers(look_up, judges_inputs=False)


def _asking(network: nn.Module) -> Ask:
    def ask(batch: Batch) -> Tensor:
        with torch.no_grad():
            return network(*batch.inputs).float()

    return ask


class LearnAnswers(nn.Module):
    """The objective alpha * soft target loss + (1 - alpha) * the labels' loss, the one over all samples of a batch, the
    other over those that have a label.

    Of mixed images, a teacher that is asked judges the mixed image; a cached one's answers to the two are mixed.
    """

    def __init__(self, settings: DistillSettings, teacher: TeacherAnswers) -> None:
        super().__init__()
        self.settings, self.teacher = settings, teacher

    def ahead(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """The batches; the teacher may be up to `settings.ahead` of them ahead."""
        if not self.settings.ahead:
            return batches
        self.teacher.start()  # now, whenever the first question comes: a resumed training has its threads as before
        return shown_ahead(batches, self._foresee, self.settings.ahead)

    def _foresee(self, batch: Batch) -> None:
        mixed = mix(batch, self.settings.regularization) if self.teacher.judges_inputs else None
        self.teacher.foresee(batch if mixed is None else mixed.batch)

    def end(self) -> None:
        self.teacher.end()

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
