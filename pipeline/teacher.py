"""The teacher: any timm image model or transformers sequence classifier, fine-tuned or used as it is, or a file of
another framework."""

from pathlib import Path
from typing import Any

from torch import nn

from pipeline.context import RunContext
from pipeline.errors import InputError
from pipeline.evaluate import predict
from pipeline.metrics import accuracy
from pipeline.networks import ImageNetwork, TextNetwork, build_network
from pipeline.progress import Meter
from pipeline.results import NetworkResult, PreparedData
from pipeline.settings.teacher import TeacherSettings
from pipeline.teachers.file_network import open_file_teacher
from pipeline.teachers.model_files import model_path, tensorflow_version
from pipeline.training.fit import deterministic, fit, network_result, prepare_torch, samples_of
from pipeline.training.labels import learn_labels
from pipeline.training.schedule import Schedule
from pipeline.weights import (
    image_normalisation,
    load_image_weights,
    load_transformer,
    text_source,
    weights_identity,
)


def teacher_tokenizer(settings: TeacherSettings) -> Path | str:
    """Folder, or name on the Hugging Face hub, of the tokenizer that a text teacher reads with."""
    return text_source(settings)


def teach(
    data: PreparedData, settings: TeacherSettings, context: RunContext, own: PreparedData | None = None
) -> NetworkResult:
    """Loads the teacher, fine-tunes it on the train split with label-smoothed cross-entropy, and judges it
    on the test split. Raises InputError for an unknown model, weights that do not fit, texts longer than it takes,
    and files that can't be opened or give other answers than one value a class.

    With data of its `own`, of the same classes, it is fine-tuned on that, and judged on `data`'s test split all the
    same: what it knows of the student's domain. How good it is on its own test split stands in its notes.
    """
    home = data if own is None else own

    def make(folder: Path, key: str, meter: Meter) -> NetworkResult:
        device = prepare_torch(context)
        network, architecture = _load(data, settings)
        _freeze(network, settings)
        schedule = Schedule(
            settings.epochs,
            settings.learning_rate,
            settings.weight_decay,
            settings.batch_size,
            context.seed,
            settings.augmentation if settings.augmentation.varies else None,
            views=max(1, settings.epochs),
            regularization=settings.regularization,
            compute=context.compute,
        )

        learn = learn_labels(settings.regularization, settings.label_smoothing)
        outcome = fit(network.to(device), home, learn, schedule, meter, folder)
        return network_result(
            network, data, outcome, folder=folder, key=key, role="teacher", name=teacher_name(settings),
            architecture=architecture, meter=meter, notes=_domain_notes(network, own, settings, meter),
        )  # fmt: skip

    # How much it counts among others does not change it; data of its own is told by its fingerprint.
    told = settings.model_dump(mode="json", exclude={"weight", "data"})
    inputs: dict[str, object] = {"data": data.fingerprint, "settings": told, "weights": weights_identity(settings)}
    if own is not None:
        inputs["own"] = own.fingerprint
    if settings.epochs:
        inputs["compute"] = context.compute
    if settings.file_format == "keras":
        inputs["tensorflow"] = tensorflow_version()
    total = samples_of(home, settings.epochs) + (len(data.rows("test")) if own is not None else 0)
    return context.stage("teacher", inputs, NetworkResult, make, total=total, unit="samples", together=True)


def _domain_notes(
    network: nn.Module, own: PreparedData | None, settings: TeacherSettings, meter: Meter
) -> tuple[str, ...]:
    """What a reader must know of a teacher of another domain."""
    if own is None or settings.data is None:
        return ()
    rows = own.rows("test")
    with deterministic():
        judged = accuracy(predict(network, own, rows, meter=meter), own.targets[rows])
    chosen = ", ".join(f"{column}: {value}" for column, value in settings.data.where.items())
    domain = f"{own.source} ({chosen})" if chosen else own.source
    notes = [
        f"trained on data of its own, {domain}: {100 * judged.value:.2f}% of {judged.total:,} test samples there; its "
        "accuracy on the student's test split is out of its domain"
    ]
    left_out = len(own.targets) - sum(sum(counts.values()) for counts in own.counts.values())
    if left_out:
        notes.append(
            f"{left_out:,} samples of its own data, which the student's validation or test split holds, were left out"
        )
    return tuple(notes)


