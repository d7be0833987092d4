"""ONNX files in onnxruntime, on the CPU, with the session options that ship."""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from targets.errors import TargetError
from targets.runtimes.base import RuntimeOptions, TensorSpec, operator_name

# onnxruntime's own default, set here so that it is recorded: idle threads spin for a while before they sleep,
# which costs power and buys latency (it matters with more than one thread).
ALLOW_SPINNING = "1"

PROVIDER = "CPUExecutionProvider"
WARMUP = 5  # profiled inferences that do not count

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(int8)": "int8",
    "tensor(uint8)": "uint8",
    "tensor(int16)": "int16",
    "tensor(uint16)": "uint16",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(bool)": "bool",
}


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise TargetError(f"onnxruntime can't be used here: {error}; pip install onnxruntime") from None
    return onnxruntime


def version() -> str:
    """onnxruntime's version. Raises TargetError if it is not installed."""
    return str(_onnxruntime().__version__)


def settings(options: RuntimeOptions) -> str:
    """The session options that ship, in words."""
    return (
        f"{PROVIDER}, intra_op_num_threads {options.threads}, inter_op_num_threads 1, "
        f"graph_optimization_level all, session.intra_op.allow_spinning {ALLOW_SPINNING}"
    )


class OnnxModel:
    """An ONNX file opened for single inferences. 8-bit inputs and outputs take their scale and zero point from
    the file's metadata, `edgepress.scale.<tensor>` and `edgepress.zero_point.<tensor>`.

    Raises TargetError if `file` is no ONNX model, or an input is not of static shape.
    """

    def __init__(self, file: Path, options: RuntimeOptions) -> None:
        self._session = _session(file, options)
        metadata = self._session.get_modelmeta().custom_metadata_map
        self.inputs = tuple(_spec(file, tensor, metadata) for tensor in self._session.get_inputs())
        self.outputs = tuple(_spec(file, tensor, metadata) for tensor in self._session.get_outputs())
        for spec, tensor in zip(self.inputs, self._session.get_inputs(), strict=True):
            if min(spec.shape, default=1) < 1:
                raise TargetError(
                    f"{file}: input '{spec.name}' has shape {list(tensor.shape)}, expected a static one; "
                    "export the model with fixed dimensions"
                )
        self._names = [spec.name for spec in self.outputs]

    def run(self, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """One inference: see `targets.runtimes.base.Model`."""
        return self._session.run(self._names, feeds)

    def prepare(self, feeds: Mapping[str, np.ndarray]) -> Callable[[], object]:
        """Inferences of the same inputs: see `targets.runtimes.base.Model`."""
        binding = self._session.io_binding()
        for spec in self.inputs:
            binding.bind_cpu_input(spec.name, np.ascontiguousarray(feeds[spec.name]))
        for name in self._names:
            binding.bind_output(name)
        return partial(self._session.run_with_iobinding, binding)


def _session(file: Path, options: RuntimeOptions, **settings: Any) -> Any:
    """An InferenceSession with the options that ship, and `settings` of its SessionOptions more."""
    if not file.is_file():
        raise TargetError(f"{file}: no such file; expected an ONNX model")
    runtime = _onnxruntime()
    session_options = runtime.SessionOptions()
    session_options.intra_op_num_threads = options.threads
    session_options.inter_op_num_threads = 1
    session_options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_ALL
    session_options.add_session_config_entry("session.intra_op.allow_spinning", ALLOW_SPINNING)
    session_options.log_severity_level = 3  # errors only
    for name, value in settings.items():
        setattr(session_options, name, value)
    try:
        return runtime.InferenceSession(str(file), sess_options=session_options, providers=[PROVIDER])
    except Exception as error:  # onnxruntime's errors share no base class of their own
        reason = _one_line(error)
        raise TargetError(f"{file}: onnxruntime can't open it as an ONNX model: {reason}") from None


def write_fused(file: Path, options: RuntimeOptions, fused: Path) -> Path:
    """Writes the graph of an ONNX file as onnxruntime's CPU kernels run it to `fused`: constants folded, operators
    fused, those between QuantizeLinear and DequantizeLinear replaced by 8-bit kernels where there are any. Only what
    changes nothing but the layout of tensors in memory is left out: it differs from processor to processor."""
    level = _onnxruntime().GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    _session(file, options, graph_optimization_level=level, optimized_model_filepath=str(fused))
    return fused


def kernel_times(
    file: Path, options: RuntimeOptions, feeds: Sequence[Mapping[str, np.ndarray]], runs: int, folder: Path
) -> dict[str, float]:
    """Milliseconds of one inference by kind of operator as run, the dearest first: of each operator the median of
    `runs` inferences, from onnxruntime's own profiler, which writes into `folder`. It counts whole microseconds and
    costs time itself: good to compare kinds of operators, too high for a latency."""
    total: dict[str, float] = {}
    for _, kind, ms in node_times(file, options, feeds, runs, folder):
        total[kind] = total.get(kind, 0.0) + ms
    return dict(sorted(total.items(), key=lambda item: -item[1]))


def node_times(
    file: Path, options: RuntimeOptions, feeds: Sequence[Mapping[str, np.ndarray]], runs: int, folder: Path
) -> list[tuple[str, str, float]]:
    """(name, kind, milliseconds) of every operator as run, in the order in which they ran; see `kernel_times`."""
    session = _session(file, options, enable_profiling=True, profile_file_prefix=str(folder / "profile"))
    for run in range(WARMUP + runs):
        session.run(None, feeds[run % len(feeds)])
    told = Path(session.end_profiling())
    events = json.loads(told.read_text(encoding="utf-8"))
    told.unlink()
    taken: dict[tuple[str, str, str], list[int]] = {}  # microseconds by node, name and kind
    for event in events:
        if event["cat"] == "Node" and event["name"].endswith("_kernel_time"):
            args, name = event["args"], event["name"].removesuffix("_kernel_time")
            taken.setdefault((args["node_index"], name, args["op_name"]), []).append(event["dur"])
    return [
        (name, operator_name(kind), float(np.median(microseconds[WARMUP:])) / 1e3)
        for (_, name, kind), microseconds in taken.items()
    ]


def _spec(file: Path, tensor: Any, metadata: Mapping[str, str]) -> TensorSpec:
    if tensor.type not in _DTYPES:
        raise TargetError(f"{file}: tensor '{tensor.name}' is of type {tensor.type}, expected numbers")
    shape = tuple(size if isinstance(size, int) else -1 for size in tensor.shape)
    scale_text = metadata.get(f"edgepress.scale.{tensor.name}")
    if scale_text is None:
        return TensorSpec(tensor.name, shape, _DTYPES[tensor.type])
    zero_text = metadata.get(f"edgepress.zero_point.{tensor.name}", "0")
    try:
        scale, zero_point = float(scale_text), int(zero_text)
    except ValueError:
        scale, zero_point = math.nan, 0
    if not (math.isfinite(scale) and scale > 0):
        raise TargetError(
            f"{file}: metadata of '{tensor.name}' gives scale {scale_text!r} and zero point {zero_text!r}, "
            "expected a positive number and a whole number"
        )
    return TensorSpec(tensor.name, shape, _DTYPES[tensor.type], scale, zero_point)


def onnx_operators(file: Path) -> Counter[str]:
    """Operators of an ONNX file, those of subgraphs and local functions included."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(str(file), load_external_data=False)
    except FileNotFoundError:
        raise TargetError(f"{file}: no such file; expected an ONNX model") from None
    except (OSError, DecodeError) as error:
        raise TargetError(f"{file}: can't be read as an ONNX model: {_one_line(error)}") from None
    if not model.HasField("graph"):
        raise TargetError(f"{file}: no graph in it; expected an ONNX model")
    nodes = [*_nodes(model.graph.node), *(node for part in model.functions for node in _nodes(part.node))]
    return Counter(operator_name(node.op_type) for node in nodes)


def _nodes(nodes: Any) -> Iterator[Any]:
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                yield from _nodes(graph.node)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
