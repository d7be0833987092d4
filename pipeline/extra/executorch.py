"""ExecuTorch programs with XNNPACK's kernels, for apps that run PyTorch's own runtime."""

from typing import Any

from pipeline.context import RunContext
from pipeline.export.converted import FileFormat, converted, static_length
from pipeline.results import ExportedFile, NetworkResult, PreparedData

# The tolerance is LiteRT's, which computes by the same kernels.
FORMAT = FileFormat("ExecuTorch", "pte", "executorch", tolerance=1e-3, stage="executorch")


def export_executorch(
    data: PreparedData, network: NetworkResult, sequence_length: int | None, context: RunContext
) -> ExportedFile:
    """The float32 .pte file of `network`, its graph given to XNNPACK as far as that takes it.

    Images: input float32 [1, 3, S, S], pixels 0..255. Texts: ids, mask and token types int64 [1, L], L at most
    `sequence_length`. Output softmax scores float32 [1, classes]. Raises InputError if the network can't be converted,
    or the file disagrees with PyTorch.
    """
    from importlib.metadata import version

    length = static_length(data, sequence_length)
    return converted(
        FORMAT,
        data,
        network,
        length,
        lambda module, _: _convert(module, data, length),
        context,
        executorch=version("executorch"),
    )


def _convert(module: Any, data: PreparedData, length: int | None) -> bytes:
    import torch
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    from pipeline.export.pixels import taking_pixels
    from pipeline.networks import example_inputs

    class Scores(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = module if length else taking_pixels(module)

        def forward(self, *given: torch.Tensor) -> torch.Tensor:
            return self.network(*given).softmax(-1)

    module.to(memory_format=torch.contiguous_format)  # XNNPACK's passes refuse weights that lie channels last
    examples = tuple(tensor.contiguous() for tensor in example_inputs(data, length))
    program = torch.export.export(Scores().eval(), examples)
    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
    return bytes(lowered.to_executorch().buffer)
