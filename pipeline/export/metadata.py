"""What a model file says of itself: TFLite Metadata, which apps' clients need, and ONNX metadata properties.

The last step in the making of a file, so that the file which is judged is the file which ships.
"""

import io
import json
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.context import RunContext
from pipeline.errors import InputError
from pipeline.export.compact import compact_onnx, compact_tflite
from pipeline.export.metadata_schema import BUFFER_NAME, AssociatedFile, ModelMetadata, TensorMetadata, build
from pipeline.progress import Meter
from pipeline.results import ExportedFile, PreparedData
from pipeline.store import file_sha256

PREFIX = "edgepress."  # of the keys of ONNX's metadata_props
LABELS = AssociatedFile("labels.txt", "One label a line, in the order of the scores.", "axis-labels")
VOCABULARY = AssociatedFile("vocab.txt", "One word piece a line; its number is the line's, from 0.", "vocabulary")

# Signature name -> the name under which TFLite's task libraries and MediaPipe look for it, what it holds.
_TEXT_INPUTS = {
    "input_ids": ("ids", "Numbers of the word pieces: [CLS], the text, [SEP], padding."),
    "attention_mask": ("mask", "1 for word pieces, 0 for padding."),
    "token_type_ids": ("segment_ids", "0: one text."),
}


def add_metadata(
    file: ExportedFile, data: PreparedData, name: str, description: str, context: RunContext
) -> ExportedFile:
    """`file` with its metadata, as a new file, and without what no runtime reads (`pipeline.export.compact`).

    TFLite: names of the tensors, pixel range and normalisation (mean 0, std 1: the graph normalises), and, in a zip
    behind the flatbuffer, labels.txt and for word pieces vocab.txt. ONNX: metadata_props `edgepress.name`,
    `.description`, `.task`, `.scheme`, `.io_dtype`, `.labels` (JSON) and `.preprocess` (JSON, the bundle's
    preprocess.json); what is there already stays.

    Raises InputError for a label of more than one line.
    """
    broken = next((label for label in data.labels if len(label.splitlines()) != 1), None)
    if broken is not None:
        raise InputError(f"label {broken!r}: a label is one line of text, it stands in labels.txt; rename the class")

    def make(folder: Path, key: str, meter: Meter) -> ExportedFile:
        content = file.file.read_bytes()
        notes = file.notes
        if file.format == "onnx":
            content = _with_properties(content, file, data, name, description)
        else:
            vocabulary = _vocabulary(data)
            content = _with_tflite_metadata(content, data, vocabulary, name, description)
            notes += _client_notes(file, data, vocabulary)
        written = folder / file.file.name
        written.write_bytes(content)
        manifest = file.calibration_manifest
        if manifest is not None:
            manifest = Path(shutil.copy(manifest, folder / manifest.name))
        meter.advance()
        return replace(
            file,
            fingerprint=key,
            file=written,
            bytes=len(content),
            sha256=file_sha256(written),
            calibration_manifest=manifest,
            notes=notes,
        )

    inputs = {"file": file.fingerprint, "data": data.fingerprint, "name": name, "description": description}
    title = f"metadata of {file.label} {file.format}"
    return context.stage("metadata", inputs, ExportedFile, make, title=title)


def _with_properties(content: bytes, file: ExportedFile, data: PreparedData, name: str, description: str) -> bytes:
    import onnx

    from pipeline.feeds import preprocess_settings
    from targets.runtimes.base import RuntimeOptions, open_model

    preprocess = preprocess_settings(open_model(file.file, RuntimeOptions("onnxruntime")).inputs, data)
    model = onnx.load_from_string(content)
    compact_onnx(model)
    properties = {entry.key: entry.value for entry in model.metadata_props}
    ours = {
        "name": name,
        "description": description,
        "task": data.task,
        "scheme": file.scheme,
        "io_dtype": file.io_dtype,
        "labels": json.dumps(data.labels, ensure_ascii=False),
        "preprocess": json.dumps(preprocess, ensure_ascii=False),
    }
    properties |= {PREFIX + key: value for key, value in ours.items()}
    onnx.helper.set_model_props(model, dict(sorted(properties.items())))
    return bytes(model.SerializeToString(deterministic=True))


