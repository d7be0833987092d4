"""What a delegate does not take of an exported file, by its table: told before anything runs."""

import math
from collections import Counter
from pathlib import Path

from pipeline.context import RunContext
from pipeline.progress import Meter
from pipeline.quantize.graph import Graph, Operator, read_graph
from pipeline.results import ExportedFile
from pipeline.student import StudentFamily
from targets.delegates.tables import CPU_DELEGATES, DelegateTable, Row, delegate_table
from targets.profile import Runtime, RuntimeName, Scheme
from targets.runtimes.base import operators
from targets.runtimes.coverage import NotTaken, TableCoverage

# Tensors of these are indices, shapes and masks where an operator has others too.
INDICES = frozenset({"int32", "int64", "bool"})
UNKNOWN = "not in the table"
BEHIND = "behind the first piece, of which alone it takes any"
# A student's operators under the names that their exports have; those without one are taken apart, and fused ones are
# no operators of their own.
EXPORTED: dict[RuntimeName, dict[str, str]] = {
    "litert": {"hard-swish": "hard-swish", "gelu": "gelu", "sigmoid": "logistic", "tanh": "tanh", "lstm": "lstm"},
    "onnxruntime": {
        "hard-swish": "hard-swish", "hard-sigmoid": "hard-sigmoid", "gelu": "gelu", "sigmoid": "sigmoid",
        "tanh": "tanh", "relu": "relu", "relu6": "clip", "layer-norm": "layer-normalization", "lstm": "lstm",
    },
}  # fmt: skip


def cover_by_table(file: ExportedFile, runtime: Runtime, context: RunContext) -> TableCoverage | None:
    """`uncovered` for the delegate of a profile's runtime, as a stored stage; None where there is no table of it."""
    table = delegate_table(runtime.name, runtime.delegate)
    if table is None:
        return None

    def make(folder: Path, key: str, meter: Meter) -> TableCoverage:
        found = uncovered(file.file, table)
        meter.advance(note=f"{found.share:.1%} of {found.operators} operators")
        return found

    inputs = {"file": file.fingerprint, "table": table}
    title = f"table {file.label}.{file.format}"
    return context.stage("table-coverage", inputs, TableCoverage, make, unit="files", title=title)


def uncovered(file: Path, table: DelegateTable) -> TableCoverage:
    """Operators of a .onnx or .tflite file that the delegate of `table` does not take, by kind and dtype, and the
    pieces that the others make.

    The operators are those of the file as stored: what a runtime fuses first may be taken in one, and what is computed
    of constants alone is none of them. Raises TargetError if `file` is no model of the table's runtime.
    """
    operators(file, table.runtime)  # says so if it is no model
    graph = read_graph(file, "onnx" if table.runtime == "onnxruntime" else "tflite")
    computed = [operator for operator in graph.operators if not graph.fixed.issuperset(operator.outputs)]
    reasons = [_reason(graph, operator, table) for operator in computed]
    pieces = _pieces(computed, [reason is None for reason in reasons])
    if table.first_piece_only:
        for place in (place for piece in pieces[1:] for place in piece):
            reasons[place] = BEHIND
        pieces = pieces[:1]
    counted = Counter(
        (operator.kind, ", ".join(sorted(_dtypes(graph, operator, table.groups))), reason)
        for operator, reason in zip(computed, reasons, strict=True)
        if reason is not None
    )
    found = tuple(NotTaken(kind, dtype, count, reason) for (kind, dtype, reason), count in counted.most_common())
    return TableCoverage(
        delegate=table.name,
        sources=table.sources_told,
        operators=len(computed),
        pieces=len(pieces),
        not_taken=found,
        complete=table.complete,
        deprecated=table.deprecated,
    )


def _reason(graph: Graph, operator: Operator, table: DelegateTable) -> str | None:
    """Why the delegate does not take an operator; None if it does."""
    row = table.row(operator.kind)
    if row is None:
        return UNKNOWN
    dtypes, taken = _dtypes(graph, operator, table.groups), table.dtypes_of(row)
    if taken is not None and not dtypes.issubset(taken):
        return f"takes {_either(taken)}"
    if row.one_dtype and len(dtypes) > 1:
        return "takes tensors of one dtype"
    weights = {graph.dtypes[name] for name in _weights(graph, operator) if name in graph.dtypes}
    if row.weights is not None and not weights.issubset(row.weights):
        return f"takes weights of {_either(row.weights)}, these are {', '.join(sorted(weights))}"
    return _shape_reason(graph, operator, row, table.inner_dimensions)


