"""Students by name: what a family is built from, the operators it needs, the architecture of one student."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pipeline.errors import InputError
from pipeline.results import NetworkResult, PreparedData
from pipeline.settings.student import StudentSettings
from pipeline.students.adapt import forms_of
from targets.profile import Task

# Of pixels 0..255. Without a mean to subtract, the first convolution can take the pixels themselves: files need no
# arithmetic before it, and 8 bits hold every pixel exactly.
PIXEL_MEAN, PIXEL_STD = 0.0, 128.0
EMBEDDING = 300  # width of word vectors in Kim 2014, and in Tang et al. 2019, who distil BERT into a BiLSTM
STATES = 128  # of a BiLSTM, each direction
FILTERS = 100  # of each window of a text CNN (Kim 2014, section 3.1), as is the dropout
DROPOUT = 0.5

ANY = frozenset({"family", "adapt", "weights", "dropout"})
IMAGE = ANY | {"width", "start"}
TINYBERT = ANY | {"layers", "hidden", "heads", "feed_forward", "start", "from_layers"}
BILSTM = ANY | {"hidden", "embedding", "start"}
TEXTCNN = BILSTM | {"kernels"}


@dataclass(frozen=True)
class StudentFamily:
    """`kind` and `model` say what `pipeline.networks.build_network` makes it of; of an image network at width 1.0.
    `operators` are those that devices may run badly, in the words of the profiles' `banned_ops`; `alternative` is a
    family that does without the worst of them. `settings` of the recipe's `student` shape it."""

    name: str
    task: Task
    kind: Literal["timm", "torchvision", "transformers", "text"]
    model: str
    operators: frozenset[str]
    settings: frozenset[str]
    alternative: str | None = None

    @property
    def layered(self) -> bool:
        """Whether it is a transformer, with layers that can be compared, started from and thinned."""
        return self.kind == "transformers"


def _image(name: str, model: str, *operators: str, alternative: str | None = None) -> StudentFamily:
    return StudentFamily(name, "image-classification", "timm", model, frozenset(operators), IMAGE, alternative)


def _text(name: str, kind: Literal["transformers", "text"], settings: frozenset[str], *operators: str) -> StudentFamily:
    return StudentFamily(name, "text-classification", kind, name, frozenset(operators), settings)


V3 = ("relu", "hard-swish", "hard-sigmoid")

