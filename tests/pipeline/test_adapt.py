"""Operators that a target bans, replaced before the student learns."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import yaml
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

from pipeline.context import RunContext
from pipeline.distill.start import start_student
from pipeline.errors import USER_ERRORS, InputError
from pipeline.networks import build_network, example_inputs
from pipeline.plan import Plan, describe_plan, make_plan
from pipeline.recipe import load_recipe
from pipeline.results import PreparedData
from pipeline.settings.student import StudentSettings
from pipeline.student import STUDENTS, student_architecture, student_name
from pipeline.students.activations import FORMS, MODULES, HardGate, QuickGelu
from pipeline.students.adapt import REPLACEMENTS, adaptable
from targets.profile import PROFILES, load_profile
from tests.pipeline.trained import image_teacher, text_teacher

ROOT = Path(__file__).parents[2]
V3 = "student.family=mobilenetv3_small"


def planned(
    *overrides: str, targets: tuple[str, ...] = ("pixel8", "iphone15"), recipe: str = "digits-mobilenet"
) -> Plan:
    return make_plan(load_recipe(ROOT / f"recipes/{recipe}.yaml", overrides), targets)


def profile_file(folder: Path, *banned: str) -> str:
    content = yaml.safe_load((PROFILES / "pixel8.yaml").read_text())
    content["id"], content["export"]["banned_ops"] = "strict", list(banned)
    (folder / "strict.yaml").write_text(yaml.safe_dump(content))
    return str(folder / "strict.yaml")


def modules(network: nn.Module) -> set[type[nn.Module]]:
    return {type(module) for module in network.modules()}


def test_every_replacement_is_known_to_networks() -> None:
    for operator, new in REPLACEMENTS.items():
        assert operator in MODULES
        assert new.form in FORMS


def test_replacements_are_the_same_function_or_near_it() -> None:
    values = torch.linspace(-9, 9, 1001)
    torch.testing.assert_close(HardGate()(values), functional.hardsigmoid(values))
    torch.testing.assert_close(QuickGelu()(values), functional.gelu(values), atol=0.021, rtol=0)


def test_an_adapted_student_keeps_its_weights_and_loses_the_operator(
    digits: PreparedData, session_context: RunContext, tmp_path: Path
) -> None:
    """ImageNet's weights fit as before: the names and shapes are the same."""
    given = timm.create_model("mobilenetv3_small_100")
    save_file({name: tensor.contiguous() for name, tensor in given.state_dict().items()}, tmp_path / "v3.safetensors")
    settings = StudentSettings(
        family="mobilenetv3_small", adapt=("hard-swish", "hard-sigmoid"), weights=str(tmp_path / "v3.safetensors")
    )
    teacher = image_teacher(digits, session_context)
    architecture = student_architecture(settings, digits, teacher)
    assert student_name(settings, architecture) == "mobilenetv3_small x1 without hard-swish, hard-sigmoid"
    network: Any = start_student(architecture, settings, teacher, seed=0).eval()
    assert not modules(network) & {nn.Hardswish, nn.Hardsigmoid}
    assert modules(network) >= {nn.ReLU6, HardGate}
    torch.testing.assert_close(network.body.conv_stem.weight, given.conv_stem.weight)
    again = build_network(architecture).eval()
    again.load_state_dict(network.state_dict())
    inputs = example_inputs(digits)
    assert torch.equal(again(*inputs), network(*inputs))
    plain = build_network({**architecture, "adapted": {}}).eval()
    plain.load_state_dict(network.state_dict())
    assert not torch.equal(plain(*inputs), network(*inputs))


def test_hard_sigmoid_alone_changes_no_answer(digits: PreparedData, session_context: RunContext) -> None:
    settings = StudentSettings(family="mobilenetv3_small", adapt=("hard-sigmoid",))
    architecture = student_architecture(settings, digits, image_teacher(digits, session_context))
    network, plain = build_network(architecture).eval(), build_network({**architecture, "adapted": {}}).eval()
    plain.load_state_dict(network.state_dict())
    torch.testing.assert_close(network(*example_inputs(digits)), plain(*example_inputs(digits)))


def test_a_tinybert_without_gelu_computes_what_is_near_it(reviews: PreparedData, session_context: RunContext) -> None:
    settings = StudentSettings(family="tinybert", layers=1, hidden=48, heads=4, adapt=("gelu",))
    architecture = student_architecture(settings, reviews, text_teacher(reviews, session_context))
    network: Any = build_network(architecture)
    layer = network.transformer.bert.encoder.layer[0].intermediate
    states = torch.randn(1, 3, 48)
    before = layer.dense(states)
    torch.testing.assert_close(layer(states), before * torch.sigmoid(1.702 * before))
    torch.testing.assert_close(layer(states), functional.gelu(before), atol=0.021, rtol=0)


def test_auto_adapts_to_what_the_targets_ban_and_the_plan_says_for_whom() -> None:
    plan = planned(V3, "student.adapt=auto")
    assert plan.recipe.student.adapt == ("hard-swish",)
    assert plan.family.operators == {"relu", "relu6", "hard-sigmoid"}
    what = {stage: what for stage, what, _ in describe_plan(plan)}["distill"]
    assert "hard-swish becomes relu6 for pixel8 (iphone15 gets the same student)" in what


