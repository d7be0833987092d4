"""The part of the TFLite Metadata schema that classifiers need, written with flatbuffers' Builder.

Source: the public metadata_schema.fbs, semantic version 1.5.0, file identifier M001. A table's fields have the slots in
which the schema lists them; a union takes two, its type and its value.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import flatbuffers

IDENTIFIER = b"M001"
BUFFER_NAME = "TFLITE_METADATA"  # under which a TFLite model's `metadata` holds the buffer

# The schema versions that brought what we write: a reader older than that can't use the whole.
BASE_VERSION = "1.0.0"
TOKENIZER_VERSION = "1.1.0"  # BertTokenizerOptions and SubGraphMetadata.input_process_units

_FILE_TYPES = {"axis-labels": 2, "vocabulary": 5}
_FEATURE_PROPERTIES, _IMAGE_PROPERTIES = 1, 2  # union ContentProperties
_NORMALIZATION_OPTIONS, _BERT_TOKENIZER_OPTIONS = 1, 4  # union ProcessUnitOptions
_RGB = 1  # enum ColorSpaceType

Slots = dict[int, tuple[Callable[..., None], int]]  # slot -> the builder's method for the field's type, value


@dataclass(frozen=True)
class AssociatedFile:
    """A file in the zip behind the model; `kind` tells a reader what it is for."""

    name: str
    description: str
    kind: Literal["axis-labels", "vocabulary"]


@dataclass(frozen=True)
class TensorMetadata:
    """One input or output. `minimum` and `maximum` are of the values as stored. `mean` and `std` are what a client
    takes from pixels and divides them by before it feeds a float input."""

    name: str
    description: str
    content: Literal["image", "feature"]
    minimum: float | None = None
    maximum: float | None = None
    mean: float | None = None
    std: float | None = None
    files: tuple[AssociatedFile, ...] = ()


@dataclass(frozen=True)
class ModelMetadata:
    """`inputs` and `outputs` in the order of the subgraph's tensors. With `vocabulary`, clients split texts into word
    pieces by that file."""

    name: str
    description: str
    inputs: tuple[TensorMetadata, ...]
    outputs: tuple[TensorMetadata, ...]
    vocabulary: AssociatedFile | None = None


def build(metadata: ModelMetadata) -> bytes:
    """`metadata` as a flatbuffer, the same bytes for the same content."""
    builder = flatbuffers.Builder(1024)
    subgraph: Slots = {
        2: _offsets(builder, [_tensor(builder, tensor) for tensor in metadata.inputs]),
        3: _offsets(builder, [_tensor(builder, tensor) for tensor in metadata.outputs]),
    }
    if metadata.vocabulary is not None:
        files = _offsets(builder, [_file(builder, metadata.vocabulary)])
        options = _table(builder, 1, {0: files})
        subgraph[5] = _offsets(builder, [_union_table(builder, _BERT_TOKENIZER_OPTIONS, options)])
    version = BASE_VERSION if metadata.vocabulary is None else TOKENIZER_VERSION
    root = _table(
        builder,
        8,
        {
            0: _string(builder, metadata.name),
            1: _string(builder, metadata.description),
            3: _offsets(builder, [_table(builder, 10, subgraph)]),
            7: _string(builder, version),
        },
    )
    builder.Finish(root, file_identifier=IDENTIFIER)
    return bytes(builder.Output())


def _tensor(builder: flatbuffers.Builder, tensor: TensorMetadata) -> int:
    slots: Slots = {
        0: _string(builder, tensor.name),
        1: _string(builder, tensor.description),
        3: _content(builder, tensor.content),
    }
    if tensor.mean is not None and tensor.std is not None:
        options = _table(builder, 2, {0: _floats(builder, [tensor.mean]), 1: _floats(builder, [tensor.std])})
        slots[4] = _offsets(builder, [_union_table(builder, _NORMALIZATION_OPTIONS, options)])
    if tensor.minimum is not None and tensor.maximum is not None:
        limits = {0: _floats(builder, [tensor.maximum]), 1: _floats(builder, [tensor.minimum])}
        slots[5] = _offset(builder, _table(builder, 2, limits))
    if tensor.files:
        slots[6] = _offsets(builder, [_file(builder, file) for file in tensor.files])
    return _table(builder, 7, slots)


def _content(builder: flatbuffers.Builder, content: str) -> tuple[Callable[..., None], int]:
    if content == "image":
        image = _table(builder, 2, {0: (builder.PrependInt8Slot, _RGB)})
        table = _union_table(builder, _IMAGE_PROPERTIES, image, slots=3)
    else:
        table = _union_table(builder, _FEATURE_PROPERTIES, _table(builder, 0, {}), slots=3)
    return _offset(builder, table)


def _file(builder: flatbuffers.Builder, file: AssociatedFile) -> int:
    return _table(
        builder,
        5,
        {
            0: _string(builder, file.name),
            1: _string(builder, file.description),
            2: (builder.PrependInt8Slot, _FILE_TYPES[file.kind]),
        },
    )


def _union_table(builder: flatbuffers.Builder, kind: int, value: int, slots: int = 2) -> int:
    """A table whose first field is a union: Content (3 slots) or ProcessUnit (2)."""
    return _table(builder, slots, {0: (builder.PrependUint8Slot, kind), 1: _offset(builder, value)})


def _table(builder: flatbuffers.Builder, size: int, slots: Slots) -> int:
    builder.StartObject(size)
    for slot, (prepend, value) in slots.items():
        prepend(slot, value, 0)
    return int(builder.EndObject())


def _offset(builder: flatbuffers.Builder, value: int) -> tuple[Callable[..., None], int]:
    return builder.PrependUOffsetTRelativeSlot, value


def _string(builder: flatbuffers.Builder, text: str) -> tuple[Callable[..., None], int]:
    return _offset(builder, builder.CreateString(text))


def _offsets(builder: flatbuffers.Builder, values: Sequence[int]) -> tuple[Callable[..., None], int]:
    builder.StartVector(4, len(values), 4)
    for value in reversed(values):
        builder.PrependUOffsetTRelative(value)
    return _offset(builder, builder.EndVector())


def _floats(builder: flatbuffers.Builder, values: Sequence[float]) -> tuple[Callable[..., None], int]:
    builder.StartVector(4, len(values), 4)
    for value in reversed(values):
        builder.PrependFloat32(value)
    return _offset(builder, builder.EndVector())
