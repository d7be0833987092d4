"""TFLite files whose 1x1 convolutions are mostly zeros, stored without them: XNNPACK multiplies what is left."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.context import RunContext
from pipeline.progress import Meter
from pipeline.results import ExportedFile
from pipeline.store import file_sha256

LEAST = 2 / 3  # of zeros in a layer: with fewer XNNPACK takes its dense kernels
LARGEST = 2**16  # channels in, whose numbers are stored in 16 bits


def store_sparse(export: ExportedFile, context: RunContext) -> ExportedFile:
    """The float32 TFLite file `export` with those of its 1x1 convolutions stored sparse that are two thirds zeros or
    more, in compressed rows (TFLite schema, SparsityParameters). Any other file comes back."""
    if export.format != "tflite" or export.scheme != "float32":
        return export

    def make(folder: Path, key: str, meter: Meter) -> ExportedFile:
        from pipeline.flatbuffer import read_model, write_model

        model = read_model(export.file.read_bytes())
        layers, notes, file = sparse_weights(model), export.notes, folder / "model.tflite"
        file.write_bytes(write_model(model) if layers else export.file.read_bytes())
        if layers:
            notes += (f"{layers} 1x1 convolutions are stored sparse: XNNPACK skips their zeros on ARM",)
        meter.advance()
        return replace(
            export, fingerprint=key, file=file, bytes=file.stat().st_size, sha256=file_sha256(file), notes=notes
        )

    return context.stage(
        "sparse", {"export": export.fingerprint}, ExportedFile, make, total=1, unit="files", title="store zeros sparse"
    )


def sparse_weights(model: Any) -> int:
    """Stores the weights of 1x1 convolutions in a ModelT that are mostly zeros sparse, each behind a DENSIFY, which
    XNNPACK looks through; in place. Returns how many there are."""
    from ai_edge_litert import schema_py_generated as schema

    (graph,) = model.subgraphs
    densify: list[Any] = []
    code, held = len(model.operatorCodes), Counter(tensor.buffer for tensor in graph.tensors)
    for operator in graph.operators:
        if model.operatorCodes[operator.opcodeIndex].builtinCode != schema.BuiltinOperator.CONV_2D:
            continue
        number = operator.inputs[1]
        tensor = graph.tensors[number]
        shape = list(tensor.shape)
        if tensor.type != schema.TensorType.FLOAT32 or shape[1:3] != [1, 1] or shape[3] > LARGEST:
            continue
        if held[tensor.buffer] > 1 or tensor.buffer == 0:  # what others hold too, or what is sparse already
            continue
        weights = np.frombuffer(bytes(model.buffers[tensor.buffer].data), np.float32).reshape(shape)
        if np.count_nonzero(weights) > (1 - LEAST) * weights.size:
            continue
        graph.tensors.append(_sparse_tensor(weights, len(model.buffers), tensor.name + b".sparse"))
        model.buffers[tensor.buffer].data = None
        tensor.buffer = 0
        kept = schema.BufferT()
        kept.data = np.frombuffer(weights[weights != 0].tobytes(), np.uint8)
        model.buffers.append(kept)
        found = schema.OperatorT()
        found.opcodeIndex, found.inputs, found.outputs = code, [len(graph.tensors) - 1], [number]
        densify.append(found)
    if densify:
        needed = schema.OperatorCodeT()
        needed.builtinCode = needed.deprecatedBuiltinCode = schema.BuiltinOperator.DENSIFY
        needed.version = 1
        model.operatorCodes.append(needed)
        graph.operators = [*densify, *graph.operators]
    return len(densify)


def _sparse_tensor(weights: np.ndarray, buffer: int, name: bytes) -> Any:
    """The tensor of float32 `weights` [out, 1, 1, in] whose values stand in `buffer`: its last dimension in compressed
    rows, the others dense."""
    from ai_edge_litert import schema_py_generated as schema

    rows = weights.reshape(len(weights), -1)
    dims = []
    for size in weights.shape[:3]:
        dim = schema.DimensionMetadataT()
        dim.format, dim.denseSize = schema.DimensionType.DENSE, size
        dims.append(dim)
    last = schema.DimensionMetadataT()
    last.format = schema.DimensionType.SPARSE_CSR
    last.arraySegmentsType = schema.SparseIndexVector.Int32Vector
    last.arrayIndicesType = schema.SparseIndexVector.Uint16Vector
    last.arraySegments, last.arrayIndices = schema.Int32VectorT(), schema.Uint16VectorT()
    last.arraySegments.values = np.concatenate([[0], np.count_nonzero(rows, axis=1).cumsum()]).astype(np.int32)
    last.arrayIndices.values = np.nonzero(rows)[1].astype(np.uint16)
    tensor = schema.TensorT()
    tensor.shape, tensor.type, tensor.buffer, tensor.name = (
        list(weights.shape), schema.TensorType.FLOAT32, buffer, name
    )  # fmt: skip
    tensor.sparsity = schema.SparsityParametersT()
    tensor.sparsity.traversalOrder, tensor.sparsity.dimMetadata = [0, 1, 2, 3], [*dims, last]
    return tensor
