"""The examples of a bundle mean what the bundle says: the same pixels, the same ids, the same tensors."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.app.check import check_app, vocabulary_of
from pipeline.app.model import read_model
from pipeline.app.typescript import compiled, installed, run_preprocessing
from pipeline.app.write import rendered, write_app
from pipeline.errors import USER_ERRORS, InputError
from pipeline.results import PreparedData
from targets.runtimes.base import TensorSpec
from tests.pipeline.app_bundle import app_bundle, ids_of, text_specs

NHWC, NCHW = (1, 32, 32, 3), (1, 3, 32, 32)
FLOATS = {
    "model.int8-static.onnx": (TensorSpec("image", NCHW, "float32"),),
    "model.int8-static.tflite": (TensorSpec("image", NHWC, "float32"),),
}
TEXTS = {
    "model.int8-dynamic.onnx": text_specs(24, "int64"),
    "model.int8-dynamic.tflite": text_specs(24, "int32"),
}

SAME_ORDER = {(28, 28), (1, 1), (31, 97), (32, 640), (200, 300)}

HARD = [
    "",
    " ",
    "\t\n",
    "Café, naïve façade: ÀÉÎÕÜ Ångström",
    "I İ ı ﬁ ß ẞ Σίσυφος ΣΊΣΥΦΟΣ",
    "e\u0301 o\u0308\u0304 a\u20dd",
    "😀 great 👍🏽 family 👨‍👩‍👧‍👦 flag 🇫🇷",
    "我喜欢这部电影 very 好 much",
    "한국어 각각 \u1100\u1161\u11a8",
    "ｶﾞｷﾞ が か\u3099",
    "नमस्ते ภาษาไทย עִבְרִית اَلْعَرَبِيَّةُ",
    "a\x00b\x01c\x1fd\x7fe\x85f\ufffdg",
    "zero\u200bwidth\u200djoin\u00adsoft\ufeffbom",
    "a\u00a0b\u2003c\u3000d\u2028e\u2029f\u1680g",
    "don't stop... believin'!!! (what?) {x}~`|^$+=<>",
    "“curly” ‘quotes’ — dash – … «»¿¡",
    "a" * 100,
    "a" * 101,
    "é" * 100,
    "é" * 101,
    "x" * 5000,
    "word " * 300,
    "unbelievablyextraordinarily",
    "[CLS] hidden [SEP] and [MASK] [UNK] [PAD]",
    "[SEP][SEP]",
    "[sep] [ SEP ] [[SEP]]",
    "3.14159 1,000,000 $5.99 50%",
    "http://example.com/a_b?c=d&e=f#g me@mail.org",
    "𝕳𝖊𝖑𝖑𝖔 𝔘𝔫𝔦 𠀀𠜎 𫠠𬺰",
    "\ud7ff\ue000\uf8ff \U000f0000 \u0378 \U0001fae0",
    "ǅ ǆ Ǆ ŉ ΐ ﬃ",
]


@pytest.fixture
def tools() -> None:
    """Skips where the compiler and the packages are not installed."""
    try:
        installed()
    except USER_ERRORS as error:
        pytest.skip(str(error))


def model_of(folder: Path) -> Any:
    return read_model(folder, "tiny", "Google Pixel 8")


@pytest.mark.usefixtures("tools")
@pytest.mark.parametrize("delegate", ["xnnpack", "coreml"])
def test_typescript_of_pictures_compiles_and_gives_the_golden_tensors(
    digits: PreparedData, tmp_path: Path, delegate: str
) -> None:
    checks = check_app(app_bundle(tmp_path / "bundle", digits, FLOATS, delegate=delegate))
    assert [check.file for check in checks] == list(FLOATS)
    assert [(check.samples, check.values, check.different) for check in checks] == [(3, 3 * 3072, 0)] * 2


@pytest.mark.usefixtures("tools")
@pytest.mark.parametrize(
    ("dtype", "scale", "zero_point"),
    [("uint8", 1.0, 0), ("int8", 1.0, -128), ("uint8", 2.0, 3), ("int8", 0.7, -60), ("uint8", 0.0078125, 0)],
)
def test_typescript_of_8_bit_inputs_rounds_as_the_bundle(
    digits: PreparedData, tmp_path: Path, dtype: str, scale: float, zero_point: int
) -> None:
    files = {"model.int8-static-io8.tflite": (TensorSpec("image", NHWC, dtype, scale, zero_point),)}
    scores = TensorSpec("scores", (1, 10), "uint8", 1 / 256, 0)
    (check,) = check_app(app_bundle(tmp_path / "bundle", digits, files, scores=scores))
    assert check.different == 0


@pytest.mark.usefixtures("tools")
def test_typescript_resizes_by_the_filter_of_training(digits: PreparedData, tmp_path: Path) -> None:
    folder = app_bundle(tmp_path / "bundle", digits, FLOATS)
    random = np.random.default_rng(0)
    pictures = [
        random.integers(0, 256, (height, width, channels), np.uint8)
        for height, width, channels in [(28, 28, 3), (1, 1, 3), (31, 97, 4), (480, 33, 3), (32, 640, 3), (200, 300, 4)]
    ]
    with compiled(folder) as javascript:
        found = run_preprocessing(javascript, model_of(folder), pictures, None)
    for picture, made in zip(pictures, found, strict=True):
        wanted = Image.fromarray(picture[:, :, :3]).resize((32, 32), Image.Resampling.BILINEAR)
        far = np.abs(np.array(made["pixels"]).reshape(32, 32, 3) - np.asarray(wanted).astype(int))
        # Which axis Pillow makes smaller first depends on the sizes, and each rounds to whole levels.
        assert far.max() <= (0 if picture.shape[:2] in SAME_ORDER else 1)


@pytest.mark.usefixtures("tools")
def test_typescript_of_texts_compiles_and_gives_the_golden_inputs(reviews: PreparedData, tmp_path: Path) -> None:
    checks = check_app(app_bundle(tmp_path / "bundle", reviews, TEXTS))
    assert [(check.samples, check.values, check.different) for check in checks] == [(3, 3 * 3 * 24, 0)] * 2


@pytest.mark.usefixtures("tools")
@pytest.mark.parametrize("lowercase", [True, False])
def test_typescript_gives_the_ids_of_training_for_hard_texts(
    reviews: PreparedData, tmp_path: Path, lowercase: bool
) -> None:
    if not lowercase:
        reviews = cased(reviews, tmp_path / "cased")
    folder = app_bundle(tmp_path / "bundle", reviews, TEXTS)
    model = model_of(folder)
    with compiled(folder) as javascript:
        found = run_preprocessing(javascript, model, HARD, vocabulary_of(folder, model))
    for text, made, ids in zip(HARD, found, ids_of(folder, HARD, 24), strict=True):
        assert made["ids"] == ids, repr(text)


def cased(data: PreparedData, folder: Path) -> PreparedData:
    """`data` with a tokenizer that keeps capitals and accents."""
    assert data.tokenizer_folder is not None
    folder.mkdir()
    for part in data.tokenizer_folder.iterdir():
        (folder / part.name).write_bytes(part.read_bytes())
    content = json.loads((folder / "tokenizer.json").read_text())
    content["normalizer"]["lowercase"] = False
    (folder / "tokenizer.json").write_text(json.dumps(content))
    return dataclasses.replace(data, tokenizer_folder=folder)


@pytest.mark.usefixtures("tools")
def test_a_wrong_type_does_not_compile(digits: PreparedData, tmp_path: Path) -> None:
    """The packages' own types are seen: were they unknown, anything would pass."""
    folder = app_bundle(tmp_path / "bundle", digits, FLOATS)
    for name, right, wrong in (
        ("onnxRuntimeClassifier.ts", "intraOpNumThreads: 2", 'intraOpNumThreads: "2"'),
        (
            "liteRtClassifier.ts",
            "this.model.run(inputs.map((input) => input.buffer as ArrayBuffer))",
            "this.model.run(2)",
        ),
    ):
        file = folder / "app/react-native" / name
        text = file.read_text()
        assert right in text
        file.write_text(text.replace(right, wrong))
        with pytest.raises(InputError, match=rf"does not compile: .*{name}"), compiled(folder):
            pass
        file.write_text(text)


