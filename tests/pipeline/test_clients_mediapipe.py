"""Bundles' files in MediaPipe Tasks: the labels of our own validation, and what MediaPipe itself does to pixels and
texts."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.clients.mediapipe import (
    agreement_in_mediapipe,
    client_samples,
    resized_in_mediapipe,
    scores_in_mediapipe,
    token_ids_in_mediapipe,
)
from pipeline.context import RunContext
from pipeline.data.images import resized
from pipeline.data.texts import load_tokenizer
from pipeline.errors import InputError
from pipeline.export.metadata import add_metadata
from pipeline.golden_tokens import HARD_TEXTS
from pipeline.progress import Meter
from pipeline.quantize.tflite import quantize_tflite
from pipeline.results import Calibration, ExportedFile, PreparedData
from pipeline.validate import score_file
from targets.errors import TargetError
from targets.profile import IoType, Quantization, Scheme
from targets.runtimes.base import RuntimeOptions

pytest.importorskip("mediapipe", reason="mediapipe is not installed, or lacks libEGL and libGLESv2")


def judged(file: ExportedFile, data: PreparedData) -> tuple[np.ndarray, np.ndarray]:
    """The test rows, and the scores of edgepress's own validation."""
    rows = data.rows("test")
    return rows, score_file(file, data, rows, RuntimeOptions("litert"), Meter("", "", 0))


def shipped(file: ExportedFile, data: PreparedData, context: RunContext) -> ExportedFile:
    return add_metadata(file, data, "a name", "What it does.", context)


@pytest.mark.parametrize(
    ("scheme", "io_dtype"),
    [("float32", "float32"), ("int8-dynamic", "float32"), ("int8-static", "float32"), ("int8-static", "uint8")],
)
def test_images_get_the_labels_of_our_validation(
    scheme: Scheme,
    io_dtype: IoType,
    image_tflite: ExportedFile,
    image_calibration: Calibration,
    digits: PreparedData,
    session_context: RunContext,
) -> None:
    file = image_tflite
    if scheme != "float32":
        quantization = Quantization(scheme=scheme, io_dtype=io_dtype)
        calibration = image_calibration if scheme == "int8-static" else None
        file = quantize_tflite(file, digits, quantization, calibration, session_context)
    file = shipped(file, digits, session_context)
    rows, scores = judged(file, digits)
    found = agreement_in_mediapipe(file.file, "image-classification", client_samples(digits, rows), scores)
    assert (found.agreed, found.samples, found.refused) == (len(rows), len(rows), None)
    assert found.share == 1
    assert found.client.startswith("MediaPipe ")
    other = agreement_in_mediapipe(file.file, "image-classification", client_samples(digits, rows), 1 - scores)
    assert other.agreed < len(rows) / 2


@pytest.mark.parametrize("scheme", ["float32", "int8-dynamic", "int8-static"])
def test_texts_get_the_labels_of_our_validation(
    scheme: Scheme,
    text_tflite: ExportedFile,
    text_calibration: Calibration,
    reviews: PreparedData,
    session_context: RunContext,
) -> None:
    file = text_tflite
    if scheme != "float32":
        calibration = text_calibration if scheme == "int8-static" else None
        file = quantize_tflite(file, reviews, Quantization(scheme=scheme), calibration, session_context)
    file = shipped(file, reviews, session_context)
    rows, scores = judged(file, reviews)
    found = agreement_in_mediapipe(file.file, "text-classification", client_samples(reviews, rows), scores)
    assert (found.agreed, found.samples, found.refused) == (len(rows), len(rows), None)


def test_a_file_that_it_does_not_take_is_told_with_the_reason(
    image_tflite: ExportedFile,
    image_calibration: Calibration,
    digits: PreparedData,
    session_context: RunContext,
    tmp_path: Path,
) -> None:
    signed = Quantization(scheme="int8-static", io_dtype="int8")
    file = quantize_tflite(image_tflite, digits, signed, image_calibration, session_context)
    rows, scores = judged(file, digits)
    images = client_samples(digits, rows)
    found = agreement_in_mediapipe(shipped(file, digits, session_context).file, "image-classification", images, scores)
    assert found.refused is not None
    assert "INT8" in found.refused
    assert found.share is None
    with pytest.raises(TargetError, match=r"refuses it: .*NormalizationOptions"):
        scores_in_mediapipe(image_tflite.file, "image-classification", images, 10)  # without metadata
    with pytest.raises(InputError, match="2 samples and 60 rows of scores"):
        agreement_in_mediapipe(image_tflite.file, "image-classification", images[:2], scores)


