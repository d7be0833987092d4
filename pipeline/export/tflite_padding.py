"""Zeros padded before a convolution of a TFLite graph moved into it, where they are those that its SAME padding adds:
XNNPACK fuses an operator that pads with a convolution in float, in 8 bits it copies the image."""

from typing import Any

import numpy as np


def fuse_padding(model: Any) -> None:
    """Of a ModelT, in place. PAD stays before a convolution whose SAME padding would be another, as that of PyTorch's
    strided convolutions is on an even number of pixels (one before, none after, where SAME has it after)."""
    from ai_edge_litert import schema_py_generated as schema

    codes = [code.builtinCode for code in model.operatorCodes]
    layers = {schema.BuiltinOperator.CONV_2D, schema.BuiltinOperator.DEPTHWISE_CONV_2D}
    for graph in model.subgraphs:
        takers: dict[int, list[Any]] = {}
        for operator in graph.operators:
            for index in operator.inputs:
                takers.setdefault(int(index), []).append(operator)
        for pad in [one for one in graph.operators if codes[one.opcodeIndex] == schema.BuiltinOperator.PAD]:
            given, amounts = (graph.tensors[index] for index in pad.inputs[:2])
            following = takers.get(int(pad.outputs[0]), [])
            if len(following) != 1 or codes[following[0].opcodeIndex] not in layers:
                continue
            (layer,) = following
            options = layer.builtinOptions
            if options.padding != schema.Padding.VALID or pad.outputs[0] in graph.outputs:
                continue
            wide = amounts.type == schema.TensorType.INT64
            stored = model.buffers[amounts.buffer].data
            if stored is None or len(given.shape) != 4:
                continue
            padded = np.frombuffer(stored.tobytes(), np.int64 if wide else np.int32).reshape(-1, 2).tolist()
            kernel = graph.tensors[layer.inputs[1]].shape[1:3]
            strides, dilations = (options.strideH, options.strideW), (options.dilationHFactor, options.dilationWFactor)
            sides = zip(given.shape[1:3], kernel, strides, dilations, strict=True)
            if padded == [[0, 0], *([*same_padding(*map(int, side))] for side in sides), [0, 0]]:
                options.padding = schema.Padding.SAME
                layer.inputs[0] = pad.inputs[0]
                graph.operators.remove(pad)


def same_padding(size: int, kernel: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    """How many zeros TensorFlow's SAME padding puts before and after `size` positions."""
    reach = (-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1
    total = max(reach - size, 0)
    return total // 2, total - total // 2