def teacher_name(settings: TeacherSettings) -> str:
    """The model's own name: of a package's or local folder, the package or the folder."""
    if settings.file_format:
        return model_path(settings.model).name
    if settings.model.startswith("package:"):
        return settings.model.removeprefix("package:").split("/")[0]
    return Path(settings.model).name if settings.model.startswith(("/", ".", "~")) else settings.model


def _load(data: PreparedData, settings: TeacherSettings) -> tuple[nn.Module, dict[str, object]]:
    if settings.file_format:
        return open_file_teacher(data, settings)
    if data.task == "text-classification":
        return _load_text(data, settings)
    mean, std = image_normalisation(settings.model)
    architecture: dict[str, object] = {
        "kind": "timm", "model": settings.model, "width": 1.0, "classes": len(data.labels),
        "input_size": settings.input_size, "mean": mean, "std": std,
    }  # fmt: skip
    network = build_network(architecture)
    assert isinstance(network, ImageNetwork)
    load_image_weights(network.body, settings.model, settings.weights, train=settings.epochs > 0)
    return network, architecture


def _load_text(data: PreparedData, settings: TeacherSettings) -> tuple[nn.Module, dict[str, object]]:
    if settings.input_size is not None:
        raise InputError("teacher.input_size is for images: remove it, text.sequence_length sets a text's length")
    transformer: Any = load_transformer(settings, data.labels)
    length, longest = int(data.inputs.shape[1]), longest_sequence(transformer.config)
    if longest is not None and length > longest:
        raise InputError(
            f"text.sequence_length is {length}, teacher {teacher_name(settings)} takes at most {longest}: "
            "lower it, or use another teacher"
        )
    architecture: dict[str, object] = {
        "kind": "transformers",
        "config": plain_config(transformer.config),
        "labels": list(data.labels),
    }
    return TextNetwork(transformer), architecture


def longest_sequence(config: Any) -> int | None:
    """The most word pieces that a transformer takes; None if nothing limits it."""
    positions = getattr(config, "max_position_embeddings", None)
    if positions is None:
        return None
    # RoBERTa and its kin count positions from after the padding's id.
    offset = (config.pad_token_id or 0) + 1 if "roberta" in config.model_type or config.model_type == "camembert" else 0
    return int(positions) - offset


def plain_config(config: Any) -> dict[str, object]:
    """A transformers configuration as plain JSON: what differs from the library's base, without names of
    files, versions and labels."""
    from transformers import PretrainedConfig

    base = PretrainedConfig().to_dict()
    left_out = {
        "_name_or_path",
        "transformers_version",
        "architectures",
        "id2label",
        "label2id",
        "dtype",
        "torch_dtype",
    }
    kept = {
        name: value
        for name, value in config.to_dict().items()
        if name not in left_out and not (name in base and base[name] == value)
    }
    return {"model_type": config.model_type, **kept}


def _freeze(network: nn.Module, settings: TeacherSettings) -> None:
    if settings.freeze == "none":
        return
    body: Any
    if isinstance(network, TextNetwork):
        body = network.transformer.base_model
        frozen = body.embeddings if settings.freeze == "embeddings" else body
        frozen.requires_grad_(False)
        return
    if settings.freeze == "embeddings":
        raise InputError("teacher.freeze: 'embeddings' is for text teachers; images take none or backbone")
    assert isinstance(network, ImageNetwork)
    body = network.body
    body.requires_grad_(False)
    classifier = body.get_classifier()
    for layer in classifier if isinstance(classifier, tuple) else (classifier,):
        layer.requires_grad_(True)