def test_the_examples_say_what_the_bundle_says(digits: PreparedData, tmp_path: Path) -> None:
    folder = app_bundle(tmp_path / "bundle", digits, FLOATS)
    files = rendered(model_of(folder))
    assert set(files) == {
        "README.md",
        *(f"{place}.{end}" for folder, end in (("android", "kt"), ("ios", "swift")) for place in (
            f"{folder}/Preprocessing", f"{folder}/LiteRtClassifier", f"{folder}/OnnxRuntimeClassifier")),
        "react-native/preprocessing.ts", "react-native/liteRtClassifier.ts", "react-native/onnxRuntimeClassifier.ts",
    }  # fmt: skip
    for name, text in files.items():
        assert (folder / "app" / name).read_text() == text
        if "LiteRt" in name or "liteRt" in name:
            assert "model.int8-static.tflite" in text
            assert "2" in text
        if "reprocessing" in name:
            assert all(f'"{label}"' in text for label in digits.labels)
    assert "float32 [1, 3, 32, 32]" in files["README.md"]
    assert "parsed by tree-sitter-swift, not compiled" in files["README.md"]


def test_a_bundle_of_one_runtime_has_its_examples_alone(digits: PreparedData, tmp_path: Path) -> None:
    folder = app_bundle(tmp_path / "bundle", digits, {"model.float32.onnx": FLOATS["model.int8-static.onnx"]})
    names = {path.name for path in (folder / "app").rglob("*.*")}
    assert "OnnxRuntimeClassifier.kt" in names
    assert not [name for name in names if "iteRt" in name]


