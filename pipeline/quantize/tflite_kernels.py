"""Changes to 8-bit TFLite graphs that keep every number and let XNNPACK take its faster kernels."""

from dataclasses import dataclass
from typing import Any

import numpy as np

COLUMNS = 4  # of the image, taken as one: so many channels that a kernel position fills whole vectors
FEW = 4  # channels below which a convolution is worth it
STRIDE = 2  # of the first convolution: only then do whole groups of columns become whole columns


def group_first_columns(content: bytes) -> bytes:
    """The static 8-bit TFLite file `content` with its first convolution, of stride 2 over an image of fewer than `FEW`
    channels, as one over groups of `COLUMNS` columns, which lie one after the other in memory; unchanged where there is
    none. Where [1, H, W, 3] becomes [1, H/2, W/2, C] it now goes by [1, H, W/4, 12] and [1, H/2, W/4, 2C].

    The weights for what a window does not see are zeros. XNNPACK's 8-bit kernels fetch each kernel position's channels
    by themselves, and three do not fill what they fetch.
    """
    from ai_edge_litert import schema_py_generated as schema

    from pipeline.flatbuffer import read_model, write_model

    model = read_model(content)
    if len(model.subgraphs) != 1:
        return content
    found = _find(model, schema)
    if found is None:
        return content
    _rewrite(model, found, schema)
    return write_model(model)


@dataclass(frozen=True)
class _First:
    """The first convolution, the operator that pads its input where there is one, and what they pad: rows above and
    below, columns to the left."""

    convolution: Any
    pad: Any
    image: int  # the tensor that is padded
    above: int
    below: int
    left: int


def _find(model: Any, schema: Any) -> _First | None:
    (graph,) = model.subgraphs
    kinds = schema.BuiltinOperator
    takers: dict[int, list[Any]] = {}
    for operator in graph.operators:
        for tensor in operator.inputs:
            takers.setdefault(tensor, []).append(operator)

    def kind(operator: Any) -> int:
        code = model.operatorCodes[operator.opcodeIndex]
        return int(max(code.builtinCode, code.deprecatedBuiltinCode))

    def only_taker(tensor: int) -> Any:
        return takers[tensor][0] if len(takers.get(tensor, ())) == 1 and tensor not in graph.outputs else None

    tensor = graph.inputs[0]
    operator, pad = only_taker(tensor), None
    if operator is not None and kind(operator) == kinds.QUANTIZE:
        tensor = operator.outputs[0]
        operator = only_taker(tensor)
    if operator is not None and kind(operator) == kinds.PAD:
        pad, operator = operator, only_taker(operator.outputs[0])
    if operator is None or kind(operator) != kinds.CONV_2D:
        return None
    image, weight = graph.tensors[tensor], graph.tensors[operator.inputs[1]]
    options = operator.builtinOptions
    eight_bits = all(found.type == schema.TensorType.INT8 for found in (image, weight))
    plain = (options.strideW, options.strideH, options.dilationWFactor, options.dilationHFactor) == (
        STRIDE,
        STRIDE,
        1,
        1,
    )
    height, width, channels = image.shape[1:]
    fits = channels == weight.shape[3] and channels < FEW and not width % COLUMNS
    if not (eight_bits and plain and fits) or len(takers[operator.inputs[1]]) > 1:
        return None
    rows, columns = _padding(model, pad, options, (height, width), weight.shape[1:3], schema)
    if graph.tensors[operator.outputs[0]].shape[2] * STRIDE != width:
        return None
    return _First(operator, pad, tensor, *rows, columns[0])


