"""A file's latency on a device that is not at hand, predicted from what it has to do on the device's emulated core."""

import math
from pathlib import Path

import numpy as np

from pipeline.quantize.graph import NUMBERS, Graph, read_graph
from targets.prediction.measurements import Work
from targets.runners.emulated import InstructionCounts


def work_of(file: Path, counts: InstructionCounts, dtype: str) -> Work:
    """What one inference of a model file does on the core on which `counts` were taken."""
    graph = read_graph(file, "tflite" if file.suffix == ".tflite" else "onnx")
    operators = [op for op in graph.operators if not graph.fixed.issuperset(op.outputs)]
    return Work(
        core=counts.core,
        runtime=counts.runtime,
        dtype=dtype,
        **counts.by_class(),
        weight_bytes=sum(constant.bytes for constant in graph.constants.values()),
        activation_bytes=sum(_bytes(graph, name) for operator in operators for name in operator.outputs),
        operators=len(operators),
    )


def _bytes(graph: Graph, name: str) -> int:
    """Of a tensor; 0 if its shape or dtype isn't known."""
    shape, dtype = graph.shapes.get(name), graph.dtypes.get(name, "")
    size = 0.5 if dtype in ("int4", "uint4") else np.dtype(dtype).itemsize if dtype in NUMBERS or dtype == "bool" else 0
    return math.ceil(math.prod(shape) * size) if shape else 0
