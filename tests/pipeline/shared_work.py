"""Small trainings that one process and several must do alike. In float64, so that only rounding is left."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline import scale
from pipeline.context import RunContext
from pipeline.data.batches import Batch
from pipeline.distill.answers import LearnAnswers, RefreshedAnswers, TeacherAnswers
from pipeline.distill.features import feature_guides
from pipeline.distill.inside import FrozenTeacher, Guided
from pipeline.errors import InputError
from pipeline.evaluate import predict
from pipeline.progress import Meter
from pipeline.results import NetworkResult, PreparedData
from pipeline.settings.data import Augmentation
from pipeline.settings.distill import DistillSettings, FeatureMatch, Refresh
from pipeline.settings.training import Regularization
from pipeline.store import Store
from pipeline.training.fit import fit, network_result
from pipeline.training.schedule import Moment, Objective, Schedule

State = dict[str, Any]


@dataclass(frozen=True)
class Note:
    file: Path


class NormAct(nn.BatchNorm2d):
    """Normalises and activates in one layer with a forward of its own, as timm's networks do."""

    def forward(self, maps: Tensor) -> Tensor:
        self.num_batches_tracked.add_(1)
        share = self.momentum if self.momentum is not None else 1 / float(self.num_batches_tracked)
        told = self.running_mean, self.running_var, self.weight, self.bias, self.training, share, self.eps
        return functional.relu_(functional.batch_norm(maps, *told))