def _padding(
    model: Any, pad: Any, options: Any, size: tuple[int, int], kernel: tuple[int, int], schema: Any
) -> list[tuple[int, int]]:
    """Zeros before and after, of rows and of columns: the operator's own, and those of padding SAME as TFLite puts
    them."""
    own = np.zeros((4, 2), np.int64)
    if pad is not None:
        given = model.subgraphs[0].tensors[pad.inputs[1]]
        dtype = np.int64 if given.type == schema.TensorType.INT64 else np.int32
        own = model.buffers[given.buffer].data.view(dtype).reshape(4, 2).astype(np.int64)
    found = []
    for length, taps, (before, after) in zip(size, kernel, own[1:3].tolist(), strict=True):
        more = 0
        if options.padding == schema.Padding.SAME:
            padded = length + before + after
            more = max((-(-padded // STRIDE) - 1) * STRIDE + taps - padded, 0)
        found.append((before + more // 2, after + more - more // 2))
    return found


def _rewrite(model: Any, first: _First, schema: Any) -> None:
    (graph,) = model.subgraphs
    convolution, image = first.convolution, graph.tensors[first.image]
    weight, bias = (graph.tensors[place] for place in convolution.inputs[1:3])
    given = graph.tensors[convolution.outputs[0]]
    _, height, width, channels = (int(length) for length in image.shape)
    values, before, after = _grouped(_values(model, weight, np.int8).reshape(weight.shape), first.left)
    groups, outputs = width // COLUMNS, values.shape[0]

    def tensor(like: Any, name: str, shape: tuple[int, ...], data: np.ndarray | None = None) -> int:
        made = schema.TensorT()
        made.name, made.shape, made.type, made.quantization = name.encode(), list(shape), like.type, like.quantization
        if data is not None:
            made.buffer = len(model.buffers)
            model.buffers.append(schema.BufferT())
            model.buffers[-1].data = np.frombuffer(data.tobytes(), np.uint8)
        graph.tensors.append(made)
        return len(graph.tensors) - 1

    def constant(name: str, numbers: Any) -> int:
        plain = schema.TensorT()
        plain.type, plain.quantization = schema.TensorType.INT32, None
        data = np.array(numbers, np.int32)
        return tensor(plain, name, data.shape, data)

    def operator(kind: str, inputs: list[int], output: int, options: Any) -> Any:
        made = schema.OperatorT()
        made.opcodeIndex = _code(model, getattr(schema.BuiltinOperator, kind), schema)
        made.inputs, made.outputs, made.builtinOptions = inputs, [output], options
        made.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
        return made

    def reshape(source: int, output: int, shape: tuple[int, ...], name: str) -> Any:
        options = schema.ReshapeOptionsT()
        options.newShape = list(shape)
        return operator("RESHAPE", [source, constant(name, shape)], output, options)

    wide = (1, height, groups, COLUMNS * channels)
    grouped = tensor(image, "columns", wide)
    rows = height + first.above + first.below
    padded = tensor(image, "columns_padded", (1, rows, groups + before + after, wide[-1]))
    pads = constant("columns_pads", [(0, 0), (first.above, first.below), (before, after), (0, 0)])
    shape = (1, int(given.shape[1]), groups, outputs)
    made = tensor(given, "columns_convolved", shape)
    twice = _values(model, bias, np.int32)
    weights = tensor(_repeated(weight, schema), "columns_weight", values.shape, values)
    biases = tensor(_repeated(bias, schema), "columns_bias", (outputs,), np.tile(twice, outputs // len(twice)))
    replaced = [
        reshape(first.image, grouped, wide, "columns_shape"),
        operator("PAD", [grouped, pads], padded, schema.PadOptionsT()),
        convolution,
        reshape(made, convolution.outputs[0], tuple(int(length) for length in given.shape), "pixels_shape"),
    ]
    place = next(n for n, one in enumerate(graph.operators) if one is convolution or one is first.pad)
    kept = [one for one in graph.operators if one is not convolution and one is not first.pad]
    graph.operators = [*kept[:place], *replaced, *kept[place:]]
    convolution.inputs, convolution.outputs = [padded, weights, biases], [made]
    convolution.builtinOptions.padding = schema.Padding.VALID
    convolution.builtinOptions.strideW = 1


def _grouped(weight: np.ndarray, left: int) -> tuple[np.ndarray, int, int]:
    """int8 [C, h, w, c] for a padding of `left` columns -> int8 [2C, h, groups, 4c], and by how many groups to pad on
    the left and on the right."""
    outputs, height, taps, channels = weight.shape
    columns = COLUMNS // STRIDE  # that each group gives
    first, last = -left, (columns - 1) * STRIDE - left + taps - 1  # columns that the group's windows see
    begin, end = first // COLUMNS, last // COLUMNS
    wide = np.zeros((columns, outputs, height, (end - begin + 1) * COLUMNS, channels), np.int8)
    for number in range(columns):
        start = number * STRIDE - left - begin * COLUMNS
        wide[number, :, :, start : start + taps] = weight
    return wide.reshape(columns * outputs, height, end - begin + 1, COLUMNS * channels), -begin, end


def _repeated(tensor: Any, schema: Any) -> Any:
    """A tensor's type and quantization, its scales as often as its channels are repeated."""
    made, scales = schema.TensorT(), schema.QuantizationParametersT()
    made.type, made.quantization = tensor.type, scales
    times = COLUMNS // STRIDE if len(tensor.quantization.scale) > 1 else 1
    scales.scale = np.tile(tensor.quantization.scale, times)
    scales.zeroPoint = np.tile(tensor.quantization.zeroPoint, times)
    scales.quantizedDimension = tensor.quantization.quantizedDimension
    return made


def _values(model: Any, tensor: Any, dtype: type) -> np.ndarray:
    values: np.ndarray = model.buffers[tensor.buffer].data.view(dtype)
    return values


def _code(model: Any, kind: int, schema: Any) -> int:
    """The place of an operator among those that the file names, which gets it where it has none yet."""
    for place, code in enumerate(model.operatorCodes):
        if max(code.builtinCode, code.deprecatedBuiltinCode) == kind:
            return place
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = kind
    code.version = 2 if kind == schema.BuiltinOperator.PAD else 1  # PAD of 8 bits came with its second version
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1
