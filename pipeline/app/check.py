"""Whether a bundle's examples give what the bundle says: its golden samples through the TypeScript, value by value."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipeline.app.model import AppModel, read_model
from pipeline.app.typescript import compiled, run_preprocessing
from pipeline.errors import InputError
from pipeline.golden import GOLDEN_FILES
from pipeline.integrity import read_json, verify_bundle

TOKENS = "golden/tokens.json"


@dataclass(frozen=True)
class AppCheck:
    """One model file's inputs as the examples make them: values that are others than the golden ones."""

    file: str
    samples: int
    values: int
    different: int

    @property
    def passed(self) -> bool:
        return self.different == 0


def check_app(folder: Path) -> list[AppCheck]:
    """Compiles the TypeScript of the bundle in `folder` with strict types and runs its preprocessing on the golden
    samples. Raises InputError if the bundle is changed, holds no examples, or the compiler is not installed."""
    manifest = verify_bundle(folder)
    if "app" not in manifest or not (folder / "app/react-native").is_dir():
        raise InputError(f"{folder}: holds no app/; make the bundle again with this edgepress")
    golden = read_json(folder / GOLDEN_FILES)
    model = read_model(folder, "", "")
    if model.text is not None and model.pieces is None:
        raise InputError(f"{folder}: its examples have no tokenizer to run: {model.text.reason}")
    vocabulary = vocabulary_of(folder, model)
    with compiled(folder) as javascript:
        found = run_preprocessing(javascript, model, _samples(folder, golden), vocabulary)
        tokens = _token_check(folder, javascript, model, vocabulary)
    return [
        _compared(folder, golden["files"][file.name], file.name, place, found) for place, file in enumerate(model.files)
    ] + tokens


def _token_check(folder: Path, javascript: Path, model: AppModel, vocabulary: str | None) -> list[AppCheck]:
    """The ids of the bundle's golden texts, where it has some: each text whose ids differ counts as one value."""
    if model.text is None or not (folder / TOKENS).is_file():
        return []
    entries = read_json(folder / TOKENS)["texts"]
    found = run_preprocessing(javascript, model, [entry["text"] for entry in entries], vocabulary)
    length = model.text.length
    expected = [ids if len(ids) <= length else [*ids[: length - 1], ids[-1]] for ids in (one["ids"] for one in entries)]
    different = sum(one["ids"] != ids for one, ids in zip(found, expected, strict=True))
    return [AppCheck(TOKENS, len(entries), len(entries), different)]


def vocabulary_of(folder: Path, model: AppModel) -> str | None:
    if model.text is None or model.text.vocab is None:
        return None
    return (folder / model.text.vocab).read_text(encoding="utf-8")


def _samples(folder: Path, golden: dict[str, Any]) -> list[Any]:
    if "text" in golden["samples"][0]:
        return [sample["text"] for sample in golden["samples"]]
    return [np.asarray(Image.open(folder / sample["image"]).convert("RGB")) for sample in golden["samples"]]


def _compared(folder: Path, entry: dict[str, Any], name: str, place: int, found: list[Any]) -> AppCheck:
    values = different = 0
    for tensor, stored in entry["inputs"].items():
        for sample, expected in zip(found, np.load(folder / stored, allow_pickle=False), strict=True):
            made = sample["files"][place]
            made = np.array(made[tensor] if isinstance(made, dict) else made, np.float64)
            values += expected.size
            different += int((made != expected.reshape(-1).astype(np.float64)).sum())
    return AppCheck(name, len(found), values, different)
