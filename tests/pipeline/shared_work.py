"""Small trainings that one process and several must do alike. All in float64, so that only rounding is left."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.data.batches import Batch
from pipeline.distill.answers import LearnAnswers, RefreshedAnswers, TeacherAnswers
from pipeline.distill.inside import FrozenTeacher, Guided
from pipeline.distill.layers import layer_guide
from pipeline.evaluate import predict
from pipeline.networks import build_network
from pipeline.progress import Meter
from pipeline.results import PreparedData
from pipeline.settings import Augmentation, DistillSettings, LayerLosses, Refresh, Regularization
from pipeline.training import Fit, Moment, Objective, Schedule, fit

MOBILENET = {
    "kind": "timm", "model": "mobilenetv2_100", "width": 0.35, "classes": 10, "input_size": None,
    "mean": [127.5] * 3, "std": [127.5] * 3,
}  # fmt: skip
State = dict[str, Any]


def bert(width: int) -> nn.Module:
    config = {
        "model_type": "bert", "vocab_size": 30522, "hidden_size": width, "num_hidden_layers": 2,
        "num_attention_heads": 2, "intermediate_size": 32, "max_position_embeddings": 32, "type_vocab_size": 2,
        "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
    }  # fmt: skip
    torch.manual_seed(width)
    return build_network({"kind": "transformers", "config": config, "labels": ["no", "yes"]}).double()


def small() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 8, 5, stride=4), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(392, 10)
    return nn.Sequential(*layers).double()


class Pixels(nn.Module):
    """`body` on images of float64."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, images: Tensor) -> Tensor:
        return self.body(images.double() / 255)


def trained(network: nn.Module, data: PreparedData, objective: Objective, schedule: Schedule, folder: Path) -> State:
    """Weights, statistics, losses and accuracies after a training; of the objective too."""
    outcome: Fit = fit(network, data, objective, schedule, Meter("fit", "samples", 1), folder)
    state: State = dict(network.state_dict())
    if isinstance(objective, nn.Module):
        state |= {f"objective.{name}": tensor for name, tensor in objective.state_dict().items()}
    losses = [record.train_loss for record in outcome.curve]
    accuracies = [record.validation_accuracy for record in outcome.curve]
    return state | {"losses": torch.tensor(losses), "accuracies": torch.tensor(accuracies)}


def learn(network: nn.Module, batch: Batch, moment: Moment) -> Tensor:
    return functional.cross_entropy(network(*batch.inputs), batch.labels)


def mobilenet_training(digits: PreparedData, folder: Path) -> State:
    """Batch normalisation in every layer, an average and clipped gradients. Batches of 104, 104 and 2: of three
    processes one has nothing of the last."""
    torch.manual_seed(0)
    network = build_network(MOBILENET).double()
    schedule = Schedule(1, 1e-2, 0.01, 104, 0, regularization=Regularization(ema=0.9, clip_norm=1.0))
    return trained(network, digits, learn, schedule, folder / "mobilenet")


def layer_training(reviews: PreparedData, folder: Path) -> State:
    """Sentences of different lengths, losses over their tokens and learned projections. Batches of 41, 41 and 2."""
    network, teacher = bert(16), FrozenTeacher("teacher", bert(24).eval().requires_grad_(False))
    torch.manual_seed(3)
    guide = layer_guide(LayerLosses(weight=1.0), network, teacher).double()
    return trained(network, reviews, Guided(learn, [(0.5, guide)], teacher), Schedule(2, 1e-3, 0.01, 41, 0), folder / "layers")


def answers_of(data: PreparedData) -> Tensor:
    return torch.randn(len(data.labels) * len(data.targets), generator=torch.Generator().manual_seed(5)).double()


def correlation_training(digits: PreparedData, folder: Path) -> State:
    """A loss that compares the samples of a batch with each other."""
    table = answers_of(digits).view(len(digits.targets), -1)
    teacher = TeacherAnswers(lambda batch: table[torch.from_numpy(batch.rows)], judges_inputs=False)
    objective = LearnAnswers(DistillSettings(loss="dist"), teacher)
    return trained(Pixels(small()), digits, objective, Schedule(1, 1e-2, 0.01, 52, 0), folder / "correlation")


def refreshed_training(digits: PreparedData, folder: Path) -> State:
    """Each process asks about its samples; all remember all answers, and choose the same views."""
    rows, table = digits.rows("train"), answers_of(digits).view(len(digits.targets), -1)

    def ask(batch: Batch) -> Tensor:
        return table[torch.from_numpy(batch.rows)] + torch.from_numpy(batch.views)[:, None]

    logits = table[torch.from_numpy(rows)].numpy()
    answers = RefreshedAnswers(ask, logits, rows, Refresh(fraction=0.3, by="disagreement"), seed=0)
    schedule = Schedule(3, 1e-2, 0.01, 52, 0, Augmentation(shift=0.1), choose_views=answers.choose_views)
    return trained(Pixels(small()), digits, LearnAnswers(DistillSettings(), answers), schedule, folder / "refreshed")


def predictions(digits: PreparedData, reviews: PreparedData) -> State:
    meter = Meter("predict", "samples", 1)
    shifted = {"augmentation": Augmentation(shift=0.2), "view": 3, "seed": 1}
    images = predict(Pixels(small()), digits, digits.rows("train")[:100], 16, meter, **shifted)
    few = predict(Pixels(small()), digits, digits.rows("test")[:2])
    return {
        "images": torch.from_numpy(images),
        "fewer than processes": torch.from_numpy(few),
        "texts": torch.from_numpy(predict(bert(16), reviews, np.array([5, 1, 70, 30, 2]), 2)),
        "counted": meter.done,
    }


def everything(digits: PreparedData, reviews: PreparedData, folder: Path) -> dict[str, State]:
    return {
        "mobilenet": mobilenet_training(digits, folder),
        "layers": layer_training(reviews, folder),
        "correlation": correlation_training(digits, folder),
        "refreshed": refreshed_training(digits, folder),
        "predictions": predictions(digits, reviews),
    }
