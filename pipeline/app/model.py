"""What an app has to know of a bundle's models, read from the records that stand in the bundle."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.golden import GOLDEN_FILES
from pipeline.integrity import read_json

# What the templates do with a picture; a preprocess.json that says otherwise must not get code that does this.
PICTURES = {
    "alpha": "dropped", "colour": "RGB", "normalisation": "in the graph", "orientation": "exif", "range": [0, 255],
    "resize": {"antialias": True, "filter": "bilinear", "keep_aspect": False},
}  # fmt: skip
TEXTS = {"padding": "right", "truncation": "the first tokens and the last one"}

# Blocks of Chinese characters, each of which BERT's normalizer takes for a word (`tokenizers`, BertNormalizer; its
# fourth one begins at 2B920, not at Unicode's 2B820).
CHINESE = (
    (0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F),
    (0x2B920, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F),
)  # fmt: skip


@dataclass(frozen=True)
class Tensor:
    """An input or output. `content`: which part of the tokenizer's output a text's input takes; `layout`: of images."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    quantization: dict[str, Any] | None = None
    content: str | None = None
    layout: str | None = None

    @property
    def plain(self) -> bool:
        """Whether it stores a pixel as it is."""
        return self.quantization in (None, {"scale": 1.0, "zero_point": 0})

    @property
    def limits(self) -> tuple[int, int]:
        """What an integer dtype can hold."""
        held = np.iinfo(self.dtype)
        return int(held.min), int(held.max)

    @property
    def described(self) -> str:
        return f"{self.dtype} [{', '.join(map(str, self.shape))}]"


@dataclass(frozen=True)
class ModelFile:
    """One file that an app can run, and the options that ship. `inputs` in the order of the runtime's own."""

    name: str
    runtime: str
    threads: int
    delegate: str | None
    inputs: tuple[Tensor, ...]
    output: Tensor

    @property
    def variable(self) -> str:
        return {"litert": "liteRt", "onnxruntime": "onnxRuntime"}[self.runtime]

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return (*self.inputs, self.output)

    @property
    def image(self) -> Tensor:
        return self.inputs[0]


@dataclass(frozen=True)
class Picture:
    width: int
    height: int


@dataclass(frozen=True)
class WordPieces:
    """A BERT tokenizer: `special` tokens that a text may name, with their ids; `chinese`: blocks of characters that are
    words by themselves; `longest_word` in characters."""

    prefix: str
    longest_word: int
    special: tuple[tuple[str, int], ...]
    clean: bool
    chinese: tuple[tuple[int, int], ...]
    strip_accents: bool
    lowercase: bool


@dataclass(frozen=True)
class SpecialToken:
    token: str
    id: int


@dataclass(frozen=True)
class Text:
    """`pieces`: None for a tokenizer that the examples can't repeat, and then `reason` says why."""

    length: int
    vocab: str | None
    cls: SpecialToken
    sep: SpecialToken
    unk: SpecialToken
    pad: SpecialToken
    pieces: WordPieces | None
    reason: str | None


@dataclass(frozen=True)
class AppModel:
    """All that the templates say of a bundle. `recipe` and `target` by name."""

    recipe: str
    target: str
    labels: tuple[str, ...]
    files: tuple[ModelFile, ...]
    image: Picture | None
    text: Text | None

    @property
    def litert(self) -> ModelFile | None:
        return next((file for file in self.files if file.runtime == "litert"), None)

    @property
    def onnxruntime(self) -> ModelFile | None:
        return next((file for file in self.files if file.runtime == "onnxruntime"), None)

    @property
    def pieces(self) -> WordPieces | None:
        return self.text.pieces if self.text else None

    @property
    def rounds(self) -> bool:
        """Whether a file's pixels are divided and rounded."""
        return self.image is not None and any(not file.image.plain for file in self.files)


