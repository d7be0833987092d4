"""A model file's operators, tensors and constants, read the same way from ONNX and TFLite."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.results import Format
from targets.runtimes.base import operator_name

FOUR_BITS = ("int4", "uint4")
# TFLite's dtypes that numpy has too; others (int4, string ...) are counted in bytes alone.
NUMBERS = frozenset({"float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32"})


@dataclass(frozen=True)
class Constant:
    """A tensor stored in the file. `dtype` is numpy's name, or int4 or uint4, two of which share a byte; `least` the
    least number in it, 0 if it is empty or of 4 bits."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    bytes: int
    least: float


@dataclass(frozen=True)
class Operator:
    """`kind` in lower case with dashes (`targets.runtimes.base.operator_name`); tensors by name, absent ones left
    out."""

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Graph:
    """`dtypes` has every tensor whose dtype is known, constants too; `shapes` those whose shape is."""

    operators: tuple[Operator, ...]
    constants: dict[str, Constant]
    dtypes: dict[str, str]
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)

    @cached_property
    def makers(self) -> dict[str, Operator]:
        """The operator that makes each tensor."""
        return {name: operator for operator in self.operators for name in operator.outputs}

    @cached_property
    def takers(self) -> dict[str, list[Operator]]:
        """The operators that take each tensor."""
        taken: dict[str, list[Operator]] = {}
        for operator in self.operators:
            for name in operator.inputs:
                taken.setdefault(name, []).append(operator)
        return taken

    @cached_property
    def fixed(self) -> frozenset[str]:
        """Tensors that are the same for every input: constants, and what is made of constants alone (a weight
        stored in 16 bits and cast, for example). The operators stand in the order in which they run."""
        known = set(self.constants)
        for operator in self.operators:
            if operator.inputs and known.issuperset(operator.inputs):
                known.update(operator.outputs)
        return frozenset(known)


def read_graph(file: Path, format_name: Format) -> Graph:
    """The graph of a file that a runtime has opened before: a file that is no model raises the library's error."""
    return _read_onnx(file) if format_name == "onnx" else _read_tflite(file)


def _read_onnx(file: Path) -> Graph:
    import onnx

    # In the two formats of quantized graphs that are read here no operator holds a graph of its own.
    model = onnx.shape_inference.infer_shapes(onnx.load(str(file)))
    constants = {tensor.name: _onnx_constant(tensor, tensor.name) for tensor in model.graph.initializer}
    for node in model.graph.node:
        value = next((attribute.t for attribute in node.attribute if attribute.name == "value"), None)
        if node.op_type == "Constant" and value is not None:
            constants[node.output[0]] = _onnx_constant(value, node.output[0])
        if node.op_type == "MatMulNBits" and _bits(node) == 4:  # takes its weights as bytes
            constants[node.input[1]] = replace(constants[node.input[1]], dtype="uint4")
    dtypes = {constant.name: constant.dtype for constant in constants.values()}
    shapes = {constant.name: constant.shape for constant in constants.values()}
    for info in (*model.graph.input, *model.graph.value_info, *model.graph.output):
        if info.type.tensor_type.HasField("shape"):
            shapes[info.name] = tuple(size.dim_value for size in info.type.tensor_type.shape.dim)  # 0: not known
        if info.type.tensor_type.elem_type:
            dtypes[info.name] = _onnx_dtype(info.type.tensor_type.elem_type)
    operators = tuple(
        Operator(operator_name(node.op_type), tuple(filter(None, node.input)), tuple(filter(None, node.output)))
        for node in model.graph.node
        if node.op_type != "Constant"
    )
    return Graph(operators, constants, dtypes, shapes)


def _onnx_constant(tensor: Any, name: str) -> Constant:
    from onnx import numpy_helper

    dtype, shape = _onnx_dtype(tensor.data_type), tuple(tensor.dims)
    values = numpy_helper.to_array(tensor)
    if dtype in FOUR_BITS:
        return Constant(name, dtype, shape, (values.size + 1) // 2, 0.0)
    return Constant(name, dtype, shape, values.nbytes, _least(values))


def _bits(node: Any) -> int:
    """Of the weights of a MatMulNBits, whose default is 4."""
    return next((attribute.i for attribute in node.attribute if attribute.name == "bits"), 4)


def _least(values: np.ndarray) -> float:
    return float(values.min()) if values.size else 0.0


def _onnx_dtype(number: int) -> str:
    import onnx

    return str(onnx.helper.tensor_dtype_to_np_dtype(number))


def _read_tflite(file: Path) -> Graph:
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model(str(file))
    types = {number: name.lower() for name, number in vars(schema.TensorType).items() if isinstance(number, int)}
    kinds = {number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)}
    operators: list[Operator] = []
    constants: dict[str, Constant] = {}
    dtypes: dict[str, str] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for number, subgraph in enumerate(model.subgraphs):
        names = [tensor.name.decode() for tensor in subgraph.tensors]
        for place, name in enumerate(names):
            if name in dtypes or name in names[:place]:  # not a name of its own: the place makes it one
                names[place] = f"{name}#{number}.{place}"
        for name, tensor in zip(names, subgraph.tensors, strict=True):
            dtypes[name] = types[tensor.type]
            shapes[name] = shape = tuple(int(size) for size in tensor.shape) if tensor.shape is not None else ()
            data = model.buffers[tensor.buffer].data
            if data is not None and len(data):
                numbers = np.frombuffer(data, dtypes[name]) if dtypes[name] in NUMBERS else np.zeros(0)
                constants[name] = Constant(name, dtypes[name], shape, len(data), _least(numbers))
        for operator in subgraph.operators:
            code = model.operatorCodes[operator.opcodeIndex]
            kind = (
                code.customCode.decode()
                if code.customCode
                else kinds[max(code.builtinCode, code.deprecatedBuiltinCode)]
            )
            operators.append(
                Operator(
                    operator_name(kind),
                    tuple(names[index] for index in operator.inputs if index >= 0),
                    tuple(names[index] for index in operator.outputs if index >= 0),
                )
            )
    return Graph(tuple(operators), constants, dtypes, shapes)
