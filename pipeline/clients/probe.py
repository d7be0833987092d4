"""TFLite files that hand back what a client feeds them: what a client's own tokenizer and resizing make of an input."""

from typing import Any

import numpy as np

from pipeline.export.metadata import VOCABULARY, with_files
from pipeline.export.metadata_schema import BUFFER_NAME, ModelMetadata, TensorMetadata, build

_TEXT_INPUTS = ("ids", "mask", "segment_ids")  # the names under which the clients look for a BERT's inputs


def token_probe(vocabulary: str, length: int) -> bytes:
    """A text classifier of `length` scores, each the id at its place; `vocabulary`: the content of vocab.txt."""
    from ai_edge_litert import schema_py_generated as schema

    types = schema.TensorType
    inputs = [_tensor(name, [1, length], types.INT32) for name in _TEXT_INPUTS]
    options = schema.CastOptionsT(inDataType=types.INT32, outDataType=types.FLOAT32)
    cast = (schema.BuiltinOperator.CAST, schema.BuiltinOptions.CastOptions, options)
    described = tuple(TensorMetadata(name, "", "feature") for name in _TEXT_INPUTS)
    model = _model(inputs, _tensor("scores", [1, length], types.FLOAT32), cast, _metadata(described, VOCABULARY))
    return with_files(model, {VOCABULARY.name: vocabulary})


def pixel_probe(width: int, height: int) -> bytes:
    """An image classifier of height * width * 3 scores, each the value of a pixel's channel, row by row."""
    from ai_edge_litert import schema_py_generated as schema

    types, size = schema.TensorType, height * width * 3
    options = schema.ReshapeOptionsT(newShape=[1, size])
    reshape = (schema.BuiltinOperator.RESHAPE, schema.BuiltinOptions.ReshapeOptions, options)
    image = TensorMetadata("image", "", "image", 0.0, 255.0, mean=0.0, std=1.0)
    inputs = [_tensor("image", [1, height, width, 3], types.FLOAT32)]
    return _model(inputs, _tensor("scores", [1, size], types.FLOAT32), reshape, _metadata((image,), None))


def _metadata(inputs: tuple[TensorMetadata, ...], vocabulary: Any) -> bytes:
    outputs = (TensorMetadata("probability", "", "feature"),)
    return build(ModelMetadata("probe", "Hands back its input.", inputs, outputs, vocabulary))


def _tensor(name: str, shape: list[int], kind: int) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    return schema.TensorT(name=name.encode(), shape=shape, type=kind, buffer=0)


def _model(inputs: list[Any], output: Any, operator: tuple[int, int, Any], metadata: bytes) -> bytes:
    """One operator from the first of `inputs` to `output`, as a flatbuffer with its metadata."""
    from ai_edge_litert import schema_py_generated as schema

    from pipeline.flatbuffer import write_model

    code, kind, options = operator
    node = schema.OperatorT(
        opcodeIndex=0, inputs=[0], outputs=[len(inputs)], builtinOptionsType=kind, builtinOptions=options
    )
    graph = schema.SubGraphT(
        tensors=[*inputs, output],
        inputs=list(range(len(inputs))),
        outputs=[len(inputs)],
        operators=[node],
        name=b"main",
    )
    model = schema.ModelT(
        version=3,
        operatorCodes=[schema.OperatorCodeT(deprecatedBuiltinCode=min(code, 127), builtinCode=code, version=1)],
        subgraphs=[graph],
        buffers=[schema.BufferT(), schema.BufferT(data=np.frombuffer(metadata, np.uint8))],
        metadata=[schema.MetadataT(name=BUFFER_NAME.encode(), buffer=1)],
    )
    return write_model(model)
