import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.context import RunContext
from pipeline.errors import InputError
from pipeline.export.metadata import add_metadata
from pipeline.export.metadata_schema import AssociatedFile, ModelMetadata, TensorMetadata, build
from pipeline.feeds import feeds
from pipeline.quantize.tflite import quantize_tflite
from pipeline.results import Calibration, ExportedFile, PreparedData
from pipeline.store import file_sha256
from targets.profile import IoType, Quantization, RuntimeName
from targets.runtimes.base import Model, RuntimeOptions, open_model
from tests.task_library import ask, libusb

RUNTIMES: dict[str, RuntimeName] = {"onnx": "onnxruntime", "tflite": "litert"}
SAMPLES = 6

needs_libusb = pytest.mark.skipif(
    libusb() is None, reason="tflite-support needs libusb-1.0: pip install libusb-package"
)


@pytest.fixture
def image_int8(
    image_tflite: ExportedFile, image_calibration: Calibration, digits: PreparedData, session_context: RunContext
) -> Any:
    """Static INT8 by its inputs' and outputs' dtype."""

    def make(io_dtype: IoType) -> ExportedFile:
        static = Quantization(scheme="int8-static", io_dtype=io_dtype)
        return quantize_tflite(image_tflite, digits, static, image_calibration, session_context)

    return make


@pytest.fixture
def text_int8(text_tflite: ExportedFile, reviews: PreparedData, session_context: RunContext) -> ExportedFile:
    dynamic = Quantization(scheme="int8-dynamic")
    return quantize_tflite(text_tflite, reviews, dynamic, None, session_context)


def opened(file: ExportedFile) -> Model:
    return open_model(file.file, RuntimeOptions(RUNTIMES[file.format]))


def our_scores(file: ExportedFile, data: PreparedData) -> list[dict[str, float]]:
    model = opened(file)
    found = [model.run(feeds(model.inputs, data, row))[0] for row in sample_rows(data)]
    real = [model.outputs[0].dequantize(stored)[0] for stored in found]
    return [dict(zip(data.labels, (float(score) for score in scores), strict=True)) for scores in real]


def same(theirs: list[dict[str, float]], ours: list[dict[str, float]]) -> None:
    assert len(theirs) == len(ours) == SAMPLES
    for a, b in zip(theirs, ours, strict=True):
        # A client may leave out labels that score nothing.
        assert max(a, key=a.__getitem__) == max(b, key=b.__getitem__)
        np.testing.assert_allclose([a.get(label, 0.0) for label in b], list(b.values()), atol=1e-5)


def texts_of(data: PreparedData) -> list[str]:
    assert data.texts_file is not None
    return [json.loads(line) for line in data.texts_file.read_text(encoding="utf-8").splitlines()]


def sample_rows(data: PreparedData) -> list[int]:
    """Samples that clients and we read alike: no accents, which they tokenize otherwise (the file's notes say so)."""
    rows = [int(row) for row in data.rows("validation")]
    if data.texts_file is not None:
        texts = texts_of(data)
        rows = [row for row in rows if texts[row].isascii()]
    return rows[:SAMPLES]


def plain_texts(data: PreparedData) -> list[str]:
    texts = texts_of(data)
    return [texts[row] for row in sample_rows(data)]


@pytest.fixture
def with_metadata(session_context: RunContext) -> Callable[[ExportedFile, PreparedData], ExportedFile]:
    return lambda file, data: add_metadata(file, data, "a name", "What it does.", session_context)


# The flatbuffer


WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
NUMBERS = st.floats(width=32, allow_nan=False, allow_infinity=False)
FILES = st.builds(AssociatedFile, name=WORDS, description=WORDS, kind=st.sampled_from(["axis-labels", "vocabulary"]))
TENSORS = st.builds(
    TensorMetadata,
    name=WORDS, description=WORDS, content=st.sampled_from(["image", "feature"]), minimum=NUMBERS, maximum=NUMBERS,
    mean=NUMBERS, std=NUMBERS, files=st.lists(FILES, max_size=3).map(tuple),
)  # fmt: skip