STUDENTS: dict[str, StudentFamily] = {
    family.name: family
    for family in (
        _image("mobilenetv2", "mobilenetv2_100", "relu6"),
        _image("mobilenetv3_small", "mobilenetv3_small_100", *V3, alternative="mobilenetv3_small_minimal"),
        _image("mobilenetv3_large", "mobilenetv3_large_100", *V3, alternative="mobilenetv3_large_minimal"),
        _image("mobilenetv3_small_minimal", "tf_mobilenetv3_small_minimal_100", "relu"),
        _image("mobilenetv3_large_minimal", "tf_mobilenetv3_large_minimal_100", "relu"),
        _image("mobilenetv4_conv_small", "mobilenetv4_conv_small", "relu"),
        _image("mobilenetv4_conv_medium", "mobilenetv4_conv_medium", "relu"),
        _image("efficientnet_lite0", "tf_efficientnet_lite0", "relu6"),
        _image("efficientnet_lite1", "tf_efficientnet_lite1", "relu6"),
        _image("efficientnet_lite2", "tf_efficientnet_lite2", "relu6"),
        StudentFamily("squeezenet", "image-classification", "torchvision", "squeezenet1_1", frozenset({"relu"}), IMAGE),
        _text("tinybert", "transformers", TINYBERT, "gelu", "layer-norm"),
        _text("bilstm", "text", BILSTM, "lstm", "sigmoid", "tanh"),
        _text("textcnn", "text", TEXTCNN, "relu"),
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


def check_student(settings: StudentSettings, family: StudentFamily) -> None:
    """Raises InputError for settings that `family` has no use for."""
    for name in sorted(settings.model_fields_set - family.settings):
        if getattr(settings, name) == type(settings).model_fields[name].default:
            continue
        takes = ", ".join(sorted(family.settings - {"family"}))
        raise InputError(f"student.{name} is no setting of a {family.name}: remove it; it takes {takes}")
    if family.task == "image-classification":
        if settings.start == "embeddings":
            raise InputError(
                f"student.start 'embeddings' takes word vectors, a {family.name} has none: use random, or layers where "
                "it is its teacher's network"
            )
        if settings.start == "layers" and settings.weights != "none":
            raise InputError("student.start 'layers' takes its teacher's weights, student.weights others: remove one")
    elif settings.start == "layers" and not family.layered:
        raise InputError(
            f"student.start 'layers' takes a transformer's layers, a {family.name} has none: use embeddings or random"
        )
    if settings.weights != "none" and family.task == "text-classification":
        raise InputError(f"student.weights: a {family.name} starts from its teacher (student.start), expected `none`")


def check_same_network(settings: StudentSettings, family: StudentFamily, model: str, width: float) -> None:
    """Raises InputError for an image student that starts as its teacher, `model` of `width`, and is another network."""
    if (family.model, settings.width) == (model.partition(".")[0], width):  # timm's tag names weights
        return
    same = next((other.name for other in STUDENTS.values() if other.model == model.partition(".")[0]), None)
    advice = f"use student.family: {same} and width: {width:g}" if same else "use student.weights"
    raise InputError(
        f"student.start 'layers' takes all of its teacher's layers: the teacher is {model} x{width:g}, the student "
        f"{family.model} x{settings.width:g}; {advice}, or start: random"
    )


def student_name(settings: StudentSettings, architecture: dict[str, object]) -> str:
    """A short name for tables: `mobilenetv2 x0.5`, `tinybert 4x312`, `bilstm 300x128`."""
    config = architecture.get("config")
    if architecture["kind"] == "transformers" and isinstance(config, dict):
        name = f"{settings.family} {config['num_hidden_layers']}x{config['hidden_size']}"
    elif isinstance(config, dict):
        name = f"{settings.family} {config['embedding_size']}x{config.get('states', config.get('filters'))}"
    else:
        name = f"{settings.family} x{settings.width:g}"
    return f"{name} without {', '.join(settings.adapt)}" if settings.adapt else name


def student_architecture(settings: StudentSettings, data: PreparedData, teacher: NetworkResult) -> dict[str, object]:
    """What `pipeline.networks.build_network` needs for this student. Raises InputError for settings that do
    not fit the family or the teacher."""
    family = student_family(settings.family, data.task)
    check_student(settings, family)
    assert "auto" not in settings.adapt, "the plan says what is adapted"
    if family.kind == "transformers":
        return _bert_architecture(settings, data, teacher)
    if family.kind == "text":
        return _text_architecture(settings, data, teacher)
    from pipeline.weights import image_normalisation

    mean, std = [PIXEL_MEAN] * 3, [PIXEL_STD] * 3
    if settings.weights != "none":
        mean, std = image_normalisation(family.model)
    elif settings.start == "layers":
        given: Any = teacher.architecture
        check_same_network(settings, family, str(given.get("model", teacher.name)), given.get("width", 1.0))
        mean, std = given["mean"], given["std"]
    dropout = {} if settings.dropout is None else {"dropout": settings.dropout}
    adapted = {"adapted": forms_of(settings.adapt)} if settings.adapt else {}
    return {
        "kind": family.kind, "model": family.model, "width": settings.width, "classes": len(data.labels),
        "input_size": None, "mean": mean, "std": std, **dropout, **adapted,
    }  # fmt: skip


def _text_teacher(settings: StudentSettings, teacher: NetworkResult) -> Mapping[str, object]:
    """The configuration of a teacher that reads word pieces."""
    given = teacher.architecture.get("config")
    if not isinstance(given, dict):
        raise InputError(f"student family '{settings.family}' needs a text teacher, found {teacher.name}")
    return given


def embedding_width(config: Mapping[str, object]) -> int:
    """Of a text network's word vectors; 0 where its configuration does not say."""
    return int(str(config.get("embedding_size") or config.get("hidden_size") or 0))


def _text_architecture(settings: StudentSettings, data: PreparedData, teacher: NetworkResult) -> dict[str, object]:
    """A text network that reads the teacher's word pieces (`pipeline.students.texts`)."""
    given = _text_teacher(settings, teacher)
    theirs = embedding_width(given)
    width = settings.embedding or min(EMBEDDING, theirs or EMBEDDING)
    if settings.start == "embeddings" and theirs and width > theirs:
        raise InputError(
            f"student.embedding {width} is wider than teacher {teacher.name}'s embeddings ({theirs}): lower it, or use "
            "student.start: random"
        )
    shape: dict[str, object] = {"states": settings.hidden or STATES}
    if settings.family == "textcnn":
        shape = {"filters": settings.hidden or FILTERS, "kernels": list(settings.kernels)}
    config: dict[str, object] = {
        "vocab_size": int(str(given["vocab_size"])),
        "embedding_size": width,
        **shape,
        "dropout": DROPOUT if settings.dropout is None else settings.dropout,
        "pad_token_id": int(str(given.get("pad_token_id") or 0)),
    }
    frozen = [] if settings.start == "random" else ["embedding.weight"]
    return {
        "kind": "text", "model": settings.family, "config": config, "labels": list(data.labels), "frozen": frozen
    }  # fmt: skip


def _bert_architecture(settings: StudentSettings, data: PreparedData, teacher: NetworkResult) -> dict[str, object]:
    """A BERT that reads the teacher's word pieces; sizes that the settings leave open are the teacher's."""
    given = _text_teacher(settings, teacher)
    sizes = {name: int(str(given.get(name, 0))) for name in ("hidden_size", "num_attention_heads", "intermediate_size")}
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
        "vocab_size": int(str(given["vocab_size"])),
        "hidden_size": hidden,
        "num_hidden_layers": settings.layers,
        "num_attention_heads": heads,
        "intermediate_size": feed_forward,
        "hidden_act": forms_of(settings.adapt).get("gelu", "gelu"),
        "max_position_embeddings": max(length, 8),
        "type_vocab_size": 2,
        "layer_norm_eps": 1e-12,
        "pad_token_id": int(str(given.get("pad_token_id") or 0)),
    }
    if settings.dropout is not None:
        config |= {"hidden_dropout_prob": settings.dropout, "classifier_dropout": settings.dropout}
    frozen = [] if settings.start == "random" else ["transformer.bert.embeddings.word_embeddings.weight"]
    return {"kind": "transformers", "config": config, "labels": list(data.labels), "frozen": frozen}