def test_of_equal_scores_any_label_is_right(
    image_tflite: ExportedFile, digits: PreparedData, session_context: RunContext
) -> None:
    file = shipped(image_tflite, digits, session_context)
    rows, scores = judged(file, digits)
    images = client_samples(digits, rows)
    assert agreement_in_mediapipe(file.file, "image-classification", images, np.ones_like(scores)).share == 1


# What MediaPipe makes of pixels


def test_pixels_at_the_models_size_go_in_as_they_are(digits: PreparedData, tmp_path: Path) -> None:
    image = np.ascontiguousarray(digits.inputs[0])
    np.testing.assert_array_equal(resized_in_mediapipe(image, 32, 32, tmp_path), image)


def test_it_reads_at_the_corner_of_a_pixel_where_training_reads_at_its_centre(tmp_path: Path) -> None:
    edge = np.zeros((8, 8, 3), np.uint8)
    edge[:, 4:] = 200
    ours = resized(Image.fromarray(edge), 16)[0, :, 0].tolist()
    assert ours == [0] * 7 + [50, 150] + [200] * 7  # at 3.25 and 3.75
    theirs = resized_in_mediapipe(edge, 16, 16, tmp_path)[0, :, 0].tolist()
    assert theirs == [0] * 7 + [100] + [200] * 8  # at 3.5 and 4


def test_where_it_makes_pictures_smaller_it_does_not_average(tmp_path: Path) -> None:
    columns = np.zeros((256, 256, 3), np.uint8)
    columns[:, ::8] = 255  # one white column in eight, which it alone reads
    ours = resized(Image.fromarray(columns), 32)
    assert np.all(ours[:, 1:-1] == 32)  # an eighth of 255
    assert np.all(resized_in_mediapipe(columns, 32, 32, tmp_path) == 255)


def test_as_in_training_the_aspect_is_not_kept(tmp_path: Path) -> None:
    wide = np.full((4, 8, 3), 100, np.uint8)
    assert np.all(resized_in_mediapipe(wide, 8, 8, tmp_path) == 100)  # no border


# What MediaPipe makes of texts


@pytest.fixture(scope="module")
def ids(reviews: PreparedData, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Of texts, the ids of MediaPipe and of tokenizers, as a model of 128 pieces gets them."""
    assert reviews.tokenizer_folder is not None
    tokenizer = load_tokenizer(reviews.tokenizer_folder).backend_tokenizer
    vocabulary = (reviews.tokenizer_folder / "vocab.txt").read_text(encoding="utf-8")
    folder, length = tmp_path_factory.mktemp("probe"), 128

    def compare(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        theirs = token_ids_in_mediapipe(vocabulary, texts, length, folder)
        ours = np.zeros_like(theirs)
        tokenizer.enable_truncation(max_length=length)
        for row, encoded in enumerate(tokenizer.encode_batch(texts)):
            ours[row, : len(encoded.ids)] = encoded.ids
        tokenizer.no_truncation()
        return theirs, ours

    return compare


# It makes ASCII letters lower-case and no others, leaves accents and characters that can't be seen where they are,
# splits words at ASCII's white space alone, counts a word's bytes rather than its letters, ends at NUL.
OTHERWISE = {
    "ASCII control characters", "accents", "accented capitals", "accents that combine",
    "letters that are no accented ones", "Turkish i", "Greek with final sigma", "Cyrillic", "Vietnamese",
    "Hebrew with points", "Arabic", "Hindi", "Japanese", "Korean", "no-break and other spaces",
    "characters of no width", "writing directions", "replacement and private use", "C1 control characters",
    "100 letters that are more bytes", "special tokens as text",
}  # fmt: skip


def test_texts_get_the_same_ids_but_for_those_that_the_docs_name(ids: Any) -> None:
    theirs, ours = ids(list(HARD_TEXTS.values()))
    assert {name for name, a, b in zip(HARD_TEXTS, theirs, ours, strict=True) if not np.array_equal(a, b)} == OTHERWISE


def test_texts_that_an_app_normalises_first_get_the_same_ids(ids: Any, reviews: PreparedData) -> None:
    assert reviews.tokenizer_folder is not None
    normalizer = load_tokenizer(reviews.tokenizer_folder).backend_tokenizer.normalizer
    theirs, _ = ids([normalizer.normalize_str(text) for text in HARD_TEXTS.values()])
    _, ours = ids(list(HARD_TEXTS.values()))
    other = [name for name, a, b in zip(HARD_TEXTS, theirs, ours, strict=True) if not np.array_equal(a, b)]
    assert other == ["special tokens as text"]
