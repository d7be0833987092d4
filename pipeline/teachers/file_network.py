"""A model file of another framework behind the face of a PyTorch network: raw inputs in, logits out, no gradient.

Its bytes are a buffer of the network, so that a checkpoint holds all of it.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.data.batches import evaluation_batches
from pipeline.errors import InputError
from pipeline.feeds import special_ids, text_role, vocabulary_size
from pipeline.results import PreparedData
from pipeline.settings.teacher import TeacherSettings
from pipeline.teachers.model_files import (
    FileInput,
    ModelFile,
    file_identity,
    model_path,
    open_content,
    read_content,
    stored_parameters,
)

PROBED = 64  # validation samples that show what a file's outputs are
OFF = 1e-3  # by which the probabilities of a sample may miss a sum of 1: they were rounded, to 16 bits at the least
LEAST = float(np.finfo(np.float32).tiny)  # what a probability of 0 counts as
TEXT_PARTS = ("input_ids", "attention_mask", "token_type_ids")


class FileNetwork(nn.Module):
    """`architecture`, besides what `pipeline.networks.build_network` tells of it, says how the file takes a batch:
    `layout` and `size` (height and width, None: any) of images, `roles` (what part of a text each input takes),
    `length` (None: any) and `pad` of texts, `batch` (None: any), and the `output` that is taken.

    It computes on the CPU, wherever its inputs are.
    """

    def __init__(self, architecture: dict[str, Any]) -> None:
        super().__init__()
        self.architecture = architecture
        self.register_buffer("content", torch.zeros(architecture["bytes"], dtype=torch.uint8))
        self.content: Tensor
        self._opened: ModelFile | None = None

    @property
    def model(self) -> ModelFile:
        """The file opened, which happens once. Raises InputError if it can't be."""
        if self._opened is None:
            told, content = self.architecture, self.content.cpu().numpy().tobytes()
            threads = torch.get_num_threads()
            self._opened = open_content(content, told["kind"], told["suffix"], told["name"], threads)
        return self._opened

    @property
    def parameters_inside(self) -> int:
        return int(self.architecture["parameters"])

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}  # an opened file can't be copied

    def forward(self, *inputs: Tensor) -> Tensor:
        whole = self._image(*inputs) if len(inputs) == 1 else self._texts(*inputs)
        scores = torch.from_numpy(self._answers(whole)).to(inputs[0].device)
        return scores.clamp_min(LEAST).log() if self.architecture["outputs"] == "probabilities" else scores

    def _image(self, image: Tensor) -> dict[str, np.ndarray]:
        told, (taken,) = self.architecture, self.model.inputs
        image = image.detach().cpu()
        if told["size"] is not None and list(image.shape[2:]) != told["size"]:
            image = functional.interpolate(image, told["size"], mode="bilinear", align_corners=False)
        if told["mean"] is not None:
            mean, std = (torch.tensor(told[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
            image = (image - mean) / std
        if told["layout"] == "NHWC":
            image = image.permute(0, 2, 3, 1)
        values = image.numpy()
        if taken.dtype == "uint8":
            values = np.clip(np.rint(values), 0, 255)
        return {taken.name: np.ascontiguousarray(values.astype(taken.dtype))}

    def _texts(self, *parts: Tensor) -> dict[str, np.ndarray]:
        told, found = self.architecture, {}
        for taken in self.model.inputs:
            role = told["roles"][taken.name]
            values = parts[TEXT_PARTS.index(role)].detach().cpu()
            if told["length"] is not None:
                fill = told["pad"] if role == "input_ids" else 0
                values = functional.pad(values, (0, told["length"] - values.shape[1]), value=fill)
            found[taken.name] = values.numpy().astype(taken.dtype)
        return found

    def _answers(self, whole: dict[str, np.ndarray]) -> np.ndarray:
        """float32 [B, values], in batches of the size that the file takes; a last, smaller one is filled up."""
        count, batch = len(next(iter(whole.values()))), self.architecture["batch"]
        parts = []
        for start in range(0, count, batch or count):
            part = {name: values[start : start + (batch or count)] for name, values in whole.items()}
            real = len(next(iter(part.values())))
            lack = (batch or real) - real
            if lack:
                part = {name: np.concatenate([v, np.repeat(v[-1:], lack, axis=0)]) for name, v in part.items()}
            given = self.model.run(part)[self.architecture["output"]]
            parts.append(np.asarray(given, dtype=np.float32).reshape(real + lack, -1)[:real])
        return np.concatenate(parts)


def open_file_teacher(data: PreparedData, settings: TeacherSettings) -> tuple[FileNetwork, dict[str, object]]:
    """The teacher `settings.model`, an onnx: or keras: file, and its architecture. Some validation samples show
    whether its outputs are logits or probabilities, where the settings do not say.

    Raises InputError for a file that is not there or can't be opened, inputs that the data can't fill, and outputs
    that are not one value a class.
    """
    form = settings.file_format
    assert form is not None
    path = model_path(settings.model)
    content = read_content(path, form)
    hashes = file_identity(settings.model)
    architecture: dict[str, Any] = {
        "kind": form, "name": path.name, "suffix": path.suffix if path.is_file() else "", "sha256": hashes,
        "bytes": len(content), "parameters": 0, "classes": len(data.labels), "outputs": "logits", "output": None,
        "mean": settings.mean and list(settings.mean), "std": settings.std and list(settings.std),
    }  # fmt: skip
    network = FileNetwork(architecture)
    network.content.copy_(torch.from_numpy(np.frombuffer(content, dtype=np.uint8).copy()))
    inputs = network.model.inputs
    architecture["parameters"] = stored_parameters(network.model, content)
    batches = {taken.shape[0] if taken.shape else None for taken in inputs}
    if len(batches) != 1:
        raise InputError(f"{path}: its inputs take batches of {sorted(map(str, batches))} samples, expected one size")
    architecture["batch"] = batches.pop()
    taken = _image_inputs if data.task == "image-classification" else _text_inputs
    architecture |= taken(inputs, data, settings, path.name)
    _see_outputs(network, data, settings.outputs)
    return network.eval(), architecture


def _image_inputs(
    inputs: tuple[FileInput, ...], data: PreparedData, settings: TeacherSettings, name: str
) -> dict[str, object]:
    shape = inputs[0].shape if len(inputs) == 1 else ()
    layouts = [layout for layout, place in (("NCHW", 1), ("NHWC", 3)) if len(shape) == 4 and shape[place] == 3]
    if len(layouts) != 1:
        found = ", ".join(f"{taken.name} {_sizes(taken.shape)}" for taken in inputs)
        raise InputError(f"{name}: takes {found}; an image teacher takes one input [B, 3, H, W] or [B, H, W, 3]")
    if inputs[0].dtype not in ("float32", "float16", "float64", "uint8"):
        raise InputError(f"{name}: its input is {inputs[0].dtype}, expected floats or uint8")
    if inputs[0].dtype == "uint8" and settings.mean is not None:
        raise InputError(f"{name}: its input is uint8, pixels as they are: remove teacher.mean and teacher.std")
    height, width = shape[2:4] if layouts == ["NCHW"] else shape[1:3]
    side = settings.input_size
    if side is not None and any(size not in (None, side) for size in (height, width)):
        raise InputError(f"teacher.input_size is {side}, {name} takes {height} x {width}: remove input_size")
    given = int(data.inputs.shape[1])
    known = [height or side or given, width or side or given]
    return {"layout": layouts[0], "size": known if height or width or side else None}


def _text_inputs(
    inputs: tuple[FileInput, ...], data: PreparedData, settings: TeacherSettings, name: str
) -> dict[str, object]:
    if settings.input_size is not None:
        raise InputError("teacher.input_size is for images: remove it, text.sequence_length sets a text's length")
    try:
        roles = {taken.name: text_role(taken.name) for taken in inputs}
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    lengths = {taken.shape[1] for taken in inputs if len(taken.shape) == 2}
    if "input_ids" not in roles.values() or len(lengths) != 1 or any(len(taken.shape) != 2 for taken in inputs):
        found = ", ".join(f"{taken.name} {_sizes(taken.shape)}" for taken in inputs)
        raise InputError(f"{name}: takes {found}; a text teacher takes input_ids [B, L] and its masks, of one length")
    (length,) = lengths
    if length is not None and length < data.inputs.shape[1]:
        raise InputError(
            f"text.sequence_length is {data.inputs.shape[1]}, teacher {name} takes at most {length}: "
            "lower it, or use another teacher"
        )
    pad = special_ids(data)["pad"][1]
    # What a student that reads the same word pieces asks of its teacher.
    config = {"vocab_size": vocabulary_size(data), "pad_token_id": pad}
    return {"roles": roles, "length": length, "pad": pad, "config": config}


def _see_outputs(network: FileNetwork, data: PreparedData, stated: str) -> None:
    """Sets the architecture's `output` and `outputs` by the file's answers to a batch of validation samples."""
    told, classes = network.architecture, len(data.labels)
    (batch,) = evaluation_batches(data, data.rows("validation")[:PROBED], PROBED)
    try:
        fed = network._image(*batch.inputs) if len(batch.inputs) == 1 else network._texts(*batch.inputs)
        count = told["batch"] or len(batch.rows)
        shown = network.model.run({name: np.resize(values, (count, *values.shape[1:])) for name, values in fed.items()})
        fitting = [name for name, value in shown.items() if value.size == count * classes]
        if len(fitting) == 1:
            told["output"] = fitting[0]
            answers = network._answers(fed)
    except InputError:
        raise
    except Exception as error:  # whatever a runtime raises for inputs that it can't take
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"{told['name']}: can't be run on the data's samples ({reason})") from None
    if len(fitting) != 1:
        found = ", ".join(f"{name} {_sizes(value.shape)}" for name, value in shown.items())
        raise InputError(
            f"{told['name']}: for {count} samples it gives {found}; data has {classes} classes, expected one output "
            f"of {classes} values a sample, in the order of the data's labels"
        )
    if not np.isfinite(answers).all():
        raise InputError(f"{told['name']}: gives values that are no numbers for samples of the data")
    probable = bool((answers >= 0).all() and np.abs(answers.sum(1) - 1).max() < OFF)
    if stated == "probabilities" and (answers < 0).any():
        raise InputError(f"{told['name']}: gives {answers.min():g}, which is no probability: say outputs: logits")
    told["outputs"] = ("probabilities" if probable else "logits") if stated == "auto" else stated


def _sizes(shape: tuple[int | None, ...]) -> str:
    return "[" + ", ".join("any" if size is None else str(size) for size in shape) + "]"
