"""A PyTorch network as an ONNX file with static shapes, softmax inside, checked against PyTorch."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pipeline.context import RunContext
from pipeline.errors import InputError
from pipeline.export.converted import FileFormat, converted, static_length
from pipeline.results import ExportedFile, NetworkResult, PreparedData

# Softmax scores, onnxruntime against PyTorch. Both compute in float32; the order of the sums differs, and a hundred
# layers carry rounding of 1e-7 up to some 1e-5. A wrong operator is off by 1e-2 and more.
FORMAT = FileFormat("ONNX", "onnx", "onnxruntime", tolerance=1e-4)

# Text goes through optimum's exporter, which traces with TorchScript; that writes opset 20 at the most.
NEWEST_TEXT_OPSET = 20


def export_onnx(
    data: PreparedData, network: NetworkResult, opset: int, sequence_length: int | None, context: RunContext
) -> ExportedFile:
    """The float32 ONNX file of `network`, for the ONNX operator set `opset`, the newest that the target reads.

    Images: input `image` float32 [1, 3, S, S], pixels 0..255. Texts: `input_ids`, `attention_mask` and, where the
    network takes it, `token_type_ids`, int64 [1, L], L at most `sequence_length`. Output `scores` float32
    [1, classes], softmax probabilities.

    Raises InputError if the network can't be converted to that operator set, or the file disagrees with PyTorch.
    """
    length = static_length(data, sequence_length)
    newest = opset if length is None else min(opset, NEWEST_TEXT_OPSET)

    def convert(module: Any, _: Path) -> bytes:
        if length is None:
            model = _image_model(module, data, newest)
        elif network.architecture["kind"] == "text":
            model = _plain_text_model(module, data, newest, length)
        else:
            model = _text_model(module, newest, length)
        _clean(model)
        written = model.opset_import[0].version
        if written > newest:
            raise InputError(
                f"export.opset {newest}: the exporter writes ONNX operator set {written} at the least; "
                f"set it to {written} or newer if the target's onnxruntime reads that"
            )
        return bytes(model.SerializeToString(deterministic=True))

    return converted(FORMAT, data, network, length, convert, context, opset=newest)


def _image_model(module: Any, data: PreparedData, opset: int) -> Any:
    from pipeline.export.onnx_pooling import pool_globally
    from pipeline.export.pixels import taking_pixels
    from pipeline.networks import example_inputs

    (image,) = example_inputs(data)
    model = _dynamo_model(taking_pixels(module), {"image": image.contiguous()}, opset)
    pool_globally(model)
    return model


def _plain_text_model(module: Any, data: PreparedData, opset: int, length: int) -> Any:
    """Of a text student that is no transformer: its two inputs, for it asks for no token types."""
    from pipeline.networks import example_inputs

    ids, mask, _ = example_inputs(data, length)
    return _dynamo_model(module, {"input_ids": ids, "attention_mask": mask}, opset)


def _dynamo_model(module: Any, inputs: dict[str, Any], opset: int) -> Any:
    import torch

    class Scores(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = module

        def forward(self, *given: torch.Tensor) -> torch.Tensor:
            return self.network(*given).softmax(-1)

    program = torch.onnx.export(
        Scores().eval(),
        tuple(inputs.values()),
        dynamo=True,
        input_names=list(inputs),
        output_names=["scores"],
        opset_version=opset,
        external_data=False,
    )
    assert program is not None, "the dynamo exporter returns its program"
    return program.model_proto


def _text_model(module: Any, opset: int, length: int) -> Any:
    """optimum's export of the transformers network, with softmax added and its output named `scores`."""
    import onnx
    from optimum.exporters.onnx import onnx_export_from_model

    with TemporaryDirectory() as folder:
        onnx_export_from_model(
            module.transformer,
            folder,
            opset=opset,
            task="text-classification",
            do_validation=False,  # check_scores does it, on real samples
            no_post_process=True,
            no_dynamic_axes=True,
            batch_size=1,
            sequence_length=length,
        )
        model = onnx.load(str(Path(folder) / "model.onnx"))
    (output,) = model.graph.output
    model.graph.node.append(onnx.helper.make_node("Softmax", [output.name], ["scores"], name="scores", axis=-1))
    output.name = "scores"
    return model


def _clean(model: Any) -> None:
    """Takes out what exporters leave for debugging: stack traces hold the paths of this machine, and the shapes of
    inner tensors are inferred anew by whoever needs them."""
    import onnx

    graph = model.graph
    del graph.value_info[:]
    for part in (model, graph, *graph.node, *graph.initializer, *graph.input, *graph.output):
        part.ClearField("doc_string")
        part.ClearField("metadata_props")
    onnx.checker.check_model(model, full_check=True)
