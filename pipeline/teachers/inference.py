"""A convolutional teacher that only answers computes in onnxruntime where there is no GPU: its graph is fused and its
layers keep nothing for gradients. A transformer is left to PyTorch, whose matrix products are as good."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.context import RunContext
from pipeline.data.batches import evaluation_batches
from pipeline.errors import InputError
from pipeline.export.check import SAMPLES, conversion
from pipeline.networks import example_inputs, load_network
from pipeline.progress import Meter
from pipeline.results import InferenceGraph, NetworkResult, PreparedData
from pipeline.teachers.file_network import FileNetwork

OPSET = 20
AGREE = 1e-3  # softmax scores; rounding stays below 1e-4, a wrong operator is off by 1e-2 and more


def for_inference(data: PreparedData, teacher: NetworkResult, context: RunContext) -> NetworkResult:
    """`teacher` with its `inference_file`, from which `load_answering` opens it: ONNX, `image` float32 [B, 3, S, S],
    pixels 0..255, to `logits` float32 [B, classes], for any B.

    Where it would not help (on a GPU, transformers, files that a runtime computes already), and where the converter
    can't take the network or changes what it computes, the teacher is given back as it is.
    """
    if torch.cuda.is_available() or not _convolutional(teacher.architecture):
        return teacher

    def make(folder: Path, key: str, meter: Meter) -> InferenceGraph:
        network = load_network(teacher)
        file = folder / "teacher.onnx"
        try:
            with conversion(teacher, "ONNX"):
                file.write_bytes(_exported(network, data))
            _hold_against(network, _opened(file, teacher), data)
        except InputError as error:
            file.unlink(missing_ok=True)
            meter.text = f"it answers in PyTorch: {error}"
            return InferenceGraph(key, None, 0)
        finally:
            meter.advance()
        return InferenceGraph(key, file, file.stat().st_size)

    inputs = {"data": data.fingerprint, "teacher": teacher.fingerprint}
    made = context.stage("inference-graph", inputs, InferenceGraph, make, title=f"{teacher.role} for inference")
    return replace(teacher, inference_file=made.file)


def load_answering(teacher: NetworkResult, device: torch.device) -> nn.Module:
    """The network of `teacher` in evaluation mode on `device`, for its logits alone: on the CPU its inference file
    where there is one."""
    if teacher.inference_file is not None and device.type == "cpu":
        return _opened(teacher.inference_file, teacher)
    return load_network(teacher).to(device)


def _convolutional(architecture: dict[str, Any]) -> bool:
    if architecture["kind"] == "ensemble":
        return all(_convolutional(member) for member in architecture["members"])
    return bool(architecture["kind"] == "timm")


class _OfOneImage(nn.Module):
    """An ensemble takes any number of inputs, the exporter wants them counted."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.network(image)
        return logits


def _exported(network: nn.Module, data: PreparedData) -> bytes:
    (image,) = example_inputs(data)
    program = torch.onnx.export(
        _OfOneImage(network).eval(),
        (torch.cat([image, image]).contiguous(),),  # a batch of one would be taken for a constant
        dynamo=True,
        input_names=["image"],
        output_names=["logits"],
        opset_version=OPSET,
        external_data=False,
        dynamic_shapes=({0: torch.export.Dim("batch")},),
    )
    assert program is not None, "the dynamo exporter returns its program"
    content: bytes = program.model_proto.SerializeToString(deterministic=True)
    return content


def _opened(file: Path, teacher: NetworkResult) -> FileNetwork:
    content = file.read_bytes()
    architecture = {
        "kind": "onnx", "name": teacher.name, "suffix": "", "bytes": len(content), "parameters": teacher.parameters,
        "layout": "NCHW", "size": None, "mean": None, "std": None, "batch": None, "output": "logits",
        "outputs": "logits",
    }  # fmt: skip
    network = FileNetwork(architecture)
    network.content.copy_(torch.from_numpy(np.frombuffer(content, dtype=np.uint8).copy()))
    return network.eval()


def _hold_against(network: nn.Module, opened: FileNetwork, data: PreparedData) -> None:
    """Raises InputError where the file does not say what the network says of validation samples."""
    (batch,) = evaluation_batches(data, data.rows("validation")[:SAMPLES], SAMPLES)
    with torch.inference_mode():
        off = (opened(*batch.inputs).softmax(-1) - network(*batch.inputs).softmax(-1)).abs().max().item()
    if not off <= AGREE:
        raise InputError(f"its ONNX graph is off by {off:.2g}")
