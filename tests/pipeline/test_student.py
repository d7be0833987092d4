import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.context import RunContext
from pipeline.distill.student import distill
from pipeline.errors import InputError
from pipeline.networks import build_network, example_inputs
from pipeline.prune import start_of
from pipeline.results import NetworkResult, PreparedData
from pipeline.settings.distill import DistillSettings
from pipeline.settings.student import StudentSettings
from pipeline.student import STUDENTS, student_architecture, student_family, student_name
from tests.pipeline.trained import image_teacher, text_teacher

IMAGE = sorted(name for name, family in STUDENTS.items() if family.task == "image-classification")
ACTIVATIONS = {"Hardswish": "hard-swish", "Hardsigmoid": "hard-sigmoid", "ReLU6": "relu6", "ReLU": "relu",
               "GELU": "gelu", "GELUActivation": "gelu", "SiLU": "silu", "LayerNorm": "layer-norm"}  # fmt: skip


def operators_in(network: nn.Module) -> set[str]:
    kinds = {type(module).__name__ for module in network.modules()}
    return {operator for kind in kinds for name, operator in ACTIVATIONS.items() if kind == name}


@pytest.mark.parametrize("name", IMAGE)
def test_a_family_names_the_operators_it_is_made_of(
    name: str, digits: PreparedData, session_context: RunContext
) -> None:
    teacher = image_teacher(digits, session_context)
    network = build_network(student_architecture(StudentSettings(family=name, width=0.5), digits, teacher)).eval()
    assert operators_in(network) == STUDENTS[name].operators
    assert network(*example_inputs(digits)).shape == (1, 10)


def test_a_tinybert_names_the_operators_it_is_made_of(reviews: PreparedData, session_context: RunContext) -> None:
    settings = StudentSettings(family="tinybert", layers=3, hidden=48, heads=4, feed_forward=96)
    architecture = student_architecture(settings, reviews, text_teacher(reviews, session_context))
    network = build_network(architecture).eval()
    assert operators_in(network) == STUDENTS["tinybert"].operators
    assert network(*example_inputs(reviews)).shape == (1, 2)
    config = network.transformer.config
    assert (config.num_hidden_layers, config.hidden_size, config.num_attention_heads) == (3, 48, 4)
    assert config.intermediate_size == 96
    assert student_name(settings, architecture) == "tinybert 3x48"


def test_sizes_left_open_are_the_teachers(reviews: PreparedData, session_context: RunContext) -> None:
    settings = StudentSettings(family="tinybert", layers=2)
    config = student_architecture(settings, reviews, text_teacher(reviews, session_context))["config"]
    assert isinstance(config, dict)
    assert (config["hidden_size"], config["num_attention_heads"], config["intermediate_size"]) == (384, 12, 1536)
    assert config["vocab_size"] == 30522


def test_an_alternative_does_without_hard_swish() -> None:
    for family in STUDENTS.values():
        if "hard-swish" in family.operators:
            assert family.alternative is not None
            assert "hard-swish" not in STUDENTS[family.alternative].operators


def test_a_misspelt_family_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"unknown student family 'mobilnetv2': did you mean 'mobilenetv2'"):
        student_family("mobilnetv2", "image-classification")


def test_a_family_of_another_task_is_refused() -> None:
    with pytest.raises(InputError, match=r"'tinybert' is for text-classification.*mobilenetv2"):
        student_family("tinybert", "image-classification")


def test_hidden_that_the_teachers_heads_do_not_divide_is_refused(
    reviews: PreparedData, session_context: RunContext
) -> None:
    with pytest.raises(InputError, match=r"hidden 100 is not a multiple of its 12 heads"):
        student_architecture(
            StudentSettings(family="tinybert", hidden=100), reviews, text_teacher(reviews, session_context)
        )


def test_an_image_student_starts_as_its_teacher(
    digits: PreparedData, image_student: NetworkResult, context: RunContext
) -> None:
    settings = StudentSettings(family="mobilenetv2", width=0.35, start="layers")
    start = start_of(digits, image_student, settings, context)
    np.testing.assert_array_equal(start.test_logits, image_student.test_logits)
    student = distill(digits, image_student, None, settings, DistillSettings(mode="online", epochs=1), context)
    told = f"starts as its teacher, {100 * image_student.accuracy.value:.2f}% on the test split"
    assert student.notes == (told,)
    assert student.accuracy.value >= image_student.accuracy.value - 0.05
    # A teacher's normalisation is kept: its first weights were learned behind it.
    assert student.architecture["mean"] == image_student.architecture["mean"]


def test_a_student_that_is_another_network_can_not_start_as_its_teacher(
    digits: PreparedData, session_context: RunContext
) -> None:
    teacher = image_teacher(digits, session_context)
    with pytest.raises(InputError, match=r"the teacher is \w+ x1, the student mobilenetv2_100 x0\.5"):
        student_architecture(StudentSettings(family="mobilenetv2", width=0.5, start="layers"), digits, teacher)


def test_students_see_pixels_divided_by_one_number(digits: PreparedData, session_context: RunContext) -> None:
    teacher = image_teacher(digits, session_context)
    network = build_network(student_architecture(StudentSettings(family="mobilenetv2"), digits, teacher))
    seen: list[torch.Tensor] = []
    network.body.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    network.eval()(torch.tensor([0.0, 255.0]).view(1, 1, 1, 2).expand(1, 3, 32, 2).repeat(1, 1, 1, 16))
    assert (seen[0].min(), seen[0].max()) == (0, 255 / 128)


def test_the_registry_is_read_without_torch() -> None:
    check = "import sys, pipeline.student; sys.exit('torch' in sys.modules or 'timm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
