from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.context import RunContext
from pipeline.data.batches import Batch
from pipeline.distill.answers import LearnAnswers, TeacherAnswers
from pipeline.distill.features import FeatureGuide, attention_loss, feature_guides, hint_loss
from pipeline.distill.inside import FrozenTeacher, Guided, Seen, frozen_teacher, watch
from pipeline.distill.student import distill
from pipeline.errors import InputError
from pipeline.networks import ImageNetwork, load_network
from pipeline.results import PreparedData
from pipeline.settings.distill import DistillSettings, FeatureMatch
from pipeline.settings.student import StudentSettings
from pipeline.settings.training import Regularization
from pipeline.training.labels import learn_labels
from pipeline.training.schedule import Moment
from tests.networks import untrained
from tests.pipeline.test_networks import MOBILENET, described

START = Moment(0, 0.0)


def pictures(channels: int, stride: int = 2) -> ImageNetwork:
    """Two convolutions; `tail` gives vectors."""
    body = nn.Sequential()
    body.add_module("first", nn.Sequential(nn.Conv2d(3, channels, 3, stride, 1), nn.BatchNorm2d(channels)))
    body.add_module("act", nn.ReLU(inplace=True))
    body.add_module("second", nn.Conv2d(channels, channels, 3, 1, 1))
    body.add_module("tail", nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    body.add_module("classifier", nn.Linear(channels, 10))
    return ImageNetwork(body, [127.5] * 3, [127.5] * 3)


@pytest.fixture
def student() -> ImageNetwork:
    torch.manual_seed(0)
    return pictures(4).train()


@pytest.fixture
def teacher() -> FrozenTeacher:
    torch.manual_seed(1)
    return FrozenTeacher("big", pictures(6, stride=1).eval().requires_grad_(False))


@pytest.fixture
def batch() -> Batch:
    torch.manual_seed(2)
    return Batch((255 * torch.rand(5, 3, 8, 8),), torch.arange(5), np.arange(5), np.arange(5), np.zeros(5, int))


def guided(student: nn.Module, teacher: FrozenTeacher, batch: Batch, *matches: FeatureMatch, **changes: Any) -> Guided:
    answers = learn_labels(Regularization(**changes), 0.0)
    return Guided(answers, feature_guides(matches, student, teacher, batch.inputs), teacher)


def test_a_hint_is_the_mean_squared_error_of_real_tokens() -> None:
    student = torch.tensor([[[1.0, 2.0], [3.0, 4.0]], [[0.0, 0.0], [9.0, 9.0]]])
    teacher = torch.tensor([[[1.0, 4.0], [3.0, 1.0]], [[1.0, 0.0], [0.0, 0.0]]])
    mask = torch.tensor([[True, True], [True, False]])
    assert hint_loss(student, teacher).item() == pytest.approx((4 + 9 + 1 + 81 + 81) / 8)
    assert hint_loss(student, teacher, mask).item() == pytest.approx((4 + 9 + 1) / 6)
    torch.testing.assert_close(hint_loss(student, teacher), functional.mse_loss(student, teacher))


def test_attention_maps_are_compared_by_direction_alone() -> None:
    # Squares over the channels: (3, 4) and (4, 3); of length 1 they are (0.6, 0.8) and (0.8, 0.6).
    student = torch.tensor([[[[1.0, 2.0]], [[2.0**0.5, 0.0]]]])
    teacher = torch.tensor([[[[2.0, -(3.0**0.5)]]]])
    assert attention_loss(student, teacher).item() == pytest.approx(0.08, abs=1e-6)
    assert attention_loss(10 * student, teacher).item() == pytest.approx(0.08, abs=1e-6)
    assert attention_loss(teacher, -7 * teacher).item() == pytest.approx(0, abs=1e-9)
    pair = attention_loss(torch.cat([teacher, teacher]), torch.cat([student[:, :1], teacher]))
    alone = attention_loss(teacher, student[:, :1])
    assert pair.item() == pytest.approx(alone.item() / 2)


def test_attention_of_tokens_leaves_padding_out() -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 6, 3), torch.randn(2, 6, 5)
    mask = torch.arange(6) < torch.tensor([[6], [4]])
    found = attention_loss(student, teacher, mask)
    parts = [attention_loss(student[[i], :length], teacher[[i], :length]) for i, length in ((0, 6), (1, 4))]
    torch.testing.assert_close(found, torch.stack(parts).mean())