def _with_tflite_metadata(
    content: bytes, data: PreparedData, vocabulary: str | None, name: str, description: str
) -> bytes:
    from ai_edge_litert import schema_py_generated as schema

    from pipeline.flatbuffer import read_model, write_model

    model = read_model(content)
    compact_tflite(model)
    inputs, outputs = _tensors(model)
    if data.task == "image-classification":
        described = tuple(_image(tensor) for tensor in inputs)
    else:
        described = tuple(_text(tensor_name) for tensor_name, _ in inputs)
    scores = tuple(_scores(dtype) for _, dtype in outputs)
    files = {LABELS.name: "".join(f"{label}\n" for label in data.labels)}
    if vocabulary is not None:
        files[VOCABULARY.name] = vocabulary
    packed = build(ModelMetadata(name, description, described, scores, VOCABULARY if vocabulary else None))
    buffer = schema.BufferT(data=np.frombuffer(packed, np.uint8))
    model.metadata = model.metadata or []
    entry = next((entry for entry in model.metadata if entry.name == BUFFER_NAME.encode()), None)
    if entry is not None:
        model.buffers[entry.buffer] = buffer
    else:
        model.metadata.append(schema.MetadataT(name=BUFFER_NAME.encode(), buffer=len(model.buffers)))
        model.buffers.append(buffer)
    return with_files(write_model(model), files)


def _tensors(model: Any) -> tuple[list[tuple[str, np.dtype]], list[tuple[str, np.dtype]]]:
    """(Signature name, stored dtype) of the first subgraph's inputs and of its outputs, in the subgraph's order."""
    from ai_edge_litert import schema_py_generated as schema

    numpy_types = {schema.TensorType.FLOAT32: "float32", schema.TensorType.INT32: "int32"}
    numpy_types |= {schema.TensorType.INT8: "int8", schema.TensorType.UINT8: "uint8"}
    (signature,) = model.signatureDefs
    subgraph = model.subgraphs[0]

    def described(entries: Any, indexes: Any) -> list[tuple[str, np.dtype]]:
        names = {entry.tensorIndex: entry.name.decode() for entry in entries}
        return [(names[index], np.dtype(numpy_types[subgraph.tensors[index].type])) for index in indexes]

    return described(signature.inputs, subgraph.inputs), described(signature.outputs, subgraph.outputs)


def _image(tensor: tuple[str, np.dtype]) -> TensorMetadata:
    name, dtype = tensor
    low, high = (None, None) if dtype == np.int8 else (0.0, 255.0)  # clients take limits as those of pixels
    text = "RGB pixels, 0..255; the graph normalises them."
    return TensorMetadata(name, text, "image", low, high, mean=0.0, std=1.0)


def _text(name: str) -> TensorMetadata:
    known, text = _TEXT_INPUTS[name]
    return TensorMetadata(known, text, "feature")


def _scores(dtype: np.dtype) -> TensorMetadata:
    low, high = {"uint8": (0.0, 255.0), "float32": (0.0, 1.0)}.get(dtype.name, (None, None))
    return TensorMetadata("probability", "Softmax score of each label.", "feature", low, high, files=(LABELS,))


def with_files(flatbuffer: bytes, files: dict[str, str]) -> bytes:
    """`flatbuffer` with `files` behind it as a zip: not compressed, as the clients ask, and without the hour."""
    stream = io.BytesIO(flatbuffer)
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_STORED) as archive:
        for name, text in sorted(files.items()):
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            archive.writestr(entry, text.encode())
    return stream.getvalue()


def _tokenizer(data: PreparedData) -> dict[str, Any]:
    assert data.tokenizer_folder is not None, "only texts have a tokenizer"
    content: dict[str, Any] = json.loads((data.tokenizer_folder / "tokenizer.json").read_text(encoding="utf-8"))
    return content


def _vocabulary(data: PreparedData) -> str | None:
    """vocab.txt of a WordPiece tokenizer; None for images and other tokenizers, which the schema can't describe."""
    if data.task != "text-classification":
        return None
    tokenizer = _tokenizer(data)["model"]
    if tokenizer["type"] != "WordPiece":
        return None
    numbers: dict[str, int] = tokenizer["vocab"]
    pieces = {number: piece for piece, number in numbers.items()}
    return "".join(f"{pieces.get(number, f'[unused{number}]')}\n" for number in range(max(pieces) + 1))


def _client_notes(file: ExportedFile, data: PreparedData, vocabulary: str | None) -> tuple[str, ...]:
    """What MediaPipe's tasks and the TFLite task libraries make of this file otherwise than an app that follows
    preprocess.json."""
    if data.task == "image-classification":
        if file.io_dtype != "int8":
            return ()
        return ("MediaPipe and the TFLite task libraries take float32 and uint8 images, no int8: an app feeds this "
                "file through the interpreter.",)  # fmt: skip
    normalizer = _tokenizer(data).get("normalizer") or {}
    if vocabulary is None:
        return ("TFLite Metadata describes WordPiece tokenizers only: MediaPipe and the TFLite task libraries can't "
                "feed texts to this file.",)  # fmt: skip
    if not normalizer.get("lowercase", False):
        return ("The vocabulary is cased; MediaPipe and the TFLite task libraries make every text lower-case.",)
    if normalizer.get("strip_accents") is not False:
        return ("MediaPipe and the TFLite task libraries don't take accents off, as this tokenizer does: texts with "
                "accents get other word pieces there, unless the app normalises them (docs/clients.md).",)  # fmt: skip
    return ()
