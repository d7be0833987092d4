"""Looks into a quantized file: of what dtype its weights, inputs and outputs really are, and what stayed float."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import InputError
from pipeline.quantize.graph import FOUR_BITS, Graph, read_graph
from pipeline.results import ExportedFile, Format
from targets.profile import Scheme
from targets.runtimes.base import RuntimeOptions, open_model
from targets.schemes import FOUR_BIT, STATIC

EIGHT_BITS = ("int8", "uint8")
FLOATS = ("float16", "float32", "float64")
STORED = frozenset({*FLOATS, *EIGHT_BITS, *FOUR_BITS, "int16", "uint16"})  # what weights may be stored in
WEIGHT_DTYPES: dict[Scheme, tuple[str, ...]] = {
    "float32": ("float32",),
    "float16": ("float16",),
    "int8-dynamic": EIGHT_BITS,
    "int8-static": EIGHT_BITS,
    "int8-static-a16": EIGHT_BITS,
    "int4-dynamic": FOUR_BITS,
    "int4-weights": FOUR_BITS,
}
# Operators without a 4-bit form in LiteRT: in a file of 4-bit weights theirs have 8.
NO_FOUR_BITS = frozenset({"depthwise-conv-2d", "transpose-conv", "batch-matmul"})

# Operators that hold weights: convolutions, products with a matrix, embeddings, recurrent layers.
LAYERS = frozenset({
    "conv", "conv-transpose", "gemm", "mat-mul", "gather", "conv-integer", "mat-mul-integer", "q-linear-conv",
    "q-linear-mat-mul", "q-gemm", "conv-2d", "depthwise-conv-2d", "transpose-conv", "fully-connected", "batch-matmul",
    "embedding-lookup", "lstm", "dynamic-quantize-lstm", "mat-mul-n-bits",
    "gather-block-quantized",
})  # fmt: skip
# Those that take scales or biases of two dimensions beside their weights, and where the weights stand among their
# inputs.
SCALED = {"mat-mul-n-bits": (1,), "gather-block-quantized": (0,), "lstm": (1, 2), "dynamic-quantize-lstm": (1, 2)}
# Operators that a weight may pass on its way to its layer.
ON_THE_WAY = frozenset(
    {"dequantize-linear", "quantize-linear", "dequantize", "quantize", "cast", "transpose", "reshape"}
)
# Operators between float and 8 bits: no arithmetic of the network.
CONVERSIONS = frozenset({"dequantize-linear", "quantize-linear", "dynamic-quantize-linear", "dequantize", "quantize"})

A16_ON_CPU = (
    "onnxruntime's CPU has no kernels for activations of 16 bits: it computes in float and rounds between operators, "
    "which is slower than float32; the file is for accelerators that have them"
)


@dataclass(frozen=True)
class LayerWeight:
    """The weight of one layer: its operator, and the constant's name, dtype and size as stored."""

    operator: str
    name: str
    dtype: str
    bytes: int


def weight_bytes(file: Path, format_name: Format) -> dict[str, int]:
    """Bytes of the constant tensors of a model file, by dtype (numpy's names), largest first."""
    total: Counter[str] = Counter()
    for constant in read_graph(file, format_name).constants.values():
        total[constant.dtype] += constant.bytes
    return dict(total.most_common())


def layer_weights(graph: Graph) -> list[LayerWeight]:
    """Weights of the layers (`LAYERS`): numbers of at least two dimensions, so that biases and scales are none.
    A weight that several layers share is listed for each."""
    makers = graph.makers
    found = []
    for operator in graph.operators:
        if operator.kind not in LAYERS:
            continue
        places = SCALED.get(operator.kind, range(len(operator.inputs)))
        for name in (operator.inputs[place] for place in places):
            while name in makers and makers[name].kind in ON_THE_WAY:
                name = makers[name].inputs[0]
            constant = graph.constants.get(name)
            if constant and len(constant.shape) >= 2 and constant.dtype in STORED:
                found.append(LayerWeight(operator.kind, name, constant.dtype, constant.bytes))
    return found


def float_operators(graph: Graph, format_name: Format) -> Counter[str]:
    """Operators that compute in float, by kind. In ONNX's QDQ form every tensor between QuantizeLinear and
    DequantizeLinear is float by name, and onnxruntime computes in 8 bits what stands right between the two."""
    makers, takers = graph.makers, graph.takers
    counted: Counter[str] = Counter()
    for operator in graph.operators:
        if operator.kind in CONVERSIONS:
            continue
        inputs, outputs = (
            [name for name in names if graph.dtypes.get(name) in FLOATS and name not in graph.fixed]
            for names in (operator.inputs, operator.outputs)
        )
        if format_name == "onnx":
            inputs = [name for name in inputs if name not in makers or makers[name].kind != "dequantize-linear"]
            outputs = [
                name for name in outputs if {taker.kind for taker in takers.get(name, [])} != {"quantize-linear"}
            ]
        if inputs or outputs:
            counted[operator.kind] += 1
    return counted


