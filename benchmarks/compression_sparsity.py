"""What zeros among the weights bring LiteRT: a MobileNetV2 in float32 whose pointwise convolutions are mostly zeros,
stored sparse, beside the same file stored dense and the student's INT8 file; one thread, 224 px.

XNNPACK has kernels for sparse float32 weights of 1x1 convolutions (Elsen et al. 2020, Fast Sparse ConvNets). Time does
not depend on what a network has learned, so the zeros are drawn.
"""

import statistics
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from benchmarks.compression_speed import files_of
from benchmarks.judging import against, turns
from benchmarks.record import Bar, quick_asked, scratch, write_result
from pipeline.flatbuffer import read_model, write_model
from targets.runtimes.base import RuntimeOptions

FAMILY = "mobilenetv2"
SHARES = (0.7, 0.8, 0.9)  # of zeros
HELD = 0.8
ROUNDS, RUNS = 15, 30
OPTIONS = RuntimeOptions("litert", 1, "xnnpack")


def with_zeros(file: Path, share: float, out: Path, sparse: bool) -> int:
    """Writes `file` to `out` with `share` of the weights of its 1x1 convolutions set to zero; stored `sparse`, each is
    a DENSIFY of what is not zero. Returns how many convolutions were changed."""
    model = read_model(file.read_bytes())
    (graph,) = model.subgraphs
    generator = np.random.default_rng(0)
    dense_code, densify = len(model.operatorCodes), []
    for operator in graph.operators:
        if model.operatorCodes[operator.opcodeIndex].builtinCode != schema.BuiltinOperator.CONV_2D:
            continue
        number = operator.inputs[1]
        tensor = graph.tensors[number]
        if list(tensor.shape[1:3]) != [1, 1]:
            continue
        buffer = model.buffers[tensor.buffer]
        weights = np.frombuffer(bytes(buffer.data), np.float32).reshape(tensor.shape).copy()
        weights[generator.random(weights.shape) < share] = 0
        if not sparse:
            buffer.data = np.frombuffer(weights.tobytes(), np.uint8)
            continue
        graph.tensors.append(_stored_sparse(weights, len(model.buffers)))
        model.buffers.append(_buffer(weights[weights != 0]))
        tensor.buffer, buffer.data = 0, None
        found = schema.OperatorT()
        found.opcodeIndex, found.inputs, found.outputs = dense_code, [len(graph.tensors) - 1], [number]
        densify.append(found)
    if densify:
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.DENSIFY
        code.version = 1
        model.operatorCodes.append(code)
        graph.operators = densify + list(graph.operators)
    out.write_bytes(write_model(model))
    return len(densify)


def _buffer(values: np.ndarray) -> Any:
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(values.tobytes(), np.uint8)
    return buffer


def _stored_sparse(weights: np.ndarray, buffer: int) -> Any:
    """The tensor of float32 `weights` [out, 1, 1, in] with its last dimension in compressed rows."""
    rows = weights.reshape(len(weights), -1)
    dims = []
    for size in weights.shape[:3]:
        dim = schema.DimensionMetadataT()
        dim.format, dim.denseSize = schema.DimensionType.DENSE, size
        dims.append(dim)
    last = schema.DimensionMetadataT()
    last.format = schema.DimensionType.SPARSE_CSR
    last.arraySegmentsType, last.arrayIndicesType = (
        schema.SparseIndexVector.Int32Vector, schema.SparseIndexVector.Uint16Vector
    )  # fmt: skip
    last.arraySegments, last.arrayIndices = schema.Int32VectorT(), schema.Uint16VectorT()
    last.arraySegments.values = np.concatenate([[0], np.count_nonzero(rows, axis=1).cumsum()]).astype(np.int32)
    last.arrayIndices.values = np.nonzero(rows)[1].astype(np.uint16)
    tensor = schema.TensorT()
    tensor.shape, tensor.type, tensor.buffer = list(weights.shape), schema.TensorType.FLOAT32, buffer
    tensor.name = f"sparse{buffer}".encode()
    tensor.sparsity = schema.SparsityParametersT()
    tensor.sparsity.traversalOrder, tensor.sparsity.dimMetadata = [0, 1, 2, 3], [*dims, last]
    return tensor


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
        sizes = {name: file.stat().st_size for name, file in files.items()}
    beside = against(times, "int8")
    figures: dict[str, Any] = {
        name: {"bytes": sizes[name], "ms": statistics.median(times[name]), "against_int8": beside[name]}
        for name in files
    }
    for name, found in figures.items():
        print(f"{name}: {found['ms']:.2f} ms, {found['against_int8']:.2f} of INT8, {found['bytes'] / 1e6:.2f} MB")
    held = f"float32, {HELD:.0%} zeros, stored sparse"
    bars = [
        Bar(f"{FAMILY}, 224 px, LiteRT, one thread: latency of {held}, against INT8", beside[held], "<=", 1),
    ]  # fmt: skip
    write_result("compression-sparsity", {"family": FAMILY, "files": figures}, bars, quick)


if __name__ == "__main__":
    main()