def test_the_same_bundle_gives_the_same_examples(reviews: PreparedData, tmp_path: Path) -> None:
    first, second = (app_bundle(tmp_path / name, reviews, TEXTS) for name in ("a", "b"))
    for file in (first / "app").rglob("*.*"):
        assert file.read_bytes() == (second / file.relative_to(first)).read_bytes()
        assert str(tmp_path) not in file.read_text()


def test_a_tokenizer_that_can_not_be_repeated_is_told(reviews: PreparedData, tmp_path: Path) -> None:
    folder = app_bundle(tmp_path / "bundle", reviews, TEXTS)
    content = json.loads((folder / "tokenizer.json").read_text())
    content["pre_tokenizer"] = {"type": "Whitespace"}
    (folder / "tokenizer.json").write_text(json.dumps(content))
    write_app(folder, "tiny", "Google Pixel 8")
    readme = (folder / "app/README.md").read_text()
    assert "its pre-tokenizer is Whitespace, not BertPreTokenizer" in readme
    for file in (folder / "app").rglob("*.*"):
        assert "class WordPiece" not in file.read_text()


def test_other_preprocessing_gets_no_code_that_does_it_wrong(digits: PreparedData, tmp_path: Path) -> None:
    folder = app_bundle(tmp_path / "bundle", digits, FLOATS)
    file = folder / "preprocess.json"
    file.write_text(file.read_text().replace('"keep_aspect": false', '"keep_aspect": true'))
    with pytest.raises(ValueError, match=r"resize is .*'keep_aspect': True"):
        write_app(folder, "tiny", "Google Pixel 8")


def test_a_bundle_without_examples_is_refused(digits: PreparedData, tmp_path: Path) -> None:
    folder = app_bundle(tmp_path / "bundle", digits, FLOATS)
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["app"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="holds no app/; make the bundle again"):
        check_app(folder)
