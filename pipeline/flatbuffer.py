"""TFLite files unpacked into objects and packed again."""

from typing import Any

import flatbuffers
import numpy as np

ALIGNMENT = 16  # bytes: `force_align` of Buffer.data in the TFLite schema; kernels map weights in place


def read_model(content: bytes) -> Any:
    """A TFLite file's flatbuffer as a ModelT of its schema, weights as arrays over `content`, buffers that lie
    behind the flatbuffer (a file's large ones) included."""
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model_from_bytearray(content)
    for buffer in model.buffers:
        if buffer.data is not None:
            buffer.data = np.frombuffer(buffer.data, np.uint8)
    return model


def write_model(model: Any) -> bytes:
    """`model` as a TFLite flatbuffer, the same bytes for the same content."""
    builder = _AligningBuilder(1 << 20)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


class _AligningBuilder(flatbuffers.Builder):
    """Aligns byte vectors as the schema asks; the Python code that flatc generates leaves that out. Equal vectors of
    wider numbers are written once and pointed to: each channel's zero point, 8 bytes of nothing, weighs as much as its
    depthwise filter."""

    head: int

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._written: dict[tuple[str, bytes], int] = {}

    def CreateNumpyVector(self, x: np.ndarray) -> int:
        if x.dtype != np.uint8:
            key = (x.dtype.str, x.tobytes())
            if key not in self._written:
                self._written[key] = super().CreateNumpyVector(x)
            return self._written[key]
        self.StartVector(1, x.size, ALIGNMENT)
        start = self.head - x.size
        self.head = start
        self.Bytes[start : start + x.size] = x.tobytes()
        self.vectorNumElems = x.size
        return self.EndVector()
