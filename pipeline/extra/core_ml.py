"""Core ML packages, for Apple's own runtime: converted here, where nothing can run them, and marked so."""

import hashlib
import json
import uuid
from pathlib import Path
from typing import Any

from pipeline.context import RunContext
from pipeline.export.converted import static_length
from pipeline.progress import Meter
from pipeline.results import ExportedFile, NetworkResult, PreparedData
from pipeline.store import file_sha256
from targets.schemes import Scheme

NOT_VALIDATED = "not validated: Core ML runs on Apple's systems alone, so nobody has seen what this file answers"


def convert_to_core_ml(
    data: PreparedData, network: NetworkResult, scheme: Scheme, sequence_length: int | None, context: RunContext
) -> ExportedFile:
    """The .mlpackage (a folder) of `network`, an ML program in float32 or float16 for iOS 16 and later.

    Images: input `image` float32 [1, 3, S, S], pixels 0..255. Texts: `input_ids`, `attention_mask`, `token_type_ids`
    int32 [1, L], L at most `sequence_length`. Output `scores` [1, classes], softmax probabilities. The result's
    `sha256` is that of a list of the package's files with theirs. Raises InputError if it can't be converted.
    """
    length = static_length(data, sequence_length)

    def make(folder: Path, key: str, meter: Meter) -> ExportedFile:
        from pipeline.export.check import conversion
        from pipeline.networks import load_network

        package = folder / "model.mlpackage"
        with conversion(network, "Core ML"):
            _convert(load_network(network), data, length, scheme).save(str(package))
        _name_items(package / "Manifest.json")
        meter.advance()
        files = sorted(path for path in package.rglob("*") if path.is_file())
        listed = "".join(f"{file_sha256(file)}  {file.relative_to(package).as_posix()}\n" for file in files)
        size = sum(file.stat().st_size for file in files)
        digest = hashlib.sha256(listed.encode()).hexdigest()
        return ExportedFile(
            key, package, "mlpackage", scheme, "float32", size, digest, sequence_length=length, notes=(NOT_VALIDATED,)
        )

    from importlib.metadata import version

    inputs = {
        "format": "mlpackage",
        "data": data.fingerprint,
        "network": network.fingerprint,
        "scheme": scheme,
        "sequence_length": length,
        "coremltools": version("coremltools"),
    }
    return context.stage("core-ml", inputs, ExportedFile, make, title=f"export {network.role} to Core ML")


def _convert(module: Any, data: PreparedData, length: int | None, scheme: Scheme) -> Any:
    import coremltools as ct
    import numpy as np
    import torch

    from pipeline.export.check import TEXT_INPUTS
    from pipeline.export.pixels import taking_pixels
    from pipeline.networks import example_inputs

    class Scores(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = module if length else taking_pixels(module)

        def forward(self, *given: torch.Tensor) -> torch.Tensor:
            return self.network(*given).softmax(-1)

    # Of weights that lie channels last converters made another network.
    module.to(memory_format=torch.contiguous_format)
    examples = tuple(tensor.contiguous() if length is None else tensor.int() for tensor in example_inputs(data, length))
    names = ("image",) if length is None else TEXT_INPUTS
    dtype = np.float32 if length is None else np.int32
    with torch.no_grad():
        traced = torch.jit.trace(Scores().eval(), examples)
    half = scheme == "float16"
    return ct.convert(
        traced,
        convert_to="mlprogram",
        inputs=[
            ct.TensorType(name=name, shape=tuple(one.shape), dtype=dtype)
            for name, one in zip(names, examples, strict=True)
        ],
        outputs=[ct.TensorType(name="scores", dtype=np.float32)],
        compute_precision=ct.precision.FLOAT16 if half else ct.precision.FLOAT32,
        minimum_deployment_target=ct.target.iOS16,
        skip_model_load=True,
    )


def _name_items(manifest: Path) -> None:
    """A package's manifest names its items by chance: here by their paths, so the same model has the same bytes."""
    content = json.loads(manifest.read_text(encoding="utf-8"))
    items, root = {}, content["rootModelIdentifier"]
    for name, item in content["itemInfoEntries"].items():
        given = str(uuid.uuid5(uuid.NAMESPACE_URL, item["path"])).upper()
        items[given] = item
        if name == root:
            content["rootModelIdentifier"] = given
    content["itemInfoEntries"] = items
    manifest.write_text(json.dumps(content, indent=4, sort_keys=True) + "\n", encoding="utf-8", newline="\n")
