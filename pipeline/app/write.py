"""Writes `app/` into a bundle: code for Android, iOS and React Native that feeds its models and reads them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipeline.app.model import AppModel, read_model

FOLDER = "app"
HERE = Path(__file__).parent
CHECKS = HERE / "checks.json"

# Platform -> folder, the ending of its files' names, and how its texts and arrays are written.
PLATFORMS = {"android": "kt", "ios": "swift", "react-native": "ts"}
RUNTIMES = {"litert": "LiteRtClassifier", "onnxruntime": "OnnxRuntimeClassifier"}


def write_app(folder: Path, recipe: str, target: str) -> None:
    """Writes `app/` into the bundle in `folder`, whose other files are there: the same bundle, the same bytes.

    Raises ValueError if preprocess.json asks for what the templates don't do.
    """
    model = read_model(folder, recipe, target)
    for name, text in rendered(model).items():
        place = folder / FOLDER / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8", newline="\n")


def rendered(model: AppModel) -> dict[str, str]:
    """Every file of `app/`, by its name in there."""
    files = {"README.md": _render("README.md.j2", model)}
    task = "image" if model.image else "text"
    for platform, ending in PLATFORMS.items():
        head = "preprocessing" if ending == "ts" else "Preprocessing"
        files[f"{platform}/{head}.{ending}"] = _render(f"{platform}/{task}.{ending}.j2", model)
        for file in model.files:
            name = RUNTIMES[file.runtime]
            name = name[0].lower() + name[1:] if ending == "ts" else name
            files[f"{platform}/{name}.{ending}"] = _render(f"{platform}/{name}.{ending}.j2", model)
    return files


def checks() -> dict[str, Any]:
    """How edgepress's tests check the examples, by language: what they were compiled or parsed with."""
    content: dict[str, Any] = json.loads(CHECKS.read_text(encoding="utf-8"))
    return content


def _render(template: str, model: AppModel) -> str:
    ending = template.removesuffix(".j2").rpartition(".")[2]
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=False,  # noqa: S701 - not HTML: `quoted` writes literals of the language
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(quoted=QUOTED.get(ending, _quoted_script), array=ARRAYS.get(ending, {}).get)
    text = environment.get_template(template).render(model=model, checks=checks())
    return text.rstrip() + "\n"


ARRAYS = {
    "ts": {
        "float32": "Float32Array", "int8": "Int8Array", "uint8": "Uint8Array", "int32": "Int32Array",
        "int64": "BigInt64Array",
    },
    "kt": {
        "float32": "FloatArray", "int8": "ByteArray", "uint8": "ByteArray", "int32": "IntArray", "int64": "LongArray",
    },
    "swift": {"float32": "Float", "int8": "Int8", "uint8": "UInt8", "int32": "Int32", "int64": "Int64"},
}  # fmt: skip


def _quoted_script(text: str) -> str:
    """A string literal of JavaScript: JSON's is one."""
    return json.dumps(text, ensure_ascii=False)


def _quoted_kotlin(text: str) -> str:
    """A dollar would begin a template; what does not show is written as UTF-16 units."""
    return '"' + "".join(_kotlin_letter(letter) for letter in text) + '"'


def _kotlin_letter(letter: str) -> str:
    if letter in '"\\$':
        return "\\" + letter
    if letter.isprintable():
        return letter
    units = letter.encode("utf-16-be").hex()
    return "".join(f"\\u{units[place : place + 4]}" for place in range(0, len(units), 4))


def _quoted_swift(text: str) -> str:
    return '"' + "".join(f"\\u{{{ord(c):x}}}" if c in '"\\' or not c.isprintable() else c for c in text) + '"'


QUOTED: dict[str, Callable[[str], str]] = {"ts": _quoted_script, "kt": _quoted_kotlin, "swift": _quoted_swift}
