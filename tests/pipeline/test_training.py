from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from pipeline.data.batches import Batch
from pipeline.errors import InputError
from pipeline.evaluate import predict
from pipeline.metrics import accuracy
from pipeline.networks import build_network
from pipeline.progress import Meter
from pipeline.results import EpochRecord, PreparedData
from pipeline.settings.data import Augmentation
from pipeline.settings.training import Regularization
from pipeline.training.fit import Fit, fit, samples_of
from pipeline.training.schedule import WARM_UP, Moment, Schedule, learning_rate
from tests.pipeline.test_networks import BERT, MOBILENET

SCHEDULE = Schedule(epochs=3, learning_rate=3e-3, weight_decay=0.01, batch_size=32, seed=0)


def cross_entropy(network: nn.Module, batch: Batch, moment: Moment) -> Tensor:
    return functional.cross_entropy(network(*batch.inputs), batch.labels)


def small() -> nn.Module:
    """Convolution, batch norm and dropout: all that keeps state or draws numbers in training."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 5, stride=4), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Dropout(0.2), nn.Linear(392, 10)
    )


def train(data: PreparedData, folder: Path, network: nn.Module, schedule: Schedule = SCHEDULE) -> Fit:
    return fit(network, data, cross_entropy, schedule, Meter("fit", "samples", 1), folder)


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_training_learns(digits: PreparedData, tmp_path: Path) -> None:
    network = small()
    outcome = train(digits, tmp_path, network, Schedule(8, 1e-2, 0.01, 32, 0))
    assert outcome.curve[-1].train_loss < 0.6 * outcome.curve[0].train_loss
    rows = digits.rows("test")
    assert accuracy(predict(network, digits, rows), digits.targets[rows]).value > 0.5


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(digits: PreparedData, tmp_path: Path) -> None:
    networks = [small() for _ in range(3)]
    for number, (network, seed) in enumerate(zip(networks, (0, 0, 1), strict=True)):
        train(digits, tmp_path / str(number), network, Schedule(1, 3e-3, 0.01, 32, seed))
    assert same(networks[0], networks[1])
    assert not same(networks[0], networks[2])


@pytest.mark.parametrize("killed_in", [1, 2])
def test_a_killed_training_resumes_to_the_same_bytes(digits: PreparedData, tmp_path: Path, killed_in: int) -> None:
    whole = small()
    outcome = train(digits, tmp_path / "whole", whole)
    batches = 0

    def dying(network: nn.Module, batch: Batch, moment: Moment) -> Tensor:
        nonlocal batches
        batches += 1
        if batches == killed_in * 7 + 3:  # 210 training samples make 7 batches
            raise KeyboardInterrupt
        return cross_entropy(network, batch, moment)

    broken = small()
    with pytest.raises(KeyboardInterrupt):
        fit(broken, digits, dying, SCHEDULE, Meter("fit", "samples", 1), tmp_path / "broken")
    resumed = small()
    meter = Meter("fit", "samples", 1)
    seen: list[int] = []

    def counting(network: nn.Module, batch: Batch, moment: Moment) -> Tensor:
        seen.append(len(batch.rows))
        return cross_entropy(network, batch, moment)

    again = fit(resumed, digits, counting, SCHEDULE, meter, tmp_path / "broken")
    assert sum(seen) == (3 - killed_in) * 210
    assert meter.done == 3 * (210 + 30)
    assert again == outcome
    assert same(whole, resumed)


def test_a_killed_text_training_resumes_to_the_same_bytes(reviews: PreparedData, tmp_path: Path) -> None:
    def fresh() -> nn.Module:
        torch.manual_seed(0)
        return build_network(BERT)

    schedule = Schedule(2, 1e-3, 0.01, 16, 0)
    whole = fresh()
    train(reviews, tmp_path / "whole", whole, schedule)

    def dying(network: nn.Module, batch: Batch, moment: Moment) -> Tensor:
        if (tmp_path / "broken/resume/training.pt").exists():
            raise KeyboardInterrupt
        return cross_entropy(network, batch, moment)

    with pytest.raises(KeyboardInterrupt):
        fit(fresh(), reviews, dying, schedule, Meter("fit", "samples", 1), tmp_path / "broken")
    resumed = fresh()
    train(reviews, tmp_path / "broken", resumed, schedule)
    assert same(whole, resumed)


def test_the_weights_of_the_best_validation_epoch_are_kept(digits: PreparedData, tmp_path: Path) -> None:
    calls = 0

    def right_then_wrong(network: nn.Module, batch: Batch, moment: Moment) -> Tensor:
        nonlocal calls
        calls += 1
        wrong = int(calls > 3 * 7)  # after the third epoch
        return functional.cross_entropy(network(*batch.inputs), (batch.labels + wrong) % 10)

    network = small()
    schedule = Schedule(8, 1e-2, 0.01, 32, 0)
    outcome = fit(network, digits, right_then_wrong, schedule, Meter("fit", "samples", 1), tmp_path)
    values = [record.validation_accuracy for record in outcome.curve]
    assert outcome.validation_accuracy == max(values) > values[-1]
    assert outcome.best_epoch == max(epoch for epoch, value in enumerate(values) if value == max(values))
    rows = digits.rows("validation")
    assert accuracy(predict(network, digits, rows), digits.targets[rows]).value == outcome.validation_accuracy


def test_statistics_are_those_of_the_weights_and_not_of_earlier_ones(digits: PreparedData, tmp_path: Path) -> None:
    """After one epoch of a single step, batch norm's mean is that of the features, not a tenth of the way there."""
    network = small()
    train(digits, tmp_path, network, Schedule(1, 1e-3, 0.0, 210, 0))
    pixels = torch.from_numpy(digits.inputs[digits.rows("train")]).permute(0, 3, 1, 2).float()
    with torch.no_grad():
        features = network[0](pixels)
    torch.testing.assert_close(network[1].running_mean, features.mean((0, 2, 3)), rtol=1e-3, atol=1e-2)
    assert network[1].momentum == 0.1


