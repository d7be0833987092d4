"""Students by name: what a family is built from, the operators it needs, the architecture of one student."""

import difflib
from dataclasses import dataclass

from pipeline.errors import InputError
from pipeline.results import NetworkResult, PreparedData
from pipeline.settings.student import StudentSettings
from targets.profile import Task

PIXEL_CENTRE = 127.5  # of pixels 0..255: one mean and one scale for all channels, which 8-bit integers hold exactly


@dataclass(frozen=True)
class StudentFamily:
    """`timm` is the image network at width 1.0. `operators` are those that devices may run badly, in the
    words of the profiles' `banned_ops`; `alternative` is a family that does without the worst of them."""

    name: str
    task: Task
    timm: str | None
    operators: frozenset[str]
    alternative: str | None = None


def _image(name: str, timm: str, *operators: str, alternative: str | None = None) -> StudentFamily:
    return StudentFamily(name, "image-classification", timm, frozenset(operators), alternative)


STUDENTS: dict[str, StudentFamily] = {
    family.name: family
    for family in (
        _image("mobilenetv2", "mobilenetv2_100", "relu6"),
        _image(
            "mobilenetv3_small",
            "mobilenetv3_small_100",
            "relu",
            "hard-swish",
            "hard-sigmoid",
            alternative="mobilenetv2",
        ),
        _image(
            "mobilenetv3_large",
            "mobilenetv3_large_100",
            "relu",
            "hard-swish",
            "hard-sigmoid",
            alternative="mobilenetv2",
        ),
        _image("mobilenetv4_conv_small", "mobilenetv4_conv_small", "relu"),
        _image("efficientnet_lite0", "tf_efficientnet_lite0", "relu6"),
        StudentFamily("tinybert", "text-classification", None, frozenset({"gelu", "layer-norm"})),
    )
}


def student_family(name: str, task: Task) -> StudentFamily:
    """The family called `name`. Raises InputError for an unknown one and for one of another task."""
    fitting = sorted(family.name for family in STUDENTS.values() if family.task == task)
    family = STUDENTS.get(name)
    if family is None:
        near = difflib.get_close_matches(name, fitting, n=1, cutoff=0.4)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise InputError(f"unknown student family '{name}': {hint}known for {task}: {', '.join(fitting)}")
    if family.task != task:
        raise InputError(
            f"student family '{name}' is for {family.task}, the recipe's task is {task}: "
            f"use one of {', '.join(fitting)}"
        )
    return family


def student_name(settings: StudentSettings, architecture: dict[str, object]) -> str:
    """A short name for tables: `mobilenetv2 x0.5`, `tinybert 4x312`."""
    config = architecture.get("config")
    if isinstance(config, dict):
        return f"{settings.family} {config['num_hidden_layers']}x{config['hidden_size']}"
    return f"{settings.family} x{settings.width:g}"


def student_architecture(settings: StudentSettings, data: PreparedData, teacher: NetworkResult) -> dict[str, object]:
    """What `pipeline.networks.build_network` needs for this student. Raises InputError for settings that do
    not fit the family or the teacher."""
    family = student_family(settings.family, data.task)
    if family.timm is None:
        return _bert_architecture(settings, data, teacher)
    if settings.start != "random":
        raise InputError(f"student.start '{settings.start}' is for text students: {family.name} starts at random")
    from pipeline.weights import image_normalisation

    mean, std = [PIXEL_CENTRE] * 3, [PIXEL_CENTRE] * 3
    if settings.weights != "none":
        mean, std = image_normalisation(family.timm)
    dropout = {} if settings.dropout is None else {"dropout": settings.dropout}
    return {
        "kind": "timm", "model": family.timm, "width": settings.width, "classes": len(data.labels),
        "input_size": None, "mean": mean, "std": std, **dropout,
    }  # fmt: skip


def _bert_architecture(settings: StudentSettings, data: PreparedData, teacher: NetworkResult) -> dict[str, object]:
    """A BERT that reads the teacher's word pieces; sizes that the settings leave open are the teacher's."""
    given = teacher.architecture.get("config")
    if not isinstance(given, dict):
        raise InputError(f"student family '{settings.family}' needs a text teacher, found {teacher.name}")
    if settings.weights != "none":
        raise InputError("student.weights: a tinybert starts from its teacher (student.start), expected `none`")
    sizes = {name: int(given.get(name, 0)) for name in ("hidden_size", "num_attention_heads", "intermediate_size")}
    hidden = settings.hidden or sizes["hidden_size"]
    heads = settings.heads or sizes["num_attention_heads"]
    if not hidden or not heads:
        raise InputError(
            f"teacher {teacher.name} names no hidden size and heads: give student.hidden and student.heads"
        )
    if hidden % heads:
        raise InputError(f"student.hidden {hidden} is not a multiple of its {heads} heads: give student.heads too")
    same = hidden == sizes["hidden_size"]
    feed_forward = settings.feed_forward or (
        sizes["intermediate_size"] if same and sizes["intermediate_size"] else 4 * hidden
    )
    length = int(data.inputs.shape[1])
    config: dict[str, object] = {
        "model_type": "bert",
        "vocab_size": int(given["vocab_size"]),
        "hidden_size": hidden,
        "num_hidden_layers": settings.layers,
        "num_attention_heads": heads,
        "intermediate_size": feed_forward,
        "hidden_act": "gelu",
        "max_position_embeddings": max(length, 8),
        "type_vocab_size": 2,
        "layer_norm_eps": 1e-12,
        "pad_token_id": int(given.get("pad_token_id") or 0),
    }
    if settings.dropout is not None:
        config |= {"hidden_dropout_prob": settings.dropout, "classifier_dropout": settings.dropout}
    frozen = [] if settings.start == "random" else ["transformer.bert.embeddings.word_embeddings.weight"]
    return {"kind": "transformers", "config": config, "labels": list(data.labels), "frozen": frozen}
