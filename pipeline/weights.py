"""Weights that a recipe names: `hub`, `none`, a local file or folder, or `package:NAME/GLOB`.

Checkpoints are read with safetensors or torch's `weights_only=True`, so a file can't run code.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import InputError
from pipeline.packages import PREFIX, package_path
from pipeline.quiet import quiet
from pipeline.settings.student import StudentSettings
from pipeline.settings.teacher import TeacherSettings
from pipeline.store import file_sha256
from pipeline.teachers.model_files import file_identity, model_path

if TYPE_CHECKING:
    from torch import Tensor, nn

TORCHVISION = frozenset({"squeezenet1_1"})  # models that timm has not
WEIGHT_FILES = ("*.safetensors", "*.bin", "*.pt", "*.pth", "config.json")


def local_path(reference: str) -> Path | None:
    """The file or folder that `reference` names; None for `hub`, `none` and names on a hub.

    Raises InputError if it names a path or a package's file that is not there.
    """
    if reference.startswith(PREFIX):
        return package_path(reference)
    path = Path(reference).expanduser()
    if path.is_absolute() or reference.startswith((".", "~")) or path.suffix in (".safetensors", ".pt", ".pth", ".bin"):
        if not path.exists():
            raise InputError(f"weights {reference}: no such file or folder")
        return path
    return None


def weights_identity(settings: TeacherSettings | StudentSettings) -> dict[str, str]:
    """SHA-256 of every local weight file that the settings name, for the fingerprint: the content counts, not
    where it lies."""
    if isinstance(settings, TeacherSettings) and settings.file_format:
        return file_identity(settings.model)
    references = [settings.weights, *([settings.model] if isinstance(settings, TeacherSettings) else [])]
    identity: dict[str, str] = {}
    for path in filter(None, map(local_path, references)):
        files = sorted(f for pattern in WEIGHT_FILES for f in path.glob(pattern)) if path.is_dir() else [path]
        identity.update({file.name: file_sha256(file) for file in files})
    return identity


def image_normalisation(model: str) -> tuple[list[float], list[float]]:
    """Mean and standard deviation, in pixels 0..255, that the pretrained weights of `model` expect, timm's or
    torchvision's."""
    import timm

    if model in TORCHVISION:
        preset: Any = _torchvision_weights(model).transforms()
        return [255 * float(value) for value in preset.mean], [255 * float(value) for value in preset.std]
    known = timm.get_pretrained_cfg(model, allow_unregistered=True)
    mean, std = (known.mean, known.std) if known else ((0.5,) * 3, (0.5,) * 3)
    return [255 * float(value) for value in mean], [255 * float(value) for value in std]


def load_image_weights(body: "nn.Module", model: str, reference: str, width: float = 1.0, *, train: bool) -> None:
    """Loads into the image network `body` the weights that `reference` names; `none` leaves it as it is.

    With `train`, a classifier for another number of classes keeps its random weights. Raises InputError for a
    missing, damaged or unfitting checkpoint, and where a hub's weights can't be had.
    """
    if reference == "none":
        return
    path = local_path(reference)
    if path is not None:
        tensors, origin, ordered = read_tensors(path), reference, path.suffix != ".safetensors"
    elif reference == "hub":
        tensors, origin, ordered = _hub_tensors(model, width), f"hub weights of {model}", True
    else:
        raise InputError(
            f"weights '{reference}': expected hub, none, the path of a file, or package:NAME/GLOB (a path "
            "relative to the recipe starts with ./)"
        )
    _fit_into(body, tensors, origin, train=train, ordered=ordered)


def read_tensors(file: Path) -> "dict[str, Tensor]":
    """The tensors of a .safetensors file or a torch checkpoint by name, in the file's order; a state dict
    within it (`state_dict`, `model`) is found. Raises InputError if the file is no whole checkpoint."""
    import torch
    from safetensors.torch import load_file

    if not file.is_file():
        raise InputError(f"weights {file}: found a folder, expected a checkpoint file")
    try:
        if file.suffix == ".safetensors":
            content: Any = load_file(file)
        else:
            content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can raise anything
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise InputError(
            f"weights {file}: truncated, damaged or not a checkpoint of tensors ({reason}); get the file "
            "again, or save it as .safetensors"
        ) from None
    while isinstance(content, dict) and (inner := content.get("state_dict", content.get("model"))) is not None:
        content = inner
    tensors = content if isinstance(content, dict) else {}
    tensors = {str(name): value for name, value in tensors.items() if isinstance(value, torch.Tensor)}
    if not tensors:
        raise InputError(f"weights {file}: no tensors found, expected a state dict")
    return tensors


def _torchvision_weights(model: str) -> Any:
    from torchvision.models import get_model_weights

    return next(iter(get_model_weights(model)))


def _hub_tensors(model: str, width: float) -> "dict[str, Tensor]":
    import timm

    name = model if width == 1.0 else f"{model.removesuffix('_100')}_{round(100 * width):03d}"
    theirs = model in TORCHVISION
    if not (width == 1.0 if theirs else timm.is_model(name) and timm.is_model_pretrained(name)):
        owner = "torchvision" if theirs else "timm"
        raise InputError(
            f"no weights of '{name}' on {owner}'s hub: use weights: none, a file, or another model or width"
        )
    try:
        with quiet():
            if theirs:
                return _torchvision_weights(model).get_state_dict(check_hash=True)
            return timm.create_model(name, pretrained=True).state_dict()
    except Exception as error:  # whatever the network on the way raises
        reason = str(error).strip().splitlines()[0][:200]
        raise InputError(
            f"hub weights of '{name}' can't be had here ({reason}): connect to the internet once, or name a "
            "local file or package:NAME/GLOB in weights"
        ) from None


