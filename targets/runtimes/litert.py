"""TFLite files in LiteRT's interpreter, with its default CPU delegate, XNNPACK."""

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from targets.errors import TargetError
from targets.runtimes.base import RuntimeOptions, TensorSpec, operator_name

DELEGATE_NAME = "XNNPACK"  # on this host, whatever the profile's delegate
DELEGATE = "DELEGATE"  # the interpreter's name for a node that stands for a piece of the graph
_IDENTIFIER = b"TFL3"  # bytes 4 to 7 of every TFLite file: the flatbuffer's file identifier


def _interpreter_class() -> Any:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise TargetError(f"LiteRT can't be used here: {error}; pip install ai-edge-litert") from None
    return Interpreter


def version() -> str:
    """LiteRT's version. Raises TargetError if it is not installed."""
    from importlib.metadata import version as installed

    _interpreter_class()
    return installed("ai-edge-litert")


def settings(options: RuntimeOptions) -> str:
    """The interpreter's options that ship, in words."""
    return f"XNNPACK delegate (LiteRT's default), num_threads {options.threads}"


class LiteRtModel:
    """A TFLite file opened for single inferences. Tensors are named as in the file's signature (image,
    input_ids ...), in the order of the graph; in a file without a signature, by their own names.

    Raises TargetError if `file` is no TFLite model, or an input is not of static shape.
    """

    def __init__(self, file: Path, options: RuntimeOptions) -> None:
        _check_identifier(file)
        self._interpreter = _open(file, num_threads=options.threads)
        inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        input_names, output_names = _signature_names(self._interpreter)
        self.inputs = tuple(_spec(detail, input_names) for detail in inputs)
        self.outputs = tuple(_spec(detail, output_names) for detail in outputs)
        for spec in self.inputs:
            if min(spec.shape, default=1) < 1:
                raise TargetError(
                    f"{file}: input '{spec.name}' has shape {list(spec.shape)}, expected a static one; "
                    "export the model with fixed dimensions"
                )
        names = [spec.name for spec in self.inputs]
        self._input_indexes = [(name, detail["index"]) for name, detail in zip(names, inputs, strict=True)]
        self._output_indexes = [detail["index"] for detail in outputs]

    def run(self, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """One inference: see `targets.runtimes.base.Model`."""
        for name, index in self._input_indexes:
            self._interpreter.set_tensor(index, feeds[name])
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index) for index in self._output_indexes]

    def prepare(self, feeds: Mapping[str, np.ndarray]) -> Callable[[], object]:
        """Inferences of the same inputs: see `targets.runtimes.base.Model`."""
        for name, index in self._input_indexes:
            self._interpreter.set_tensor(index, feeds[name])
        invoke: Callable[[], object] = self._interpreter.invoke
        return invoke


def _check_identifier(file: Path) -> None:
    try:
        with file.open("rb") as stream:
            head = stream.read(8)
    except OSError as error:
        raise TargetError(f"{file}: can't be read: {error.strerror}; expected a TFLite model") from None
    if head[4:8] != _IDENTIFIER:
        raise TargetError(f"{file}: not a TFLite model: bytes 4 to 7 are {head[4:8]!r}, expected {_IDENTIFIER!r}")


def _open(file: Path, **arguments: Any) -> Any:
    interpreter_class = _interpreter_class()
    try:
        with quiet_stderr():
            interpreter = interpreter_class(model_path=str(file), **arguments)
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise TargetError(f"{file}: LiteRT can't open it as a TFLite model: {reason}") from None
    return interpreter


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Keeps what C++ writes to stderr off the screen ("Created TensorFlow Lite XNNPACK delegate for CPU."):
    the interpreter has no setting for it. What goes wrong comes as an exception."""
    sys.stderr.flush()
    try:
        kept = os.dup(2)
    except OSError:  # no stderr at all
        yield
        return
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(sink)


def _signature_names(interpreter: Any) -> tuple[dict[int, str], dict[int, str]]:
    """Tensor index -> name in the first signature, for inputs and for outputs."""
    keys = list(interpreter.get_signature_list())
    if not keys:
        return {}, {}
    runner = interpreter.get_signature_runner(keys[0])
    inputs, outputs = runner.get_input_details(), runner.get_output_details()
    return (
        {detail["index"]: name for name, detail in inputs.items()},
        {detail["index"]: name for name, detail in outputs.items()},
    )


def _spec(detail: Mapping[str, Any], names: Mapping[int, str]) -> TensorSpec:
    scale, zero_point = detail["quantization"]  # (0.0, 0) where the tensor is not quantized
    shape = detail["shape_signature"] if len(detail["shape_signature"]) else detail["shape"]
    return TensorSpec(
        name=names.get(detail["index"], detail["name"]),
        shape=tuple(int(size) for size in shape),
        dtype=np.dtype(detail["dtype"]).name,
        scale=float(scale) if scale else None,
        zero_point=int(zero_point),
    )


@dataclass(frozen=True)
class DelegatePlan:
    """Who runs the `operators` operators of a TFLite file's main graph. `pieces`: those that the delegate runs, by
    their place in the graph, one set for each part that it takes whole. What is in none runs in LiteRT's own kernels,
    between the pieces."""

    operators: int
    pieces: tuple[frozenset[int], ...]


def delegate_plan(file: Path, options: RuntimeOptions) -> DelegatePlan:
    """Which operators XNNPACK takes, as the interpreter tells when it has opened the file. Raises TargetError if `file`
    is no TFLite model."""
    _check_identifier(file)
    nodes = _open(file, num_threads=options.threads)._get_ops_details()
    own = [node for node in nodes if node["op_name"] != DELEGATE]  # the delegate's nodes stand behind them
    makers = {int(tensor): place for place, node in enumerate(own) for tensor in node["outputs"]}
    pieces = []
    for node in nodes[len(own) :]:
        # A piece is all that lies between the tensors that it is given and those that it gives.
        given, wanted, members = set(map(int, node["inputs"])), list(map(int, node["outputs"])), set[int]()
        while wanted:
            tensor = wanted.pop()
            place = makers.get(tensor)
            if tensor not in given and place is not None and place not in members:
                members.add(place)
                wanted += map(int, own[place]["inputs"])
        pieces.append(frozenset(members))
    return DelegatePlan(len(own), tuple(pieces))


def tflite_operators(file: Path) -> Counter[str]:
    """Operators of a TFLite file, in all of its subgraphs."""
    from ai_edge_litert import schema_py_generated as schema

    _check_identifier(file)
    _open(file)  # verifies the flatbuffer, which the Python reader does not
    names = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
    model = schema.Model.GetRootAs(file.read_bytes(), 0)
    counted: Counter[str] = Counter()
    for subgraph in map(model.Subgraphs, range(model.SubgraphsLength())):
        for index in range(subgraph.OperatorsLength()):
            operator = model.OperatorCodes(subgraph.Operators(index).OpcodeIndex())
            code = max(operator.BuiltinCode(), operator.DeprecatedBuiltinCode())  # old files fill only the latter
            custom = operator.CustomCode()
            counted[operator_name(custom.decode() if custom else names[code])] += 1
    return counted
