"""What zeros among the weights bring LiteRT: a MobileNetV2 in float32 whose pointwise convolutions are mostly zeros,
stored sparse, beside the same file stored dense and the student's INT8 file; 224 px. On this host by the clock, one
thread; on ARM cores, emulated, by the instructions of one inference (needs what `edgepress targets install-emulator`
gets).

XNNPACK has kernels for sparse float32 weights of 1x1 convolutions (Elsen et al. 2020, Fast Sparse ConvNets). Time does
not depend on what a network has learned, so the zeros are drawn.
"""

import statistics
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from benchmarks.compression_speed import files_of
from benchmarks.judging import CORES, against, instructions, turns
from benchmarks.record import Bar, quick_asked, scratch, write_result
from pipeline.export.sparse import sparse_weights
from pipeline.flatbuffer import read_model, write_model
from targets.runtimes.base import RuntimeOptions

FAMILY = "mobilenetv2"
SHARES = (0.7, 0.8, 0.9)  # of zeros
HELD = 0.8
ROUNDS, RUNS = 15, 30
OPTIONS = RuntimeOptions("litert", 1, "xnnpack")


def with_zeros(file: Path, share: float, out: Path, sparse: bool) -> None:
    """Writes `file` to `out` with `share` of the weights of its 1x1 convolutions set to zero, stored as they are or
    `sparse`."""
    model = read_model(file.read_bytes())
    (graph,) = model.subgraphs
    generator = np.random.default_rng(0)
    for operator in graph.operators:
        if model.operatorCodes[operator.opcodeIndex].builtinCode == schema.BuiltinOperator.CONV_2D:
            tensor = graph.tensors[operator.inputs[1]]
            if list(tensor.shape[1:3]) == [1, 1]:
                buffer = model.buffers[tensor.buffer]
                weights = np.frombuffer(bytes(buffer.data), np.float32).copy()
                weights[generator.random(weights.shape) < share] = 0
                buffer.data = np.frombuffer(weights.tobytes(), np.uint8)
    if sparse:
        sparse_weights(model)
    out.write_bytes(write_model(model))


def main() -> None:
    quick = quick_asked()
    with scratch() as folder:
        data, made = files_of(FAMILY, folder)
        float32, int8 = (export.file for export in made["litert"])
        files = {"float32": float32, "int8": int8}
        for share in SHARES:
            for form in ("dense", "sparse"):
                name = f"float32, {share:.0%} zeros, stored {form}"
                files[name] = folder / f"{share}-{form}.tflite"
                with_zeros(float32, share, files[name], form == "sparse")
        times = turns(files, OPTIONS, data, *((1, 5) if quick else (ROUNDS, RUNS)))
        counts = {core: instructions(core, files) for core in CORES[: 1 if quick else None]}
        sizes = {name: file.stat().st_size for name, file in files.items()}
    beside = against(times, "int8")
    figures: dict[str, Any] = {
        name: {
            "bytes": sizes[name], "ms": statistics.median(times[name]), "against_int8": beside[name],
            "instructions_m": {core: counted[name] / 1e6 for core, counted in counts.items()},
        }
        for name in files
    }  # fmt: skip
    for name, found in figures.items():
        print(name, found)
    dense, sparse = (f"float32, {HELD:.0%} zeros, stored {form}" for form in ("dense", "sparse"))
    bars = [
        Bar(f"{FAMILY}, {core}: instructions with {HELD:.0%} zeros against none", counted[sparse] / counted[dense],
            "<=", 0.67)
        for core, counted in counts.items()
    ]  # fmt: skip
    write_result("compression-sparsity", {"family": FAMILY, "files": figures}, bars, quick)


if __name__ == "__main__":
    main()
