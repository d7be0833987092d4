"""Networks as every stage takes them: raw inputs of the task in, logits [B, classes] out.

Images are float32 [B, 3, H, W], RGB pixels 0..255; texts are integer input_ids, attention_mask and
token_type_ids, each [B, L]. Normalisation, and resizing where a teacher wants another size, are inside.
"""

import difflib
import inspect
from copy import deepcopy
from itertools import chain
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.aware.fold import without_normalisation
from pipeline.errors import InputError
from pipeline.results import NetworkResult, PreparedData
from pipeline.settings.teacher import FILE_FORMATS, STORED
from pipeline.students.activations import replace_activations
from pipeline.students.texts import TEXT_STUDENTS
from pipeline.teachers.combine import EnsembleNetwork


class ImageNetwork(nn.Module):
    """`body` maps normalised pixels [B, 3, S, S] to logits. `mean` and `std` are in pixels 0..255, one a
    channel; an `input_size` S other than the pixels' makes the network resize them (bilinear)."""

    def __init__(self, body: nn.Module, mean: list[float], std: list[float], input_size: int | None = None) -> None:
        super().__init__()
        self.body = body
        self.input_size = input_size
        # Equal channels make one number, so that converters see a scalar operation.
        mean, std = (values[:1] if len(set(values)) == 1 else values for values in (mean, std))
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("scale", (1 / torch.tensor(std)).view(1, -1, 1, 1), persistent=False)
        self.mean: Tensor
        self.scale: Tensor

    def forward(self, image: Tensor) -> Tensor:
        if self.input_size is not None and image.shape[-1] != self.input_size:
            size = (self.input_size, self.input_size)
            image = functional.interpolate(image, size, mode="bilinear", align_corners=False)
        return self.body((image - self.mean) * self.scale)


class TextNetwork(nn.Module):
    """`transformer` is a transformers sequence classifier."""

    def __init__(self, transformer: nn.Module) -> None:
        super().__init__()
        self.transformer = transformer
        self.takes_types = "token_type_ids" in inspect.signature(transformer.forward).parameters

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        types = {"token_type_ids": token_type_ids} if self.takes_types else {}
        return self.transformer(input_ids=input_ids, attention_mask=attention_mask, **types).logits

    def get_input_embeddings(self) -> nn.Module:
        return cast(Any, self.transformer).get_input_embeddings()


def build_network(architecture: dict[str, Any]) -> nn.Module:
    """The network with random weights (torch's generator), pruning re-applied. `architecture` is plain JSON:

    - `kind: timm` and `kind: torchvision`: model, width, classes, input_size, mean, std; `adapted` operators and what
      replaces them (`pipeline.students.adapt`), `shapes` of a pruned body (`reshape_body`), `dropout` before the
      classifier, `folded` normalisations (`pipeline.aware.fold`);
    - `kind: transformers`: config (a transformers configuration, `pruned_heads` included), labels, the names of
      parameters that training leaves alone (`frozen`), and the feed-forward `units` of each layer of a BERT where
      pruning left more in one than in another;
    - `kind: text`: model and config of a text student that is no transformer (`pipeline.students.texts`), labels,
      `frozen`;
    - `kind: onnx` and `kind: keras`: a file of another framework (`pipeline.teachers.file_network`): name, suffix,
      sha256, bytes, parameters, classes, mean, std, outputs;
    - `kind: ensemble`: members (architectures), weights, temperature, combine;
    - `kind: cache`: no network, but the answers that one gave (`pipeline.distill.stored`).

    Raises InputError for a model name that the library does not know, and for a teacher that is elsewhere.
    """
    if architecture["kind"] == STORED:
        raise InputError("a cache: teacher has no network here, only answers that were exported: it can't be asked")
    if architecture["kind"] in FILE_FORMATS:
        from pipeline.teachers.file_network import FileNetwork

        return FileNetwork(architecture)
    if architecture["kind"] == "ensemble":
        members = [build_network(member) for member in architecture["members"]]
        by_confidence = architecture["combine"] == "confidence"
        return EnsembleNetwork(members, architecture["weights"], architecture["temperature"], by_confidence)
    if architecture["kind"] in ("timm", "torchvision"):
        body = _image_body(architecture)
        replace_activations(body, architecture.get("adapted", {}))
        reshape_body(body, architecture.get("shapes", {}))
        network = ImageNetwork(body, architecture["mean"], architecture["std"], architecture.get("input_size"))
        without_normalisation(network, architecture.get("folded", []))
        return network.to(memory_format=torch.channels_last)
    text: nn.Module
    if architecture["kind"] == "text":
        text = TEXT_STUDENTS[architecture["model"]](architecture["config"], len(architecture["labels"]))
    else:
        text = TextNetwork(_transformer(architecture))
    for name in architecture.get("frozen", []):
        text.get_parameter(name).requires_grad_(False)
    return text