def test_a_loss_that_is_no_number_is_the_settings_fault(digits: PreparedData, tmp_path: Path) -> None:
    told = r"loss became (nan|inf) in epoch 1, step \d+ \(samples \d+(, \d+){7}, \.\.\.\); lower learning_rate .*clip"
    with pytest.raises(InputError, match=told):
        train(digits, tmp_path, small(), Schedule(1, 1e38, 0.0, 32, 0))


def test_a_loss_that_runs_away_stops_the_training(digits: PreparedData, tmp_path: Path) -> None:
    steps = 0

    def running_away(network: nn.Module, batch: Batch, moment: Moment) -> Tensor:
        nonlocal steps
        steps += 1
        return cross_entropy(network, batch, moment) * (1000 if steps == 5 else 1)

    with pytest.raises(InputError, match=r"training diverged: .* step 5 "):
        fit(small(), digits, running_away, SCHEDULE, Meter("fit", "samples", 1), tmp_path)


class Projected(nn.Module):
    """An objective with parameters of its own."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.projection = nn.Linear(10, 10)

    def forward(self, network: nn.Module, batch: Batch, moment: Moment) -> Tensor:
        return functional.cross_entropy(self.projection(network(*batch.inputs)), batch.labels)


def test_an_objectives_parameters_are_trained_and_resumed(digits: PreparedData, tmp_path: Path) -> None:
    schedule = replace(SCHEDULE, regularization=Regularization(ema=0.9, clip_norm=0.5))
    whole, objective = small(), Projected()
    outcome = fit(whole, digits, objective, schedule, Meter("fit", "samples", 1), tmp_path / "whole")
    assert not torch.equal(objective.projection.weight, Projected().projection.weight)

    class Dying(Projected):
        def forward(self, network: nn.Module, batch: Batch, moment: Moment) -> Tensor:
            if moment.epoch == 2:
                raise KeyboardInterrupt
            return super().forward(network, batch, moment)

    with pytest.raises(KeyboardInterrupt):
        fit(small(), digits, Dying(), schedule, Meter("fit", "samples", 1), tmp_path / "broken")
    resumed, again = small(), Projected()
    assert fit(resumed, digits, again, schedule, Meter("fit", "samples", 1), tmp_path / "broken") == outcome
    assert same(whole, resumed)
    assert same(objective, again)


def test_gradients_are_clipped_to_their_norm(digits: PreparedData, tmp_path: Path) -> None:
    """The gradient that the last step used is still there."""
    norms = {}
    for limit in (None, 0.01):
        network = small()
        train(digits, tmp_path / str(limit), network, replace(SCHEDULE, regularization=Regularization(clip_norm=limit)))
        norms[limit] = torch.stack([p.grad.norm() for p in network.parameters() if p.grad is not None]).norm().item()
    assert norms[0.01] == pytest.approx(0.01, rel=1e-3)
    assert norms[None] > 0.02


def test_the_moving_average_is_what_is_judged_and_kept(digits: PreparedData, tmp_path: Path) -> None:
    """By hand: after each step the average moves min(decay, (1 + n) / (10 + n)) of the way less to the weights."""
    decay, weights = 0.5, []

    def noting(network: nn.Module, batch: Batch, moment: Moment) -> Tensor:
        weights.append(network[5].bias.detach().clone())
        return cross_entropy(network, batch, moment)

    schedule = replace(SCHEDULE, epochs=1, regularization=Regularization(ema=decay))
    network = small()
    fit(network, digits, noting, schedule, Meter("fit", "samples", 1), tmp_path)
    plain = small()
    train(digits, tmp_path / "plain", plain, replace(SCHEDULE, epochs=1))
    steps = [*weights[1:], plain[5].bias.detach()]  # the weights after each step
    expected = weights[0]
    for number, now in enumerate(steps):
        kept = min(decay, (1 + number) / (10 + number))
        expected = kept * expected + (1 - kept) * now
    torch.testing.assert_close(network[5].bias.detach(), expected)


def test_training_stops_where_validation_gets_no_better(digits: PreparedData, tmp_path: Path) -> None:
    def nothing_to_learn(network: nn.Module, batch: Batch, moment: Moment) -> Tensor:
        return 0 * cross_entropy(network, batch, moment)

    frozen = small()[2:]  # no batch norm: each epoch's answers are the same
    network = nn.Sequential(nn.Conv2d(3, 8, 5, stride=4), *frozen)
    schedule = Schedule(20, 1e-6, 0.0, 32, 0, regularization=Regularization(patience=3))
    outcome = fit(network, digits, nothing_to_learn, schedule, Meter("fit", "samples", 1), tmp_path)
    assert len(outcome.curve) == 4
    assert fit(network, digits, nothing_to_learn, schedule, Meter("fit", "samples", 1), tmp_path) == outcome


def test_the_last_epoch_is_kept_where_it_is_asked_for(digits: PreparedData, tmp_path: Path) -> None:
    def right_then_wrong(network: nn.Module, batch: Batch, moment: Moment) -> Tensor:
        return functional.cross_entropy(network(*batch.inputs), (batch.labels + (moment.epoch > 2)) % 10)

    schedule = Schedule(6, 1e-2, 0.01, 32, 0, keep="last")
    outcome = fit(small(), digits, right_then_wrong, schedule, Meter("fit", "samples", 1), tmp_path)
    assert outcome.best_epoch == 5
    assert outcome.validation_accuracy == outcome.curve[-1].validation_accuracy


def test_who_listens_hears_of_every_epoch(digits: PreparedData, tmp_path: Path) -> None:
    heard: list[tuple[str, EpochRecord]] = []
    meter = Meter("fit", "samples", 1, on_epoch=lambda phase, record: heard.append((phase, record)))
    outcome = fit(small(), digits, cross_entropy, Schedule(2, 1e-3, 0.0, 32, 0, phase="first"), meter, tmp_path)
    assert heard == [("first", record) for record in outcome.curve]


def test_frozen_parameters_and_their_statistics_stay(digits: PreparedData, tmp_path: Path) -> None:
    network = small()
    network[:2].requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    train(digits, tmp_path, network)
    after = network.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before if name.startswith(("0.", "1.")))
    assert not torch.equal(after["5.weight"], before["5.weight"])


def test_no_epochs_leave_the_network_as_it_is_and_judge_it(digits: PreparedData, tmp_path: Path) -> None:
    network, meter = small(), Meter("fit", "samples", 1)
    outcome = fit(network, digits, cross_entropy, Schedule(0, 1e-3, 0.0, 32, 0), meter, tmp_path)
    assert same(network, small())
    rows = digits.rows("validation")
    assert outcome == Fit((), None, accuracy(predict(network, digits, rows), digits.targets[rows]).value)
    assert meter.done + len(digits.rows("test")) == samples_of(digits, 0)


def test_epochs_take_turns_over_the_views(digits: PreparedData, tmp_path: Path) -> None:
    views: list[int] = []

    def noting(network: nn.Module, batch: Batch, moment: Moment) -> Tensor:
        views.append(int(batch.views[0]))
        return cross_entropy(network, batch, moment)

    schedule = Schedule(3, 1e-3, 0.0, 210, 0, Augmentation(shift=0.1), views=2)
    fit(small(), digits, noting, schedule, Meter("fit", "samples", 1), tmp_path)
    assert views == [0, 1, 0]


@given(st.floats(0, 1))
def test_the_learning_rate_rises_to_its_peak_and_falls_to_zero(share: float) -> None:
    value = learning_rate(SCHEDULE, share)
    assert 0 <= value <= SCHEDULE.learning_rate
    nearer = learning_rate(SCHEDULE, share + 0.25 * (WARM_UP - share))
    assert nearer >= value
    assert learning_rate(SCHEDULE, WARM_UP) == pytest.approx(SCHEDULE.learning_rate)
    assert learning_rate(SCHEDULE, 1.0) == pytest.approx(0.0, abs=1e-12)


def test_predictions_stand_in_the_order_of_the_rows_whatever_the_batch(reviews: PreparedData) -> None:
    torch.manual_seed(0)
    network = build_network(BERT)
    rows = reviews.rows("train")[::-1].copy()
    logits = predict(network, reviews, rows, batch_size=7)
    assert network.training
    alone = np.concatenate([predict(network, reviews, rows[[i]]) for i in (0, 5, -1)])
    np.testing.assert_allclose(logits[[0, 5, -1]], alone, atol=1e-5)


def test_a_network_of_timm_trains_at_32_pixels(digits: PreparedData, tmp_path: Path) -> None:
    network = build_network(MOBILENET)
    outcome = train(digits, tmp_path, network, Schedule(1, 1e-3, 0.01, 64, 0))
    assert np.isfinite(outcome.curve[0].train_loss)