class Images(nn.Module):
    """A depthwise separable network of float64, 10 classes."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        depthwise = nn.Conv2d(8, 8, 3, groups=8, bias=False)
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 5, stride=4, bias=False), NormAct(8), depthwise, nn.BatchNorm2d(8), nn.ReLU6(),
            nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 10),
        ).double()  # fmt: skip

    def forward(self, images: Tensor) -> Tensor:
        return self.body(images.double() / 255)


class Texts(nn.Module):
    """Sentences of float64 `width` wide, read token by token; 2 classes."""

    def __init__(self, width: int) -> None:
        super().__init__()
        torch.manual_seed(width)
        self.words = nn.Embedding(100, width).double()
        self.mixing = nn.Sequential(nn.Linear(width, width), nn.Tanh()).double()
        self.classifier = nn.Linear(width, 2).double()

    def forward(self, ids: Tensor, mask: Tensor, types: Tensor) -> Tensor:
        real = mask.unsqueeze(2)
        return self.classifier((self.mixing(self.words(ids)) * real).sum(1) / real.sum(1))


def trained(network: nn.Module, data: PreparedData, objective: Objective, schedule: Schedule, folder: Path) -> State:
    """Weights, statistics, losses and accuracies after a training; of the objective too."""
    outcome = fit(network, data, objective, schedule, Meter("fit", "samples", 1), folder)
    state: State = dict(network.state_dict())
    if isinstance(objective, nn.Module):
        state |= {f"objective.{name}": tensor for name, tensor in objective.state_dict().items()}
    losses = [record.train_loss for record in outcome.curve]
    accuracies = [record.validation_accuracy for record in outcome.curve]
    return state | {"losses": torch.tensor(losses), "accuracies": torch.tensor(accuracies)}


def learn(network: nn.Module, batch: Batch, moment: Moment) -> Tensor:
    return functional.cross_entropy(network(*batch.inputs), batch.labels)


def image_training(digits: PreparedData, folder: Path) -> State:
    """Batch normalisation, an average and clipped gradients. Batches of 104, 104 and 2: of three processes one has
    nothing of the last."""
    schedule = Schedule(2, 1e-2, 0.01, 104, 0, regularization=Regularization(ema=0.9, clip_norm=0.1))
    return trained(Images(), digits, learn, schedule, folder / "images")


def text_training(sentences: PreparedData, folder: Path) -> State:
    """Losses over the tokens of sentences of different lengths, and learned projections. Batches of 20, 20 and 2."""
    network, teacher = Texts(8), FrozenTeacher("teacher", Texts(12).requires_grad_(False))
    torch.manual_seed(3)
    example = tuple(torch.ones(1, 4, dtype=torch.long) for _ in range(3))
    guides = feature_guides([FeatureMatch(student="mixing", teacher="mixing")], network, teacher, example)
    return trained(network, sentences, Guided(learn, guides, teacher), Schedule(2, 1e-3, 0.01, 20, 0), folder / "texts")


def answers_of(data: PreparedData) -> Tensor:
    return torch.randn(len(data.targets), len(data.labels), generator=torch.Generator().manual_seed(5)).double()


def correlation_training(digits: PreparedData, folder: Path) -> State:
    """A loss that compares the samples of a batch with one another."""
    table = answers_of(digits)
    teacher = TeacherAnswers(lambda batch: table[torch.from_numpy(batch.rows)], judges_inputs=False)
    objective = LearnAnswers(DistillSettings(loss="dist"), teacher)
    return trained(Images(), digits, objective, Schedule(1, 1e-2, 0.01, 70, 0), folder / "correlation")


def refreshed_training(digits: PreparedData, folder: Path) -> State:
    """Each process asks about its samples; all remember all answers, and choose the same views."""
    rows, table = digits.rows("train"), answers_of(digits)

    def ask(batch: Batch) -> Tensor:
        return table[torch.from_numpy(batch.rows)] + torch.from_numpy(batch.views)[:, None]

    logits = table[torch.from_numpy(rows)].numpy()
    answers = RefreshedAnswers(ask, logits, rows, Refresh(fraction=0.3, by="disagreement"), seed=0).double()
    schedule = Schedule(3, 1e-2, 0.01, 70, 0, Augmentation(shift=0.1), choose_views=answers.choose_views)
    return trained(Images(), digits, LearnAnswers(DistillSettings(), answers), schedule, folder / "refreshed")


def predictions(digits: PreparedData, sentences: PreparedData) -> State:
    meter = Meter("predict", "samples", 1)
    images = predict(
        Images(), digits, digits.rows("train")[:100], 16, meter, augmentation=Augmentation(shift=0.2), view=3, seed=1
    )
    few = predict(Images(), digits, digits.rows("test")[:2])
    return {
        "images": torch.from_numpy(images),
        "fewer than processes": torch.from_numpy(few),
        "texts": torch.from_numpy(predict(Texts(8), sentences, np.array([5, 1, 40, 30, 2]), 2)),
        "counted": meter.done,
    }


def everything(digits: PreparedData, sentences: PreparedData, folder: Path) -> dict[str, State]:
    """All of the above, by all processes of the run together."""
    with scale.together():
        return {
            "images": image_training(digits, folder),
            "texts": text_training(sentences, folder),
            "correlation": correlation_training(digits, folder),
            "refreshed": refreshed_training(digits, folder),
            "predictions": predictions(digits, sentences),
        }


def stage_of_all(digits: PreparedData, out: Path, killed: bool = False) -> list[int]:
    """A stage that all make, in the store in `out`; the batches that each epoch's training saw here. Where `killed`,
    the last process ends without a word in the second epoch."""
    scale.check_shared(out)
    steps = [0] * 3

    def learning(network: nn.Module, batch: Batch, moment: Moment) -> Tensor:
        if killed and moment.epoch == 1 and scale.number() == scale.processes() - 1:
            os.kill(os.getpid(), signal.SIGKILL)
        steps[moment.epoch] += 1
        return learn(network, batch, moment)

    def make(folder: Path, key: str, meter: Meter) -> NetworkResult:
        network = Images()
        outcome = fit(network, digits, learning, Schedule(3, 1e-2, 0.01, 70, 0), meter, folder)
        return network_result(
            network, digits, outcome, folder=folder, key=key, role="student", name="s", architecture={}, meter=meter
        )

    result = RunContext(Store(out)).stage("student", {}, NetworkResult, make, together=True)
    assert result.checkpoint_file.is_file()
    assert len(result.test_logits) == len(digits.rows("test"))
    return steps


def stage_of_one(out: Path) -> list[str]:
    """What a stage that is not made together wrote, and who entered it."""
    entered = []

    def make(folder: Path, key: str, meter: Meter) -> Note:
        entered.append(str(scale.processes()))
        (folder / "note.txt").write_text(f"written by {scale.number()}")
        return Note(folder / "note.txt")

    note = RunContext(Store(out)).stage("note", {}, Note, make)
    return [note.file.read_text(), *entered]


def other_settings(out: Path) -> None:
    """A stage whose inputs are not the same for all."""
    told = {"number": os.environ["RANK"]}
    RunContext(Store(out)).stage("note", told, Note, lambda folder, key, meter: Note(folder / "note.txt"))


def unlike_folders(out: Path) -> None:
    scale.SEEN_WITHIN = 0.5
    own = out / os.environ["RANK"]
    own.mkdir(parents=True)
    scale.check_shared(own)


def one_fails(digits: PreparedData, number: str) -> None:
    """Process `number` finds a fault, while the others work on."""
    with scale.together():
        predict(Images(), digits, digits.rows("test"))
        if os.environ["RANK"] == number:
            raise InputError("the fault of one")
        predict(Images(), digits, digits.rows("validation"))


def first_fails_alone(out: Path) -> None:
    """A stage that the others wait for fails."""

    def make(folder: Path, key: str, meter: Meter) -> Note:
        raise InputError("the fault of one")

    RunContext(Store(out)).stage("note", {}, Note, make)


def all_fail(digits: PreparedData, folder: Path) -> None:
    """All find the same fault."""
    with scale.together():
        fit(Images(), digits, learn, Schedule(1, 1e-2, 0.01, 1, 0), Meter("fit", "samples", 1), folder)