def _transformer(architecture: dict[str, Any]) -> nn.Module:
    from transformers import AutoConfig, AutoModelForSequenceClassification

    settings = dict(architecture["config"])
    # JSON made the layers' numbers into strings.
    heads = {int(layer): list(gone) for layer, gone in settings.pop("pruned_heads", {}).items()}
    names = dict(enumerate(architecture["labels"]))
    config = AutoConfig.for_model(
        **settings,
        pruned_heads=heads,
        id2label=names,
        label2id={name: index for index, name in names.items()},
    )
    model = AutoModelForSequenceClassification.from_config(config)
    for number, units in enumerate(architecture.get("units", [])):
        layer = model.bert.encoder.layer[number]
        layer.intermediate.dense = nn.Linear(config.hidden_size, units)
        layer.output.dense = nn.Linear(units, config.hidden_size)
    return model


def _image_body(architecture: dict[str, Any]) -> nn.Module:
    width, classes = architecture.get("width", 1.0), architecture["classes"]
    dropout = {} if "dropout" not in architecture else {"dropout": architecture["dropout"]}
    if architecture["kind"] == "torchvision":
        from pipeline.students.squeezenet import SqueezeNet

        return _unsure(SqueezeNet(classes, width, **dropout))
    body: Any = timm_body(architecture["model"], classes, width)
    if dropout:
        body.drop_rate = architecture["dropout"]  # timm's classifiers read it in forward
    return body


def timm_body(model: str, classes: int, width: float = 1.0) -> nn.Module:
    """The timm network `model`, its channels multiplied by `width` where that is not 1."""
    import timm
    from timm.models import efficientnet, mobilenetv3

    if not timm.is_model(model):
        raise InputError(f"unknown image model '{model}'{_nearest(model, timm.list_models())} (names are timm's)")
    if width == 1.0:
        return _unsure(timm.create_model(model, num_classes=classes))
    # timm registers a few widths by name; these makers of its families take any.
    lite = efficientnet._gen_efficientnet_lite
    makers: dict[str, tuple[Any, float, dict[str, float]]] = {  # with the width and depth that the model has itself
        "mobilenetv2": (efficientnet._gen_mobilenet_v2, 1.0, {}),
        "tf_efficientnet_lite0": (lite, 1.0, {}),
        "tf_efficientnet_lite1": (lite, 1.0, {"depth_multiplier": 1.1}),
        "tf_efficientnet_lite2": (lite, 1.1, {"depth_multiplier": 1.2}),
        "mobilenetv3": (mobilenetv3._gen_mobilenet_v3, 1.0, {}),
        "tf_mobilenetv3": (mobilenetv3._gen_mobilenet_v3, 1.0, {}),
        "mobilenetv4": (mobilenetv3._gen_mobilenet_v4, 1.0, {}),
    }
    found = next((maker for start, maker in makers.items() if model.startswith(start)), None)
    if found is None:
        raise InputError(f"'{model}' has no width to set: width {width:g} is for {', '.join(makers)}")
    make, own, depth = found
    return _unsure(make(model, channel_multiplier=own * width, num_classes=classes, **depth))


def _unsure(body: Any) -> nn.Module:
    """Draws the classifier anew, small: timm's ranges are for a thousand classes, with few of them a network
    would begin sure of wrong answers and spend its first epochs on unlearning them."""
    classifier = body.get_classifier()
    for layer in classifier if isinstance(classifier, tuple) else (classifier,):
        for module in layer.modules():
            if isinstance(module, (nn.Linear, nn.Conv2d)):
                nn.init.normal_(module.weight, std=0.01)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
    return body