def test_larger_maps_are_averaged_down_before_the_projection() -> None:
    match = FeatureMatch(student="a", teacher="b")
    guide = FeatureGuide(match, ("a", torch.Size([2, 1, 4, 4])), ("b", torch.Size([2, 2, 2, 2])))
    assert isinstance(guide.projection, nn.Conv2d)
    with torch.no_grad():
        guide.projection.weight.copy_(torch.tensor([2.0, -1.0]).view(2, 1, 1, 1))
        guide.projection.bias.copy_(torch.tensor([0.0, 1.0]))
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 1, 4, 4), torch.randn(2, 2, 2, 2)
    found = guide(Seen(outputs={"a": student}), Seen(outputs={"b": teacher})).item()
    small = student.view(2, 1, 2, 2, 2, 2).mean(dim=(3, 5))
    projected = torch.cat([2 * small, 1 - small], dim=1)
    assert found == pytest.approx(((projected - teacher) ** 2).mean().item())


def test_the_loss_is_that_of_the_answers_and_the_weighted_guides(
    student: ImageNetwork, teacher: FrozenTeacher, batch: Batch
) -> None:
    matches = (
        FeatureMatch(student="second", teacher="second", loss="attention", weight=3.0),
        FeatureMatch(student="tail", teacher="tail", weight=0.5),
    )
    objective = guided(student, teacher, batch, *matches)
    found = objective(student, batch, START)
    (images,) = batch.inputs
    names = ("body.second", "body.tail")
    with torch.no_grad(), watch(student, names) as mine:
        answers = functional.cross_entropy(student(images), batch.labels)
    theirs = teacher.look((images,), names)
    hint = objective.guides[1].projection(mine.outputs["body.tail"])
    expected = (
        answers
        + 3 * attention_loss(mine.outputs["body.second"], theirs.outputs["body.second"])
        + 0.5 * functional.mse_loss(hint, theirs.outputs["body.tail"])
    )
    torch.testing.assert_close(found, expected)


def test_gradients_reach_student_and_projection_and_never_the_teacher(
    student: ImageNetwork, teacher: FrozenTeacher, batch: Batch
) -> None:
    before = {name: tensor.clone() for name, tensor in teacher.network.state_dict().items()}
    guides = feature_guides([FeatureMatch(student="second", teacher="second")], student, teacher, batch.inputs)
    objective = Guided(None, guides, teacher)
    objective(student, batch, START).backward()
    reached = {name for name, parameter in student.named_parameters() if parameter.grad is not None}
    assert {name.split(".")[1] for name in reached} == {"first", "second"}
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in objective.parameters())
    assert {name for name, _ in objective.named_parameters()} == {
        f"guides.0.projection.{n}" for n in ("weight", "bias")
    }
    assert all(parameter.grad is None for parameter in teacher.network.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.network.state_dict().items())


def test_the_teacher_sees_the_mixed_images_that_the_student_saw(
    student: ImageNetwork, teacher: FrozenTeacher, batch: Batch
) -> None:
    seen: dict[str, Tensor] = {}
    objective = guided(student, teacher, batch, FeatureMatch(student="act", teacher="act", loss="attention"), mixup=1.0)
    for name, network in (("student", student), ("teacher", teacher.network)):
        network.register_forward_pre_hook(lambda module, inputs, name=name: seen.update({name: inputs[0]}))
    objective(student, batch, START)
    assert torch.equal(seen["student"], seen["teacher"])
    assert not torch.equal(seen["student"], batch.inputs[0])


def test_one_pass_of_the_teacher_gives_its_answers_and_what_guides_see(
    student: ImageNetwork, teacher: FrozenTeacher, batch: Batch
) -> None:
    """Where another copy of it answers, or the cache, it is looked at besides, with the same result."""
    passes: list[int] = []
    guides = feature_guides([FeatureMatch(student="act", teacher="act")], student, teacher, batch.inputs)
    copy = deepcopy(teacher.network)
    teacher.network.register_forward_hook(lambda *_: passes.append(1))
    settings = DistillSettings(mode="online", regularization=Regularization(mixup=1.0))
    losses = []
    for network, expected in ((teacher.network, 1), (copy, 2)):
        answers = TeacherAnswers(lambda batch, network=network: network(*batch.inputs), judges_inputs=True)
        losses.append(Guided(LearnAnswers(settings, answers), guides, teacher)(student, batch, START))
        assert len(passes) == expected
    assert torch.equal(*losses)


