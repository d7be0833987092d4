"""A student that first learns its teacher's layers, then its answers: what the second phase gets of the first."""

from pathlib import Path
from typing import Any

import pytest
from torch import Tensor, nn

from pipeline.context import RunContext
from pipeline.data.batches import Batch
from pipeline.distill import student as stage
from pipeline.distill.answers import LearnAnswers
from pipeline.distill.student import distill, train_naive
from pipeline.networks import build_network, load_network
from pipeline.results import PreparedData
from pipeline.settings.distill import DistillSettings, LayerLosses
from pipeline.settings.student import StudentSettings
from pipeline.settings.training import Regularization
from pipeline.store import Store
from pipeline.training.fit import Fit
from pipeline.training.schedule import Moment, Schedule
from tests.networks import untrained

TEACHER = {
    "model_type": "bert", "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4,
    "intermediate_size": 20, "max_position_embeddings": 32,
}  # fmt: skip
TWO_PHASES = DistillSettings(
    mode="online", epochs=2, learning_rate=1e-3, batch_size=32, layers=LayerLosses(epochs=2, weight=0.5)
)
NARROW = StudentSettings(family="tinybert", layers=1, hidden=32, heads=4, feed_forward=32)


def small_bert(**changes: Any) -> dict[str, Any]:
    return {"kind": "transformers", "config": TEACHER | changes, "labels": ["bad", "good"]}


def test_a_killed_training_in_two_phases_resumes_to_the_same_bytes(
    reviews: PreparedData, context: RunContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the learned projections: the layers' loss is part of the second phase, so wrong ones would be seen."""
    teacher = untrained(reviews, small_bert(vocab_size=30522, hidden_size=48), tmp_path / "teacher")
    whole = distill(reviews, teacher, None, NARROW, TWO_PHASES, context)
    assert [record.epoch for record in whole.curve] == [0, 1, 2, 3]
    assert whole.curve[1].train_loss < whole.curve[0].train_loss
    assert whole.best_epoch is not None
    assert whole.best_epoch >= 2
    assert load_network(whole).state_dict().keys() == build_network(whole.architecture).state_dict().keys()

    again, batches = RunContext(Store(tmp_path / "again"), seed=context.seed), 0

    class Dying(LearnAnswers):
        def forward(self, network: nn.Module, batch: Batch, moment: Moment) -> Tensor:
            nonlocal batches
            batches += 1
            if batches in (2, 7):  # 84 training samples make 3 batches: killed in the first epoch, then in the second
                raise KeyboardInterrupt
            return super().forward(network, batch, moment)

    monkeypatch.setattr(stage, "LearnAnswers", Dying)
    for saved in ({"layers.pt"}, {"layers.pt", "training.pt"}):
        with pytest.raises(KeyboardInterrupt):
            distill(reviews, teacher, None, NARROW, TWO_PHASES, again)
        assert {file.name for file in (tmp_path / "again").rglob("resume/*")} == saved
    found = distill(reviews, teacher, None, NARROW, TWO_PHASES, again)
    assert found.curve == whole.curve
    assert found.checkpoint_file.read_bytes() == whole.checkpoint_file.read_bytes()


def test_the_first_phase_hands_its_last_weights_and_its_projections_to_the_second(
    reviews: PreparedData, context: RunContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = untrained(reviews, small_bert(vocab_size=30522), tmp_path / "teacher")
    fit, phases = stage.fit, []

    def watched(network: nn.Module, data: PreparedData, objective: Any, schedule: Schedule, *others: Any) -> Fit:
        phases.append((objective, schedule))
        return fit(network, data, objective, schedule, *others)

    monkeypatch.setattr(stage, "fit", watched)
    layers = LayerLosses(epochs=2, weight=0.5, learning_rate=5e-3)
    patient = Regularization(patience=1)
    changes = {"layers": layers, "epochs": 1, "regularization": patient, "hard_label_epochs": 1}
    distill(reviews, teacher, None, NARROW, TWO_PHASES.model_copy(update=changes), context)
    (first, alone), (second, joined), (_, tail) = phases
    assert [schedule.phase for _, schedule in phases] == ["layers", "training", "hard labels"]
    assert (alone.keep, alone.epochs, alone.learning_rate) == ("last", 2, 5e-3)
    assert alone.regularization.patience is None  # accuracy says nothing before the answers' phase
    assert (joined.keep, joined.epochs, joined.learning_rate) == ("best", 1, 1e-3)
    assert joined.regularization == tail.regularization == patient
    assert first.answers is None
    assert (first.weights, second.weights) == ([1.0], [0.5])
    assert first.guides[0] is second.guides[0]


def test_a_naive_student_knows_nothing_of_layers(reviews: PreparedData, context: RunContext, tmp_path: Path) -> None:
    teacher = untrained(reviews, small_bert(vocab_size=30522), tmp_path / "teacher")
    plain = TWO_PHASES.model_copy(update={"layers": None, "epochs": 1})
    naive = train_naive(reviews, teacher, NARROW, plain, context)
    with_layers = plain.model_copy(update={"layers": TWO_PHASES.layers})
    assert train_naive(reviews, teacher, NARROW, with_layers, context) == naive
