"""Looks at how a runtime runs a model file: which operators its delegate took, and which compute in float."""

import math
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

from pipeline.context import RunContext
from pipeline.feeds import feeds
from pipeline.progress import Meter
from pipeline.quantize.graph import Graph, Operator, read_graph
from pipeline.quantize.inspect import CONVERSIONS, FLOATS
from pipeline.results import ExportedFile, PreparedData
from targets.machine import describe_machine
from targets.profile import Scheme
from targets.runtimes.base import RuntimeOptions, open_model
from targets.runtimes.coverage import Coverage, OperatorTimes

INTEGERS = ("int8", "uint8", "int16", "uint16")  # of activations
# Operators that multiply and accumulate, as stored and as onnxruntime fuses them.
CONVOLUTIONS = frozenset({"conv", "fused-conv", "conv-integer", "q-linear-conv"})  # channels second: ONNX
PRODUCTS = CONVOLUTIONS | {
    "attention", "q-attention", "conv-2d", "depthwise-conv-2d", "fully-connected", "batch-matmul",
    "gemm", "fused-gemm", "q-gemm", "mat-mul", "fused-mat-mul", "q-linear-mat-mul", "mat-mul-integer",
    "mat-mul-integer-to-float", "dynamic-quantize-mat-mul", "mat-mul-n-bits",
}  # fmt: skip
PACKED = frozenset({"mat-mul-n-bits"})  # weights several to a byte: their shape does not tell how many there are
TIMED_RUNS = 50  # profiled inferences of which the median counts
SAMPLES = 8  # real ones, taken in turn


def cover(file: ExportedFile, options: RuntimeOptions, context: RunContext) -> Coverage:
    """The coverage of `file` by the runtime that will run it, as a stored stage. It serves this processor only: what
    a delegate takes may depend on the instruction set."""
    machine = describe_machine()
    inputs = {"file": file.fingerprint, "options": options, "processor": [machine.cpu, machine.isa]}

    def make(folder: Path, key: str, meter: Meter) -> Coverage:
        found = coverage(file.file, options, file.scheme, key)
        meter.advance(note=f"{found.share:.1%} of {found.operators} operators")
        return found

    return context.stage(
        "coverage", inputs, Coverage, make, unit="files", title=f"operators {file.label}.{file.format}"
    )


def coverage(file: Path, options: RuntimeOptions, scheme: Scheme, key: str = "") -> Coverage:
    """The coverage of a model file, under the fingerprint `key`. Raises TargetError if it is no model of the runtime.

    Of an ONNX file the operators are those that onnxruntime runs after it fused the graph: what stands between
    QuantizeLinear and DequantizeLinear has become an 8-bit kernel, or stays float. Of a TFLite file they are those of
    the main graph.
    """
    if options.runtime == "onnxruntime":
        from targets.runtimes.ort import PROVIDER, write_fused

        with tempfile.TemporaryDirectory() as folder:
            run = read_graph(write_fused(file, options, Path(folder) / "fused.onnx"), "onnx")
        stored, delegate, pieces, places = read_graph(file, "onnx"), PROVIDER, None, len(run.operators)
        # onnxruntime's own operators are not ONNX's to infer, but their tensors keep the names that they had
        dtypes, shapes = {**stored.dtypes, **run.dtypes}, {**stored.shapes, **run.shapes}
        run = replace(run, dtypes=dtypes, shapes=shapes)
        taken_places = frozenset(range(places))
    else:
        from targets.runtimes.litert import DELEGATE_NAME, delegate_plan

        plan = delegate_plan(file, options)
        run = stored = read_graph(file, "tflite")
        delegate, pieces, places = DELEGATE_NAME, len(plan.pieces), plan.operators  # the main graph stands first
        taken_places = frozenset().union(*plan.pieces)
    taken, left_out, in_float = Counter[str](), Counter[str](), Counter[str]()
    conversions, taken_macs = 0, 0
    macs: int | None = 0
    for place, operator in enumerate(run.operators[:places]):
        if run.fixed.issuperset(operator.outputs):
            continue
        if operator.kind in CONVERSIONS:
            conversions += 1
            continue
        cost = multiply_accumulates(run, operator)
        macs = None if macs is None or cost is None else macs + cost
        if place not in taken_places:
            left_out[operator.kind] += 1
        elif computes_in_float(run, operator, scheme):
            in_float[operator.kind] += 1
        else:
            taken[operator.kind] += 1
            taken_macs += cost or 0
    return Coverage(
        fingerprint=key,
        delegate=delegate,
        taken=dict(sorted(taken.items())),
        left_out=dict(sorted(left_out.items())),
        in_float=dict(sorted(in_float.items())),
        pieces=pieces,
        conversions=conversions,
        transposes=transposes(stored),
        macs=macs,
        taken_macs=taken_macs,
    )


