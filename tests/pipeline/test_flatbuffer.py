from pathlib import Path

import numpy as np

from pipeline.feeds import feeds
from pipeline.flatbuffer import ALIGNMENT, read_model, write_model
from pipeline.results import ExportedFile, PreparedData
from targets.runtimes.base import RuntimeOptions, open_model


def weights(content: bytes) -> list[np.ndarray]:
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(content, 0)
    buffers = [model.Buffers(index) for index in range(model.BuffersLength())]
    return [buffer.DataAsNumpy() for buffer in buffers if buffer.DataLength()]


def test_a_packed_model_holds_the_same_weights_aligned(image_tflite: ExportedFile) -> None:
    original = image_tflite.file.read_bytes()
    packed = write_model(read_model(original))
    start = np.frombuffer(packed, np.uint8).ctypes.data
    assert {(array.ctypes.data - start) % ALIGNMENT for array in weights(packed)} == {0}
    assert [array.tobytes() for array in weights(packed)] == [array.tobytes() for array in weights(original)]


def test_buffers_that_lie_behind_the_flatbuffer_are_taken_in(
    image_tflite: ExportedFile, digits: PreparedData, tmp_path: Path
) -> None:
    """As files over 2 GB have them, and what ai-edge-quantizer writes."""
    model = read_model(image_tflite.file.read_bytes())
    large = max((buffer for buffer in model.buffers if buffer.data is not None), key=lambda buffer: buffer.data.size)
    data, large.data, large.offset, large.size = large.data.tobytes(), None, 1, len(large.data)
    start = -(-len(write_model(model)) // ALIGNMENT) * ALIGNMENT
    large.offset = start
    split = write_model(model).ljust(start, b"\0") + data
    packed = tmp_path / "packed.tflite"
    packed.write_bytes(write_model(read_model(split)))

    opened = [open_model(file, RuntimeOptions("litert")) for file in (image_tflite.file, packed)]
    fed = feeds(opened[0].inputs, digits, 0)
    np.testing.assert_array_equal(opened[0].run(fed)[0], opened[1].run(fed)[0])


def test_packing_is_deterministic_and_stable(text_tflite: ExportedFile) -> None:
    once = write_model(read_model(text_tflite.file.read_bytes()))
    assert write_model(read_model(once)) == once
