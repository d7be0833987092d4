"""ExecuTorch programs with XNNPACK's kernels, for apps that run PyTorch's own runtime."""

from pathlib import Path
from typing import Any

from pipeline.context import RunContext
from pipeline.progress import Meter
from pipeline.results import ExportedFile, NetworkResult, PreparedData
from pipeline.store import file_sha256

TOLERANCE = 1e-3  # softmax scores, XNNPACK against PyTorch: as LiteRT's, which computes by the same kernels


def export_executorch(
    data: PreparedData, network: NetworkResult, sequence_length: int | None, context: RunContext
) -> ExportedFile:
    """The float32 .pte file of `network`, its graph given to XNNPACK as far as that takes it.

    Images: input float32 [1, 3, S, S], pixels 0..255. Texts: ids, mask and token types int64 [1, L], L at most
    `sequence_length`. Output softmax scores float32 [1, classes]. Raises InputError if the network can't be converted,
    or the file disagrees with PyTorch.
    """
    length = None
    if data.task == "text-classification":
        length = min(sequence_length or data.inputs.shape[1], data.inputs.shape[1])

    def make(folder: Path, key: str, meter: Meter) -> ExportedFile:
        from pipeline.export.check import check_scores, conversion
        from pipeline.networks import load_network

        module = load_network(network)
        file = folder / "model.pte"
        with conversion(network, "ExecuTorch"):
            file.write_bytes(_convert(module, data, length))
        meter.advance()
        check_scores(file, "executorch", module, network, data, TOLERANCE)
        meter.advance()
        return ExportedFile(
            key, file, "pte", "float32", "float32", file.stat().st_size, file_sha256(file), sequence_length=length
        )

    from importlib.metadata import version

    inputs = {
        "format": "pte",
        "data": data.fingerprint,
        "network": network.fingerprint,
        "sequence_length": length,
        "executorch": version("executorch"),
    }
    title = f"export {network.role} to ExecuTorch"
    return context.stage("executorch", inputs, ExportedFile, make, total=2, title=title)


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