def test_what_follows_in_place_does_not_change_what_was_seen(student: ImageNetwork, batch: Batch) -> None:
    with watch(student.eval(), ["body.first"]) as seen:
        student(*batch.inputs)
    assert (seen.outputs["body.first"] < 0).any()


def test_nothing_stays_in_a_network_that_was_watched(student: ImageNetwork, batch: Batch) -> None:
    def hooks() -> int:
        return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in student.modules())

    with watch(student, ["body.first", "body.act"]):
        assert hooks() == 3
    assert hooks() == 0
    with pytest.raises(ZeroDivisionError), watch(student, ["body.first"]):
        1 / 0
    assert hooks() == 0
    with pytest.raises(AttributeError), watch(student, ["body.first", "body.nothing"]):
        pass
    assert hooks() == 0


@pytest.mark.parametrize(
    ("match", "message"),
    [
        (
            {"student": "secnd"},
            r"the student has no module 'secnd': did you mean 'second'\? there is first, act, second",
        ),
        ({"teacher": "first.7"}, r"big has no module 'first.7': did you mean 'first.\d'\? in 'first' there is 0, 1"),
        ({"student": "tail"}, r"'tail' gives \[5, 4\] and 'second' \[5, 6, 8, 8\]: expected two of a kind"),
        ({"student": "tail", "teacher": "tail", "loss": "attention"}, "attention transfer needs maps or tokens"),
    ],
)
def test_modules_that_can_not_be_compared_are_refused(
    student: ImageNetwork, teacher: FrozenTeacher, batch: Batch, match: dict[str, str], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        feature_guides(
            [FeatureMatch(**{"student": "second", "teacher": "second"} | match)], student, teacher, batch.inputs
        )


def test_a_module_that_never_runs_is_refused(student: ImageNetwork, teacher: FrozenTeacher, batch: Batch) -> None:
    student.body.add_module("spare", nn.ModuleList([nn.Linear(2, 2)]))
    student.body.forward = lambda image: student.body.second(student.body.first(image)).mean(dim=(2, 3))
    with pytest.raises(InputError, match="module 'spare' of the student gives no tensor"):
        feature_guides([FeatureMatch(student="spare", teacher="act")], student, teacher, batch.inputs)


def test_looking_at_the_networks_leaves_the_student_as_it_was(
    student: ImageNetwork, teacher: FrozenTeacher, batch: Batch
) -> None:
    before = {name: tensor.clone() for name, tensor in student.state_dict().items()}
    feature_guides([FeatureMatch(student="act", teacher="act")], student, teacher, batch.inputs)
    assert student.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in student.state_dict().items())


def test_a_teacher_that_gives_only_answers_is_refused(tmp_path: Path) -> None:
    answers = described(nn.Linear(1, 1), {"kind": "onnx", "file": "teacher.onnx"}, tmp_path)
    with pytest.raises(InputError, match="look into a PyTorch teacher, small gives only its answers"):
        frozen_teacher(answers, torch.device("cpu"))


def test_a_recipe_distils_features(
    digits: PreparedData, context: RunContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look, looks = FrozenTeacher.look, []

    def noting(teacher: FrozenTeacher, *given: Any) -> Seen:
        looks.append(given)
        return look(teacher, *given)

    monkeypatch.setattr(FrozenTeacher, "look", noting)
    teacher = untrained(digits, MOBILENET, tmp_path / "teacher")
    student = StudentSettings(family="mobilenetv4_conv_small", width=0.35)
    hints = (
        FeatureMatch(student="blocks.2", teacher="blocks.3", weight=2.0),
        FeatureMatch(student="blocks.1", teacher="blocks.1", loss="attention"),
    )
    settings = DistillSettings(mode="online", epochs=1, batch_size=70)
    plain = distill(digits, teacher, None, student, settings, context)
    found = distill(digits, teacher, None, student, settings.model_copy(update={"features": hints}), context)
    assert len(looks) == 1  # before the training: in it the pass that gives the answers is enough
    assert found.fingerprint != plain.fingerprint
    assert found.curve[0].train_loss > plain.curve[0].train_loss
    assert load_network(found).state_dict().keys() == load_network(plain).state_dict().keys()
    assert not np.array_equal(found.test_logits, plain.test_logits)