@given(
    st.builds(
        ModelMetadata,
        name=WORDS,
        description=WORDS,
        inputs=st.lists(TENSORS, max_size=4).map(tuple),
        outputs=st.lists(TENSORS, max_size=2).map(tuple),
        vocabulary=st.none() | FILES,
    )
)
def test_the_public_schemas_reader_finds_what_was_written(metadata: ModelMetadata) -> None:
    from mediapipe.tasks.metadata import metadata_schema_py_generated as schema

    packed = build(metadata)
    assert schema.ModelMetadata.ModelMetadataBufferHasIdentifier(packed, 0)
    root = schema.ModelMetadataT.InitFromObj(schema.ModelMetadata.GetRootAsModelMetadata(packed, 0))
    (subgraph,) = root.subgraphMetadata
    assert (root.name.decode(), root.description.decode()) == (metadata.name, metadata.description)
    assert root.minParserVersion.decode() == ("1.1.0" if metadata.vocabulary else "1.0.0")

    def file_of(found: Any) -> AssociatedFile:
        kind = {2: "axis-labels", 5: "vocabulary"}[found.type]
        return AssociatedFile(found.name.decode(), found.description.decode(), kind)  # type: ignore[arg-type]

    def tensor_of(found: Any) -> TensorMetadata:
        (unit,) = found.processUnits
        image = found.content.contentPropertiesType == schema.ContentProperties.ImageProperties
        if image:
            assert found.content.contentProperties.colorSpace == schema.ColorSpaceType.RGB
        assert unit.optionsType == schema.ProcessUnitOptions.NormalizationOptions
        return TensorMetadata(
            found.name.decode(), found.description.decode(), "image" if image else "feature",
            minimum=found.stats.min[0], maximum=found.stats.max[0], mean=unit.options.mean[0], std=unit.options.std[0],
            files=tuple(file_of(entry) for entry in found.associatedFiles or ()),
        )  # fmt: skip

    assert tuple(tensor_of(tensor) for tensor in subgraph.inputTensorMetadata) == metadata.inputs
    assert tuple(tensor_of(tensor) for tensor in subgraph.outputTensorMetadata) == metadata.outputs
    if metadata.vocabulary is not None:
        (unit,) = subgraph.inputProcessUnits
        assert unit.optionsType == schema.ProcessUnitOptions.BertTokenizerOptions
        assert file_of(unit.options.vocabFile[0]) == metadata.vocabulary
    assert build(metadata) == packed


# TFLite files


@pytest.mark.parametrize("io_dtype", ["float32", "uint8"])
@pytest.mark.parametrize("client", ["mediapipe", "task library"])
def test_image_clients_give_our_labels_and_scores_for_int8_files(
    client: str, io_dtype: IoType, image_int8: Any, digits: PreparedData, with_metadata: Any, tmp_path: Path
) -> None:
    file = with_metadata(image_int8(io_dtype), digits)
    same(image_client(client, file, digits, tmp_path), our_scores(file, digits))


@pytest.mark.parametrize("client", ["mediapipe", "task library"])
def test_image_clients_give_our_labels_and_scores_for_float_files(
    client: str, image_tflite: ExportedFile, digits: PreparedData, with_metadata: Any, tmp_path: Path
) -> None:
    file = with_metadata(image_tflite, digits)
    same(image_client(client, file, digits, tmp_path), our_scores(file, digits))


def image_client(client: str, file: ExportedFile, data: PreparedData, folder: Path) -> list[dict[str, float]]:
    pixels = [np.ascontiguousarray(data.inputs[row]) for row in sample_rows(data)]
    if client == "task library":
        if libusb() is None:
            pytest.skip("tflite-support needs libusb-1.0: pip install libusb-package")
        for number, image in enumerate(pixels):
            Image.fromarray(image).save(folder / f"{number}.png")
        return ask("image", file.file, [str(folder / f"{number}.png") for number in range(len(pixels))])
    import mediapipe
    from mediapipe.tasks.python import BaseOptions, vision

    base = BaseOptions(model_asset_path=str(file.file))
    with vision.ImageClassifier.create_from_options(vision.ImageClassifierOptions(base_options=base)) as classifier:
        results = [
            classifier.classify(mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=image)).classifications[0]
            for image in pixels
        ]
    return [{entry.category_name: entry.score for entry in result.categories} for result in results]