def _fit_into(body: "nn.Module", tensors: "dict[str, Tensor]", origin: str, *, train: bool, ordered: bool) -> None:
    """By name, else by position: a checkpoint of the same network under other names has the same shapes in
    the same order, where its file keeps the order of the network (safetensors sorts by name)."""
    own = {name: value for name, value in body.state_dict().items() if not name.endswith("num_batches_tracked")}
    given = {name: value for name, value in tensors.items() if not name.endswith("num_batches_tracked")}
    head = _classifier_names(body, own)
    for prefix in ("module.", "model.", "body."):
        if all(name.startswith(prefix) for name in given):
            given = {name.removeprefix(prefix): value for name, value in given.items()}
    if ordered and not set(own) - head <= set(given) and len(own) == len(given):
        given = dict(zip(own, given.values(), strict=True))
    for name, value in own.items():
        if name in head:
            continue
        if name not in given:
            raise InputError(f"{origin}: has no '{name}': it is not a checkpoint of this network")
        if given[name].shape != value.shape:
            shape, expected = tuple(given[name].shape), tuple(value.shape)
            raise InputError(f"{origin}: '{name}' is {shape}, the network's is {expected}: it is of another network")
    if extra := [name for name in given if name not in own]:
        raise InputError(f"{origin}: has '{extra[0]}', which the network has not: it is of another network")
    fits = all(name in given and given[name].shape == own[name].shape for name in head)
    if not fits and not train:
        found = next((len(given[name]) for name in sorted(head) if name in given), 0)
        classes = len(own[sorted(head)[0]])
        raise InputError(
            f"{origin}: checkpoint is for {found} classes, data has {classes}: set epochs above 0 to train "
            "a new classifier, or name a checkpoint of these classes"
        )
    body.load_state_dict({name: given[name] for name in own if fits or name not in head}, strict=False)


def _classifier_names(body: "nn.Module", names: "dict[str, Tensor]") -> set[str]:
    layers: Any = getattr(body, "default_cfg", {}).get("classifier", "classifier")
    starts = tuple(f"{layer}." for layer in ((layers,) if isinstance(layers, str) else layers))
    return {name for name in names if name.startswith(starts)}


def text_source(settings: TeacherSettings) -> Path | str:
    """Folder, or name on the Hugging Face hub, that holds a text teacher's configuration and tokenizer:
    `weights` if that is a folder, else `model`; of a file's teacher its `tokenizer`, of a stored one what it read
    with."""
    if settings.stored:
        return model_path(settings.model) / "tokenizer"
    if settings.file_format:
        if settings.tokenizer is None:
            raise InputError(f"teacher {settings.model} brings no tokenizer; give tokenizer: FOLDER")
        return local_path(settings.tokenizer) or settings.tokenizer
    weights = local_path(settings.weights)
    if weights is not None and weights.is_dir():
        return weights
    return local_path(settings.model) or (
        Path(settings.model) if (Path(settings.model) / "config.json").exists() else settings.model
    )


def load_transformer(settings: TeacherSettings, labels: tuple[str, ...]) -> "nn.Module":
    """A transformers sequence classifier for `labels`; its classifier is new where the checkpoint has none
    or one for other classes (only with epochs above 0). Raises InputError for what can't be loaded."""
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification

    source = text_source(settings)
    if isinstance(source, Path) and not (source / "config.json").is_file():
        raise InputError(f"{source}: not a transformers model folder: no config.json in it")
    names = dict(enumerate(labels))
    try:
        with quiet():
            config = AutoConfig.from_pretrained(source)
            found = len(config.id2label)
            config.id2label, config.label2id = names, {name: index for index, name in names.items()}
            if settings.weights == "none":
                return AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)
            network, report = AutoModelForSequenceClassification.from_pretrained(
                source, config=config, dtype=torch.float32, ignore_mismatched_sizes=True, output_loading_info=True
            )
    except Exception as error:  # whatever a damaged folder, or a network on the way to the hub, raises
        raise InputError(_cannot_load(source, error)) from None
    body = network.base_model_prefix + "."
    absent = [name for name in sorted(report["missing_keys"]) if name.startswith(body) and ".pooler." not in name]
    if absent:
        raise InputError(f"{source}: has no '{absent[0]}': it is not a checkpoint of this network")
    unlike = [key[0] if isinstance(key, tuple) else key for key in report["mismatched_keys"]]
    if any(name.startswith(body) for name in unlike):
        raise InputError(f"{source}: '{unlike[0]}' has another shape than its configuration says")
    if settings.epochs == 0 and unlike:
        raise InputError(
            f"{source}: checkpoint is for {found} classes, data has {len(labels)}: set teacher.epochs "
            "above 0 to train a new classifier, or name a checkpoint of these classes"
        )
    if settings.epochs == 0 and report["missing_keys"]:
        raise InputError(f"{source}: has no trained classifier: set teacher.epochs above 0 to train one")
    file = local_path(settings.weights)
    if file is not None and file.is_file():
        _fit_into(network, read_tensors(file), settings.weights, train=settings.epochs > 0, ordered=False)
    return network


def _cannot_load(source: Path | str, error: Exception) -> str:
    reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
    if isinstance(source, Path):
        return f"{source}: not a transformers model folder, or a damaged one ({reason})"
    return (
        f"text model '{source}' can't be had ({reason}): check its name, connect to the internet once, or "
        "give a local folder or package:NAME/FOLDER"
    )