def read_model(folder: Path, recipe: str, target: str) -> AppModel:
    """The models of the bundle in `folder`: one file for each runtime that an app can use, the first by name.

    Raises ValueError if preprocess.json asks for what the templates don't do.
    """
    records = read_json(folder / "preprocess.json")
    golden = read_json(folder / GOLDEN_FILES)["files"]
    files: dict[str, ModelFile] = {}
    for name in sorted(records):
        file = _file(name, records[name], golden[name]["runtime"])
        if file.runtime in ("litert", "onnxruntime"):
            files.setdefault(file.runtime, file)
    first = records[next(iter(files.values())).name]
    labels = (folder / "labels.txt").read_text(encoding="utf-8").splitlines()
    picture, text = None, None
    if "image" in first:
        picture = Picture(first["image"]["width"], first["image"]["height"])
    else:
        text = _text(first["text"], json.loads((folder / first["text"]["tokenizer"]).read_text(encoding="utf-8")))
    return AppModel(recipe, target, tuple(labels), tuple(files.values()), picture, text)


def _file(name: str, record: dict[str, Any], runtime: dict[str, Any]) -> ModelFile:
    (output,) = record["outputs"]
    scores = Tensor(output["name"], tuple(output["shape"]), output["dtype"], output["quantization"])
    inputs: tuple[Tensor, ...]
    if "image" in record:
        image = record["image"]
        _refuse_other(name, image, PICTURES)
        shape, quantization = tuple(image["shape"]), image["quantization"]
        inputs = (Tensor(image["input"], shape, image["dtype"], quantization, layout=image["layout"]),)
    else:
        _refuse_other(name, record["text"], TEXTS)
        inputs = tuple(
            Tensor(one["name"], tuple(one["shape"]), one["dtype"], content=one["content"])
            for one in record["text"]["inputs"]
        )
    return ModelFile(name, runtime["name"], runtime["threads"], runtime["delegate"], inputs, scores)


def _refuse_other(name: str, found: dict[str, Any], known: dict[str, Any]) -> None:
    for key, value in known.items():
        if found[key] != value:
            raise ValueError(f"{name}: {key} is {found[key]!r}, the app's templates know {value!r} alone")


def _text(record: dict[str, Any], tokenizer: dict[str, Any]) -> Text:
    special = {key: SpecialToken(one["token"], one["id"]) for key, one in record["special_tokens"].items()}
    reason = _unlike_bert(tokenizer)
    pad = special["pad"]
    return Text(
        length=record["sequence_length"], vocab=record["vocab"], pad=pad, cls=special.get("cls", pad),
        sep=special.get("sep", pad), unk=special.get("unk", pad), reason=reason,
        pieces=None if reason else _word_pieces(tokenizer),
    )  # fmt: skip


def _unlike_bert(tokenizer: dict[str, Any]) -> str | None:
    """Why the examples can't repeat a tokenizer; None for BERT's."""
    for part, kind in (("model", "WordPiece"), ("normalizer", "BertNormalizer"), ("pre_tokenizer", "BertPreTokenizer")):
        found = (tokenizer.get(part) or {}).get("type")
        if found != kind:
            return f"its {part.replace('_', '-')} is {found or 'none'}, not {kind}"
    for token in tokenizer["added_tokens"]:
        if token["normalized"] or token["single_word"] or token["lstrip"] or token["rstrip"]:
            return f"its token {token['content']!r} is not looked for as it stands"
    return None


def _word_pieces(tokenizer: dict[str, Any]) -> WordPieces:
    model, normalizer = tokenizer["model"], tokenizer["normalizer"]
    strip = normalizer["strip_accents"]
    return WordPieces(
        prefix=model["continuing_subword_prefix"],
        longest_word=model["max_input_chars_per_word"],
        special=tuple((token["content"], token["id"]) for token in tokenizer["added_tokens"]),
        clean=normalizer["clean_text"],
        chinese=CHINESE if normalizer["handle_chinese_chars"] else (),
        strip_accents=normalizer["lowercase"] if strip is None else strip,
        lowercase=normalizer["lowercase"],
    )