def test_mediapipe_takes_no_int8_images_and_the_files_notes_say_so(
    image_int8: Any, digits: PreparedData, with_metadata: Any, tmp_path: Path
) -> None:
    file = with_metadata(image_int8("int8"), digits)
    with pytest.raises(ValueError, match="INT8"):
        image_client("mediapipe", file, digits, tmp_path)
    assert any("no int8" in note for note in file.notes)
    assert not any("no int8" in note for note in with_metadata(image_int8("uint8"), digits).notes)


@pytest.mark.parametrize("kind", ["text_tflite", "text_int8"])
def test_mediapipe_reads_texts_as_we_do(
    kind: str, reviews: PreparedData, with_metadata: Any, request: pytest.FixtureRequest
) -> None:
    from mediapipe.tasks.python import BaseOptions, text

    file = with_metadata(request.getfixturevalue(kind), reviews)
    base = BaseOptions(model_asset_path=str(file.file))
    with text.TextClassifier.create_from_options(text.TextClassifierOptions(base_options=base)) as classifier:
        results = [classifier.classify(sentence).classifications[0] for sentence in plain_texts(reviews)]
    theirs = [{entry.category_name: entry.score for entry in result.categories} for result in results]
    same(theirs, our_scores(file, reviews))


@needs_libusb
def test_the_task_library_reads_texts_as_we_do(
    text_tflite: ExportedFile, reviews: PreparedData, with_metadata: Any
) -> None:
    file = with_metadata(text_tflite, reviews)
    same(ask("text", file.file, plain_texts(reviews)), our_scores(file, reviews))


@needs_libusb
def test_the_displayer_shows_a_text_files_tensors_vocabulary_and_labels(
    text_tflite: ExportedFile, reviews: PreparedData, with_metadata: Any
) -> None:
    shown = ask("metadata", with_metadata(text_tflite, reviews).file)
    assert shown["files"] == ["labels.txt", "vocab.txt"]
    metadata = shown["metadata"]
    (subgraph,) = metadata["subgraph_metadata"]
    names = {"input_ids": "ids", "attention_mask": "mask", "token_type_ids": "segment_ids"}
    assert [tensor["name"] for tensor in subgraph["input_tensor_metadata"]] == [
        names[spec.name] for spec in opened(text_tflite).inputs
    ]
    (unit,) = subgraph["input_process_units"]
    assert unit["options_type"] == "BertTokenizerOptions"
    assert [file["name"] for file in unit["options"]["vocab_file"]] == ["vocab.txt"]
    (scores,) = subgraph["output_tensor_metadata"]
    assert [(file["name"], file["type"]) for file in scores["associated_files"]] == [
        ("labels.txt", "TENSOR_AXIS_LABELS")
    ]
    assert (metadata["name"], metadata["description"], metadata["min_parser_version"]) == (
        "a name", "What it does.", "1.1.0",
    )  # fmt: skip


@needs_libusb
def test_the_displayer_shows_that_pixels_go_in_as_they_are(
    image_tflite: ExportedFile, digits: PreparedData, with_metadata: Any
) -> None:
    shown = ask("metadata", with_metadata(image_tflite, digits).file)
    (image,) = shown["metadata"]["subgraph_metadata"][0]["input_tensor_metadata"]
    (unit,) = image["process_units"]
    assert image["content"]["content_properties"] == {"color_space": "RGB"}
    assert unit["options"] == {"mean": [0.0], "std": [1.0]}
    assert image["stats"] == {"max": [255.0], "min": [0.0]}


def test_the_zip_behind_the_model_is_plain_and_bears_no_date(
    text_tflite: ExportedFile, reviews: PreparedData, with_metadata: Any
) -> None:
    with zipfile.ZipFile(io.BytesIO(with_metadata(text_tflite, reviews).file.read_bytes())) as archive:
        assert archive.testzip() is None
        assert {(entry.compress_type, entry.date_time) for entry in archive.infolist()} == {
            (zipfile.ZIP_STORED, (1980, 1, 1, 0, 0, 0))
        }
        assert archive.read("labels.txt").decode().splitlines() == list(reviews.labels)
        pieces = archive.read("vocab.txt").decode().split("\n")
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(reviews.tokenizer_folder)
    assert len(pieces) - 1 == len(tokenizer)
    assert [pieces[number] for number in tokenizer("A truly good film")["input_ids"]] == [
        "[CLS]", "a", "truly", "good", "film", "[SEP]",
    ]  # fmt: skip


# Both formats


