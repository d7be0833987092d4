"""A PyTorch network as a TFLite file with static shapes, softmax inside, checked against PyTorch."""

from pathlib import Path
from typing import Any

from pipeline.context import RunContext
from pipeline.export.converted import FileFormat, converted, static_length
from pipeline.results import ExportedFile, NetworkResult, PreparedData

# Softmax scores, LiteRT with XNNPACK against PyTorch. Both compute in float32; XNNPACK approximates exponentials and
# sums in another order. Logits were seen to differ by up to 2e-4. A wrong operator is off by 1e-2 and more.
FORMAT = FileFormat("TFLite", "tflite", "litert", tolerance=1e-3)


def export_tflite(
    data: PreparedData, network: NetworkResult, sequence_length: int | None, context: RunContext
) -> ExportedFile:
    """The float32 TFLite file of `network`.

    Images: input `image` float32 [1, S, S, 3], pixels 0..255. Texts: `input_ids`, `attention_mask`,
    `token_type_ids` int32 [1, L], L at most `sequence_length`. Output `scores` float32 [1, classes], softmax
    probabilities. The names are those of the tensors and of the one signature, `serving_default`.

    Raises InputError if the network can't be converted, or the file disagrees with PyTorch.
    """
    length = static_length(data, sequence_length)
    return converted(FORMAT, data, network, length, lambda module, own: _convert(module, data, length, own), context)


def _convert(module: Any, data: PreparedData, length: int | None, folder: Path) -> bytes:
    import litert_torch
    import torch

    from pipeline.export.check import TEXT_INPUTS
    from pipeline.export.pixels import taking_pixels
    from pipeline.flatbuffer import read_model, write_model
    from pipeline.networks import example_inputs

    class ImageScores(torch.nn.Module):
        """Pixels as a camera gives them, channels last; the converter moves the transposition into the weights."""

        def __init__(self) -> None:
            super().__init__()
            self.network = taking_pixels(module)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return self.network(image.permute(0, 3, 1, 2)).softmax(-1)

    class TextScores(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = module

        def forward(
            self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor
        ) -> torch.Tensor:
            return self.network(input_ids, attention_mask, token_type_ids).softmax(-1)

    examples = example_inputs(data, length)
    # Of weights that lie channels last the converter made another network (seen with a SqueezeNet).
    module.to(memory_format=torch.contiguous_format)
    if length is None:
        samples = {"image": examples[0].permute(0, 2, 3, 1).contiguous()}
        converted = litert_torch.convert(ImageScores().eval(), sample_kwargs=samples)
    else:
        samples = dict(zip(TEXT_INPUTS, (tensor.int() for tensor in examples), strict=True))
        converted = litert_torch.convert(TextScores().eval(), sample_kwargs=samples)
    unnamed = folder / "converted.tflite"
    converted.export(str(unnamed))
    model = read_model(unnamed.read_bytes())
    _name_tensors(model)
    content = write_model(model)
    unnamed.unlink()
    return content


def _name_tensors(model: Any) -> None:
    """Names the tensors that an app sees as their signature does, and the only output `scores`."""
    (signature,) = model.signatureDefs
    (output,) = signature.outputs
    output.name = b"scores"
    tensors = model.subgraphs[signature.subgraphIndex].tensors
    for entry in (*signature.inputs, output):
        tensors[entry.tensorIndex].name = entry.name
