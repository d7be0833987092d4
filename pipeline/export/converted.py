"""What every conversion of a PyTorch network shares: its file is held against the network, then kept."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.context import RunContext
from pipeline.progress import Meter
from pipeline.results import ExportedFile, Format, NetworkResult, PreparedData
from pipeline.store import file_sha256
from targets.profile import RuntimeName


@dataclass(frozen=True)
class FileFormat:
    """A file format: its name as people write it, the runtime that its files are checked with, and how far softmax
    scores of that may be from PyTorch's. `stage`: what the store calls the conversion."""

    name: str
    suffix: Format
    runtime: RuntimeName
    tolerance: float
    stage: str = "export"


def static_length(data: PreparedData, sequence_length: int | None) -> int | None:
    """Tokens of a text that a file of static shapes takes: what the data has, at most `sequence_length`. None for
    images."""
    if data.task != "text-classification":
        return None
    return min(sequence_length or data.inputs.shape[1], data.inputs.shape[1])


def converted(
    form: FileFormat,
    data: PreparedData,
    network: NetworkResult,
    length: int | None,
    convert: Callable[[Any, Path], bytes],
    context: RunContext,
    **depends: str | int,
) -> ExportedFile:
    """The float32 file that `convert` makes of `network`'s PyTorch module; the folder is its own to work in.
    `depends`: what the file depends on besides data, network and `length`.

    Raises InputError if the network can't be converted, or the file disagrees with PyTorch.
    """

    def make(folder: Path, key: str, meter: Meter) -> ExportedFile:
        from pipeline.export.check import check_scores, conversion
        from pipeline.networks import load_network

        module = load_network(network)
        file = folder / f"model.{form.suffix}"
        with conversion(network, form.name):
            file.write_bytes(convert(module, folder))
        meter.advance()
        check_scores(file, form.runtime, module, network, data, form.tolerance)
        meter.advance()
        size, digest = file.stat().st_size, file_sha256(file)
        return ExportedFile(key, file, form.suffix, "float32", "float32", size, digest, sequence_length=length)

    inputs = {
        "format": form.suffix,
        "data": data.fingerprint,
        "network": network.fingerprint,
        "sequence_length": length,
        **depends,
    }
    title = f"export {network.role} to {form.name}"
    return context.stage(form.stage, inputs, ExportedFile, make, total=2, title=title)