def _nearest(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    return f": did you mean '{near[0]}'?" if near else ""


def body_shapes(body: nn.Module) -> dict[str, list[int]]:
    """Weight shapes of convolutions, linear and normalisation layers by name: a pruned body's structure."""
    return {name: list(layer.weight.shape) for name, layer in _layers(body)}


def reshape_body(body: nn.Module, shapes: dict[str, list[int]]) -> None:
    """Gives the layers named in `shapes` weights of those shapes, all zero; a depthwise convolution keeps one
    group a channel."""
    for name, layer in _layers(body):
        shape = shapes.get(name)
        if shape is None or list(layer.weight.shape) == shape:
            continue
        if isinstance(layer, nn.Conv2d):
            if layer.groups > 1:
                layer.groups = shape[0] // shape[1]
            layer.out_channels, layer.in_channels = shape[0], shape[1] * layer.groups
        elif isinstance(layer, nn.Linear):
            layer.out_features, layer.in_features = shape
        else:
            layer.num_features = shape[0]
            layer.running_mean, layer.running_var = torch.zeros(shape), torch.ones(shape)
        layer.weight = nn.Parameter(torch.zeros(shape))
        if layer.bias is not None:
            layer.bias = nn.Parameter(torch.zeros(shape[0]))


def _layers(body: nn.Module) -> list[tuple[str, Any]]:
    kinds = (nn.Conv2d, nn.Linear, nn.BatchNorm2d)
    return [(name, layer) for name, layer in body.named_modules() if isinstance(layer, kinds)]


def save_network(network: nn.Module, file: Path) -> None:
    """Writes the weights as safetensors: the same bytes for the same weights."""
    from safetensors.torch import save

    from pipeline.store import write_atomic

    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in network.state_dict().items()}
    write_atomic(file, save(tensors))


def load_network(result: NetworkResult) -> nn.Module:
    """The network of `result` in evaluation mode, on the CPU. Raises InputError for a damaged checkpoint."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    network = build_network(result.architecture)
    try:
        network.load_state_dict(load_file(result.checkpoint_file))
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"{result.checkpoint_file}: not the weights of {result.name} ({reason}); delete its folder and run again"
        ) from None
    return network.eval()


def example_inputs(data: PreparedData, sequence_length: int | None = None) -> tuple[Tensor, ...]:
    """The first test sample as a batch of one: images float32 [1, 3, S, S]; texts three int64 [1, L], cut or
    padded to `sequence_length` where given (the last word piece of a cut text is kept, as tokenizers do)."""
    row = int(data.rows("test")[0])
    if data.task == "image-classification":
        pixels = torch.from_numpy(data.inputs[row].copy()).permute(2, 0, 1).unsqueeze(0).float()
        return (pixels.contiguous(memory_format=torch.channels_last),)
    ids = torch.from_numpy(data.inputs[row].copy()).long()
    used = min(int(data.lengths[row]), len(ids))
    length = sequence_length or len(ids)
    if used > length:
        ids = torch.cat([ids[: length - 1], ids[used - 1 : used]])
        used = length
    ids = ids[:length] if len(ids) >= length else functional.pad(ids, (0, length - len(ids)))
    mask = (torch.arange(length) < used).long()
    return ids.unsqueeze(0), mask.unsqueeze(0), torch.zeros(1, length, dtype=torch.long)


def device_of(network: nn.Module) -> torch.device:
    return next(chain(network.parameters(), network.buffers())).device


def count_parameters(network: nn.Module) -> int:
    inside_files = sum(getattr(module, "parameters_inside", 0) for module in network.modules())
    return sum(parameter.numel() for parameter in network.parameters()) + inside_files


def runs_files(network: nn.Module) -> bool:
    """Whether files of other frameworks compute a part of it, which torch can't look into."""
    return any(hasattr(module, "parameters_inside") for module in network.modules())


def count_macs(network: nn.Module, inputs: tuple[Tensor, ...]) -> int:
    """Multiply-accumulates of the convolutions and matrix products of one forward pass over `inputs`."""
    from torch.utils.flop_counter import FlopCounterMode

    if any(isinstance(module, nn.LSTM) for module in network.modules()):
        # An LSTM in one piece, as oneDNN and cuDNN run it, would count for nothing; in float64 torch takes it apart.
        network = deepcopy(network).cpu().double()
    device = device_of(network)
    training = network.training
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        network.eval()(*(tensor.to(device) for tensor in inputs))
    network.train(training)
    return counter.get_total_flops() // 2
