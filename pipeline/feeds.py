"""One prepared sample as a model file takes it, and the description from which an app does the same."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pipeline.errors import InputError
from pipeline.results import PreparedData
from targets.runtimes.base import TensorSpec

Layout = Literal["NHWC", "NCHW"]

PREPROCESS_SCHEMA = 1

# What part of the tokenizer's output an input takes, by what its name contains; the first match counts.
# "segment", "mask" and "ids" are the names of TFLite's task libraries.
_TEXT_ROLES = (
    ("token_type_ids", "token_type_ids"),
    ("segment", "token_type_ids"),
    ("mask", "attention_mask"),
    ("ids", "input_ids"),
)


def feeds(specs: tuple[TensorSpec, ...], data: PreparedData, row: int) -> dict[str, np.ndarray]:
    """Sample `row` for the inputs `specs` of a model file: arrays by input name, each in its spec's shape and
    dtype (batch of one).

    Images: RGB pixels 0..255 in the spec's layout, through its quantization where it has one. Texts: cut to
    the spec's length keeping the last token (the separator), or padded. Raises InputError for inputs that the
    data can't fill.
    """
    if data.task == "image-classification":
        spec = _only_image(specs)
        pixels = _image_for(spec, data.inputs[row])
        return {spec.name: _stored(spec, pixels)}
    length = int(data.lengths[row])
    tokens = data.inputs[row, :length]
    pad = special_ids(data)["pad"][1]
    return {spec.name: _text_for(spec, tokens, pad) for spec in specs}


def preprocess_settings(specs: tuple[TensorSpec, ...], data: PreparedData) -> dict[str, Any]:
    """The bundle's preprocess.json for one model file with inputs `specs`: how an app makes its input.

    Images (key `image`): decode; turn as the EXIF orientation says; drop alpha; resize to `width` x `height`
    without keeping the aspect, with `resize.filter` (a triangle filter that widens when it makes smaller,
    Pillow's BILINEAR: `antialias`); order the channels as `colour` and the axes as `layout`. `range` holds
    the pixel values; the graph normalises. With `quantization`, the tensor holds
    round(pixel / scale) + zero_point, to nearest even and cut to the dtype's range; else the pixel itself.

    Texts (key `text`): tokenize with `tokenizer` (all of it) or with `vocab` and `normalizer` (word pieces);
    put `special_tokens.cls` before and `special_tokens.sep` behind; if there are then more than
    `sequence_length`, keep the first sequence_length - 1 and the last one; fill up with `special_tokens.pad`
    on the right. Each of `inputs` takes, by its `content`: input_ids those ids; attention_mask 1 for each of
    them and 0 for padding; token_type_ids zeros.
    """
    head: dict[str, Any] = {"schema": PREPROCESS_SCHEMA, "task": data.task}
    if data.task == "image-classification":
        return {**head, "image": _image_settings(_only_image(specs), data)}
    return {**head, "text": _text_settings(specs, data)}


def _only_image(specs: tuple[TensorSpec, ...]) -> TensorSpec:
    if len(specs) != 1:
        names = ", ".join(spec.name for spec in specs)
        raise InputError(f"the model has {len(specs)} inputs ({names}); an image classifier has one")
    return specs[0]


def _layout(spec: TensorSpec, side: int) -> Layout:
    if spec.shape == (1, side, side, 3):
        return "NHWC"
    if spec.shape == (1, 3, side, side):
        return "NCHW"
    raise InputError(
        f"input '{spec.name}' has shape {list(spec.shape)}; the data's images need [1, {side}, {side}, 3] "
        f"or [1, 3, {side}, {side}]"
    )


def _image_for(spec: TensorSpec, pixels: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3] as a batch of one in the spec's layout."""
    if _layout(spec, pixels.shape[0]) == "NCHW":
        pixels = pixels.transpose(2, 0, 1)
    return np.ascontiguousarray(pixels[None])


def _stored(spec: TensorSpec, pixels: np.ndarray) -> np.ndarray:
    if spec.scale is None and spec.dtype == "int8":
        raise InputError(f"input '{spec.name}' is int8 without a scale, so pixels 0..255 can't be put into it")
    return spec.quantize(pixels.astype(np.float32))


def text_role(name: str) -> str:
    """What part of the tokenizer's output the input called `name` takes. Raises InputError if it says none."""
    for part, role in _TEXT_ROLES:
        if part in name.lower():
            return role
    raise InputError(
        f"input '{name}' is not known; a text classifier's inputs are named "
        "input_ids, attention_mask and token_type_ids"
    )


def _length(spec: TensorSpec) -> int:
    if len(spec.shape) != 2 or spec.shape[0] != 1 or spec.shape[1] < 2:
        raise InputError(f"input '{spec.name}' has shape {list(spec.shape)}; expected [1, tokens], fixed")
    return spec.shape[1]


def _text_for(spec: TensorSpec, tokens: np.ndarray, pad: int) -> np.ndarray:
    role, length = text_role(spec.name), _length(spec)
    if len(tokens) > length:
        tokens = np.append(tokens[: length - 1], tokens[-1])
    values = np.full((1, length), pad if role == "input_ids" else 0, dtype=spec.dtype)
    if role == "input_ids":
        values[0, : len(tokens)] = tokens
    elif role == "attention_mask":
        values[0, : len(tokens)] = 1
    return values


def _image_settings(spec: TensorSpec, data: PreparedData) -> dict[str, Any]:
    side = int(data.inputs.shape[1])
    quantization = None if spec.scale is None else {"scale": spec.scale, "zero_point": spec.zero_point}
    return {
        "input": spec.name,
        "shape": list(spec.shape),
        "dtype": spec.dtype,
        "layout": _layout(spec, side),
        "width": side,
        "height": side,
        "colour": "RGB",
        "orientation": "exif",
        "alpha": "dropped",
        "resize": {"filter": "bilinear", "antialias": True, "keep_aspect": False},
        "range": [0, 255],
        "normalisation": "in the graph",
        "quantization": quantization,
    }


def _text_settings(specs: tuple[TensorSpec, ...], data: PreparedData) -> dict[str, Any]:
    tokenizer = _tokenizer(data)
    lengths = {_length(spec) for spec in specs}
    if len(lengths) != 1:
        raise InputError(f"the model's inputs have different lengths: {sorted(lengths)}; expected one")
    return {
        "tokenizer": "tokenizer.json",
        "vocab": "vocab.txt" if tokenizer["model"]["type"] == "WordPiece" else None,
        "model": tokenizer["model"]["type"],
        "normalizer": tokenizer.get("normalizer"),
        "lowercase": bool((tokenizer.get("normalizer") or {}).get("lowercase", False)),
        "sequence_length": lengths.pop(),
        "truncation": "the first tokens and the last one",
        "padding": "right",
        "special_tokens": {name: {"token": token, "id": number} for name, (token, number) in special_ids(data).items()},
        "inputs": [
            {"name": spec.name, "content": text_role(spec.name), "shape": list(spec.shape), "dtype": spec.dtype}
            for spec in specs
        ],
    }


def special_ids(data: PreparedData) -> dict[str, tuple[str, int]]:
    """Token and id of the tokenizer's pad, unk, cls, sep and mask, those that it has."""
    assert data.tokenizer_folder is not None, "only texts have a tokenizer"
    return _special_ids(data.tokenizer_folder)


@lru_cache(maxsize=4)
def _special_ids(folder: Path) -> dict[str, tuple[str, int]]:
    ids = {token["content"]: token["id"] for token in _read_json(folder / "tokenizer.json")["added_tokens"]}
    named = _read_json(folder / "special_tokens_map.json")
    found = {}
    for name in ("pad", "unk", "cls", "sep", "mask"):
        token = named.get(f"{name}_token")
        text = str(token["content"] if isinstance(token, dict) else token)
        if text in ids:
            found[name] = (text, int(ids[text]))
    if "pad" not in found:
        raise InputError(f"{folder}: the tokenizer has no padding token")
    return found


def vocabulary_size(data: PreparedData) -> int:
    """One more than the largest id that the tokenizer gives."""
    tokenizer = _tokenizer(data)
    return max([len(tokenizer["model"]["vocab"]), *(token["id"] + 1 for token in tokenizer["added_tokens"])])


def _tokenizer(data: PreparedData) -> dict[str, Any]:
    assert data.tokenizer_folder is not None, "only texts have a tokenizer"
    return _read_json(data.tokenizer_folder / "tokenizer.json")


def _read_json(file: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return content