def check_quantized(
    file: ExportedFile, *, allow_float_fallback: bool = True, kept: Collection[str] = frozenset()
) -> None:
    """Opens `file` in its runtime and looks into it. Raises InputError if weights of convolutions, matrix products
    or embeddings are not of the scheme's dtype, if inputs or outputs are not of the dtype asked for, or if operators
    compute in float where the profile does not allow it. Token ids and masks stay integers in every scheme. The weights
    `kept`, by name, are float on purpose: then they must be there, as float32, and others beside them."""
    _check_io(file)
    graph = read_graph(file.file, file.format)
    wanted = WEIGHT_DTYPES[file.scheme]
    weights = layer_weights(graph)
    if not weights:
        raise InputError(
            f"the {file.label} {file.format} file has no convolution, matrix product or embedding with weights of its "
            "own, so nothing shows that it is quantized; choose another student"
        )
    floats = {weight.name for weight in weights if weight.dtype == "float32"}.intersection(kept)
    if len(floats) < len(set(kept)) or (kept and len(floats) == len({weight.name for weight in weights})):
        raise InputError(
            f"the {file.label} {file.format} file is not what its name says: {len(floats)} of the {len(set(kept))} "
            f"layers to be kept in float are, of {len(weights)} layers: remove quantize.max_drop, or choose another "
            "quantization.scheme for the target"
        )
    wrong = [
        weight for weight in weights if weight.dtype not in _allowed(weight, file.scheme) and weight.name not in floats
    ]
    if wrong:
        kinds = Counter(f"{weight.operator} ({weight.dtype})" for weight in wrong)
        raise InputError(
            f"the {file.label} {file.format} file is not what its name says: weights of {_listed(kinds)} are not "
            f"{' or '.join(wanted)}; choose another quantization.scheme for the target, or another student"
        )
    left = float_operators(graph, file.format)
    if left and not allow_float_fallback:
        raise InputError(
            f"the {file.label} {file.format} file keeps operators in float: {_listed(left)}; the target's profile "
            "says allow_float_fallback: false; choose a student without them, or a profile that allows them"
        )


def _allowed(weight: LayerWeight, scheme: Scheme) -> tuple[str, ...]:
    """What the weight's dtype may be in a file of `scheme`."""
    return EIGHT_BITS if scheme in FOUR_BIT and weight.operator in NO_FOUR_BITS else WEIGHT_DTYPES[scheme]


def _check_io(file: ExportedFile) -> None:
    model = open_model(file.file, RuntimeOptions("onnxruntime" if file.format == "onnx" else "litert"))
    for spec in (*model.inputs, *model.outputs):
        if spec.dtype in ("int32", "int64"):
            continue
        if spec.dtype != file.io_dtype or (spec.dtype in EIGHT_BITS and spec.scale is None):
            scaled = "" if spec.scale is not None or spec.dtype not in EIGHT_BITS else " without a scale"
            raise InputError(
                f"tensor '{spec.name}' of the {file.label} {file.format} file is {spec.dtype}{scaled}, expected "
                f"{file.io_dtype}; choose another quantization.io_dtype for the target"
            )


def describe_quantized(file: ExportedFile) -> tuple[str, ...]:
    """Notes for the report: how much of the weights has the scheme's dtype, and what computes in float."""
    graph = read_graph(file.file, file.format)
    sizes: Counter[str] = Counter()
    for constant in graph.constants.values():
        sizes[constant.dtype] += constant.bytes
    share = sum(sizes[dtype] for dtype in WEIGHT_DTYPES[file.scheme]) / max(sum(sizes.values()), 1)
    bits = 16 if file.scheme == "float16" else 4 if file.scheme in FOUR_BIT else 8
    notes = [f"{share:.1%} of the bytes of its constants are {bits}-bit"]
    eight = Counter(weight.operator for weight in layer_weights(graph) if weight.dtype in EIGHT_BITS)
    if file.scheme in FOUR_BIT and eight:
        notes.append(f"weights of 8 bits, for want of 4-bit kernels: {_listed(eight)}")
    left = float_operators(graph, file.format)
    if file.scheme in STATIC and left:  # the others compute in float by intent, or as the kernel decides
        notes.append(f"computed in float: {_listed(left)}")
    if file.scheme == "int8-static-a16" and file.format == "onnx":
        notes.append(A16_ON_CPU)
    return tuple(notes)


def _listed(kinds: Counter[str]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