def test_auto_leaves_a_student_alone_that_no_target_objects_to() -> None:
    plan = planned(V3, "student.adapt=auto", targets=("iphone15",))
    assert plan.recipe.student.adapt == ()
    assert plan.family.operators == STUDENTS["mobilenetv3_small"].operators
    assert planned("student.adapt=auto").recipe.student.adapt == ()


def test_operators_can_be_named_without_a_target_that_bans_them() -> None:
    plan = planned(V3, "student.adapt=[hard-sigmoid]", targets=("iphone15",))
    assert plan.family.operators == {"relu", "relu6", "hard-swish"}
    what = {stage: what for stage, what, _ in describe_plan(plan)}["distill"]
    assert ", hard-sigmoid becomes relu6(x + 3) / 6, cached" in what


def test_what_is_left_of_a_ban_is_refused(tmp_path: Path) -> None:
    """Hard-swish was named, hard-sigmoid was not."""
    target = profile_file(tmp_path, "hard-swish", "hard-sigmoid")
    with pytest.raises(InputError, match=r"uses hard-sigmoid, which target strict bans.*adapt: auto.*hard-sigmoid by"):
        planned(V3, "student.adapt=[hard-swish]", targets=(target,))
    assert planned(V3, "student.adapt=auto", targets=(target,)).family.operators == {"relu", "relu6"}


def test_nothing_is_replaced_by_what_is_banned_too(tmp_path: Path) -> None:
    target = profile_file(tmp_path, "hard-swish", "relu6")
    assert adaptable(STUDENTS["mobilenetv3_small"].operators, [load_profile(target)]) == ()
    with pytest.raises(
        InputError, match=r"uses hard-swish, which target strict bans.*: use student.family: mobilenetv3"
    ):
        planned(V3, "student.adapt=auto", targets=(target,))


def test_a_text_student_for_a_target_without_gelu(tmp_path: Path) -> None:
    target = profile_file(tmp_path, "gelu")
    with pytest.raises(InputError, match=r"adapt: auto, which replaces gelu by quick_gelu"):
        planned(targets=(target,), recipe="sentiment-tinybert")
    assert "sigmoid" in planned("student.adapt=auto", targets=(target,), recipe="sentiment-tinybert").family.operators


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("student.adapt=[hard-swish]",), "mobilenetv2 has no hard-swish, it has nothing that can be replaced"),
        ((V3, "student.adapt=[gelu]"), "mobilenetv3_small has no gelu, it has hard-sigmoid, hard-swish: remove it"),
        ((V3, "student.adapt=[auto, hard-swish]"), "adapt: auto finds the operators itself"),
        ((V3, "student.adapt=[hard-swish, hard-swish]"), "names an operator twice"),
        ((V3, "student.adapt=[softmax]"), "student.adapt.0.*'hard-sigmoid'"),
        (("distill.assistants=[{family: mobilenetv3_large, adapt: auto}]",), "an assistant ships to none"),
        (("student.layers=6",), "student.layers is no setting of a mobilenetv2"),
        (("student.start=embeddings",), "student.start 'embeddings' takes word vectors, a mobilenetv2 has none"),
        (("student.start=layers",), "use student.family: efficientnet_lite. and width: 1, or start: random"),
        (("student.start=layers", "student.weights=hub"), "student.weights others: remove one"),
        (("distill.assistants=[{family: mobilenetv2, heads: 2}]",), "student.heads is no setting of a mobilenetv2"),
    ],
)
def test_what_does_not_fit_a_student_is_refused_by_the_plan(overrides: tuple[str, ...], message: str) -> None:
    with pytest.raises(USER_ERRORS, match=message):
        planned(*overrides)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("prune.macs=0.5",), "prune thins images' networks and transformers, no bilstm"),
        (("distill.layers={method: minilm, weight: 1}",), "a bilstm has none: remove it, or use distill.features"),
        (("student.layers=2",), "student.layers is no setting of a bilstm"),
    ],
)
def test_what_no_bilstm_goes_through_is_refused_by_the_plan(overrides: tuple[str, ...], message: str) -> None:
    settings = ("student={family: bilstm, start: embeddings}", *overrides)
    with pytest.raises(InputError, match=message):
        planned(*settings, targets=("pixel8",), recipe="sentiment-tinybert")


def test_a_text_student_without_layers_stands_in_the_plan() -> None:
    overrides = ("student={family: textcnn}", "distill.assistants=[{family: bilstm}, {family: tinybert, layers: 3}]")
    plan = planned(*overrides, targets=("pixel8",), recipe="sentiment-tinybert")
    rows = [(stage, what) for stage, what, _ in describe_plan(plan)]
    assert [what.split(", taught")[0] for stage, what in rows if stage == "assistant"] == [
        "bilstm",
        "tinybert, 3 layers",
    ]
    assert dict(rows)["distill"].startswith("textcnn, cached soft targets")