@pytest.mark.parametrize("name", ["image_onnx", "image_tflite", "text_onnx", "text_tflite"])
def test_metadata_changes_no_score_and_repeats_byte_for_byte(
    name: str,
    digits: PreparedData,
    reviews: PreparedData,
    with_metadata: Any,
    context: RunContext,
    request: pytest.FixtureRequest,
) -> None:
    file: ExportedFile = request.getfixturevalue(name)
    data = digits if name.startswith("image") else reviews
    labelled = with_metadata(file, data)
    assert our_scores(labelled, data) == our_scores(file, data)
    assert labelled.bytes == len(labelled.file.read_bytes())
    assert labelled.sha256 == file_sha256(labelled.file) != file.sha256
    again = add_metadata(labelled, data, "a name", "What it does.", context)
    assert again.file.read_bytes() == labelled.file.read_bytes()


def test_onnx_properties_tell_labels_and_preprocessing_and_keep_what_was_there(
    image_onnx: ExportedFile, digits: PreparedData, with_metadata: Any, tmp_path: Path
) -> None:
    import onnx
    import onnxruntime

    model = onnx.load(str(image_onnx.file))
    onnx.helper.set_model_props(model, {"edgepress.scale.scores": "0.00390625", "edgepress.zero_point.scores": "-128"})
    onnx.save(model, tmp_path / "quantized.onnx")
    file = replace(
        image_onnx, fingerprint="quantized", file=tmp_path / "quantized.onnx", scheme="int8-static", io_dtype="int8"
    )
    session = onnxruntime.InferenceSession(with_metadata(file, digits).file)
    found = session.get_modelmeta().custom_metadata_map
    assert json.loads(found["edgepress.labels"]) == list(digits.labels)
    preprocess = json.loads(found["edgepress.preprocess"])["image"]
    assert (preprocess["layout"], preprocess["width"], preprocess["range"]) == ("NCHW", 32, [0, 255])
    assert (found["edgepress.name"], found["edgepress.scheme"], found["edgepress.io_dtype"]) == (
        "a name", "int8-static", "int8",
    )  # fmt: skip
    assert (found["edgepress.scale.scores"], found["edgepress.zero_point.scores"]) == ("0.00390625", "-128")


def test_the_calibration_manifest_goes_with_the_file(
    image_onnx: ExportedFile, digits: PreparedData, with_metadata: Any, tmp_path: Path
) -> None:
    manifest = tmp_path / "calibration.json"
    manifest.write_text('{"seed": 0}')
    file = with_metadata(replace(image_onnx, fingerprint="calibrated", calibration_manifest=manifest), digits)
    assert file.calibration_manifest.parent == file.file.parent
    assert file.calibration_manifest.read_text() == '{"seed": 0}'


def test_a_label_of_two_lines_is_refused(image_tflite: ExportedFile, digits: PreparedData, context: RunContext) -> None:
    data = replace(digits, labels=("zero\nnought", *digits.labels[1:]))
    with pytest.raises(InputError, match=r"zero\\nnought"):
        add_metadata(image_tflite, data, "a name", "What it does.", context)


@pytest.mark.parametrize(
    ("change", "attached", "note"),
    [
        ({}, True, "accents"),
        ({"normalizer": {"type": "BertNormalizer", "lowercase": False}}, True, "cased"),
        ({"normalizer": {"type": "BertNormalizer", "lowercase": True, "strip_accents": False}}, True, None),
        ({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}, False, "WordPiece"),
    ],
    ids=["uncased", "cased", "uncased with accents", "no word pieces"],
)  # fmt: skip
def test_the_notes_tell_where_clients_tokenize_otherwise(
    change: dict[str, Any],
    attached: bool,
    note: str | None,
    text_tflite: ExportedFile,
    reviews: PreparedData,
    context: RunContext,
    tmp_path: Path,
) -> None:
    assert reviews.tokenizer_folder is not None
    settings = json.loads((reviews.tokenizer_folder / "tokenizer.json").read_text(encoding="utf-8")) | change
    (tmp_path / "tokenizer.json").write_text(json.dumps(settings), encoding="utf-8")
    file = add_metadata(text_tflite, replace(reviews, tokenizer_folder=tmp_path), "a name", "", context)
    assert [note in found for found in file.notes] == ([True] if note else [])
    with zipfile.ZipFile(file.file) as archive:
        assert ("vocab.txt" in archive.namelist()) == attached