def _shape_reason(graph: Graph, operator: Operator, row: Row, inner: int | None) -> str | None:
    for place in row.constant:
        if place < len(operator.inputs) and operator.inputs[place] not in graph.fixed:
            return f"takes no computed tensor as input {place}"
    if row.inputs is not None and not row.inputs.holds(len(operator.inputs)):
        return f"takes {row.inputs.told} inputs, this has {len(operator.inputs)}"
    shapes = [graph.shapes[name] for name in operator.inputs if name not in graph.fixed and name in graph.shapes]
    if shapes and row.rank is not None and not row.rank.holds(len(shapes[0])):
        return f"takes {row.rank.told} dimensions, this has {len(shapes[0])}"
    if shapes and row.elements is not None and not row.elements.holds(math.prod(shapes[0])):
        return f"takes {row.elements.told} elements, this has {math.prod(shapes[0])}"
    if inner is not None and any(size > 1 for shape in shapes for size in shape[:-inner]):
        return f"takes tensors of which the last {inner} dimensions alone are longer than 1"
    return None


def _either(dtypes: tuple[str, ...]) -> str:
    return " or ".join(dtypes)


def _dtypes(graph: Graph, operator: Operator, groups: bool) -> frozenset[str]:
    """Of the tensors that an inference gives the operator and gets of it; indices only where there are no others.
    With `groups` a tensor between DequantizeLinear and QuantizeLinear counts as stored."""
    stored = groups and operator.kind not in ("quantize-linear", "dequantize-linear")
    names = {_stored(graph, name, operator) if stored else name for name in (*operator.inputs, *operator.outputs)}
    found = frozenset(graph.dtypes[name] for name in names if name not in graph.fixed and name in graph.dtypes)
    return found - INDICES or found


def _stored(graph: Graph, name: str, operator: Operator) -> str:
    """The 8-bit tensor that `name` stands for in a group, else `name`."""
    if name in operator.inputs:
        maker = graph.makers.get(name)
        return maker.inputs[0] if maker is not None and maker.kind == "dequantize-linear" else name
    takers = graph.takers.get(name, [])
    return takers[0].outputs[0] if {taker.kind for taker in takers} == {"quantize-linear"} else name


def _weights(graph: Graph, operator: Operator) -> list[str]:
    return [name for name in operator.inputs if name in graph.fixed and len(graph.shapes.get(name, ())) >= 2]


def _pieces(computed: list[Operator], taken: list[bool]) -> list[list[int]]:
    """The places of the operators in each part that the delegate would be given, as runtimes part a graph: each part
    has all operators of its side whose inputs are known by then. `computed` stands in the order of computation."""
    makers = {name: place for place, operator in enumerate(computed) for name in operator.outputs}
    waits = [{makers[name] for name in operator.inputs if name in makers} for operator in computed]
    left, done, pieces = list(range(len(computed))), set[int](), []
    while left:
        side, piece = taken[next(place for place in left if waits[place] <= done)], []
        for place in left:
            if taken[place] == side and waits[place] <= done:
                done.add(place)
                piece.append(place)
        left = [place for place in left if place not in done]
        if side:
            pieces.append(piece)
    return pieces


def known_uncovered(family: StudentFamily, runtime: Runtime, scheme: Scheme) -> str | None:
    """What is known before a run of a family's operators that a device's delegate does not take; None where all are,
    where nothing is known, and for the CPU's delegates, which the host itself tells."""
    table = delegate_table(runtime.name, runtime.delegate)
    if runtime.delegate in CPU_DELEGATES:
        return None
    if table is None:
        return f"no table says what {runtime.name}'s delegate '{runtime.delegate}' takes: only the device can tell"
    dtype = "int8" if "static" in scheme and (table.groups or runtime.name == "litert") else "float32"
    outside = []
    for name in sorted(family.operators):
        kind = EXPORTED[runtime.name].get(name)
        if kind is None:
            continue
        row = table.row(kind)
        if row is None or dtype not in (table.dtypes_of(row) or (dtype,)):
            outside.append(name)
    told = [f"{table.name}: {table.deprecated}"] if table.deprecated else []
    if outside:
        told.append(
            f"{family.name} has {' and '.join(outside)}, which {table.name} does not take in {dtype} by its table: the "
            "graph is cut there, and they run on the CPU"
        )
    return "; ".join(told) or None