def transposes(graph: Graph) -> int:
    """Transposes of what an inference computes: those of constants alone are made once, when the file is opened."""
    return sum(op.kind == "transpose" and not graph.fixed.issuperset(op.outputs) for op in graph.operators)


def computes_in_float(graph: Graph, operator: Operator, scheme: Scheme) -> bool:
    """Whether an operator of the graph as run computes in float where `scheme` means integers: in static schemes any
    that takes float tensors and no integer ones, in dynamic ones a layer whose weights are float. No operator does in
    a float scheme."""
    if "static" in scheme:
        dtypes = {graph.dtypes.get(name) for name in operator.inputs if name not in graph.fixed}
        return not dtypes.isdisjoint(FLOATS) and dtypes.isdisjoint(INTEGERS)
    if "dynamic" in scheme and operator.kind in PRODUCTS:
        weight = _weight(graph, operator)
        return weight is not None and graph.dtypes.get(weight) in FLOATS
    return False


def multiply_accumulates(graph: Graph, operator: Operator) -> int | None:
    """Of one run of an operator: of a layer its weights times the places where they are used, of a product of two
    activations its outputs times the length of the sums. 0 for kinds that are none of `PRODUCTS`, None where a shape
    isn't known."""
    if operator.kind not in PRODUCTS:
        return 0
    made = graph.shapes.get(operator.outputs[0], ())
    weight = None if operator.kind in PACKED else _weight(graph, operator)
    factor = graph.shapes[weight] if weight else graph.shapes.get(operator.inputs[0], ())[-1:]
    if not made or not factor or 0 in (*made, *factor):
        return None
    if weight is None:
        return math.prod(made) * factor[0]
    return math.prod(factor) * math.prod(made) // made[1 if operator.kind in CONVOLUTIONS else -1]


def _weight(graph: Graph, operator: Operator) -> str | None:
    """The constant of two or more dimensions that a layer multiplies with; scales and biases have one at most."""
    return next((n for n in operator.inputs if n in graph.fixed and len(graph.shapes.get(n, ())) >= 2), None)


def time_operators(
    file: ExportedFile, data: PreparedData, options: RuntimeOptions, context: RunContext
) -> OperatorTimes | None:
    """Where the time of one inference goes, on real test samples, as a stored stage. None for LiteRT, whose profiler
    its Python interface does not give."""
    if options.runtime != "onnxruntime":
        return None
    inputs = {"file": file.fingerprint, "data": data.fingerprint, "options": options, "runs": TIMED_RUNS}
    inputs |= {"samples": SAMPLES, "machine": describe_machine().label}

    def make(folder: Path, key: str, meter: Meter) -> OperatorTimes:
        from targets.runtimes.ort import kernel_times

        specs = open_model(file.file, options).inputs
        samples = [feeds(specs, data, int(row)) for row in data.rows("test")[:SAMPLES]]
        taken = kernel_times(file.file, options, samples, TIMED_RUNS, folder)
        meter.advance()
        return OperatorTimes(key, TIMED_RUNS, taken)

    return context.stage(
        "operator-times", inputs, OperatorTimes, make, unit="files", title=f"profile {file.label}.{file.format}"
    )
