"""Kotlin and Swift of the examples parse whole, for every kind of input and whatever a label holds."""

import dataclasses
from pathlib import Path

import pytest

from pipeline.app.model import read_model
from pipeline.app.write import rendered
from pipeline.results import PreparedData
from targets.runtimes.base import TensorSpec
from tests.pipeline.app_bundle import app_bundle, text_specs

tree_sitter = pytest.importorskip("tree_sitter", reason="tree-sitter is not installed: pip install tree-sitter")
kotlin = pytest.importorskip("tree_sitter_kotlin", reason="tree-sitter-kotlin is not installed")
swift = pytest.importorskip("tree_sitter_swift", reason="tree-sitter-swift is not installed")

GRAMMARS = {".kt": kotlin, ".swift": swift}
NHWC, NCHW = (1, 32, 32, 3), (1, 3, 32, 32)
KINDS = {
    "float": {
        "model.float32.onnx": (TensorSpec("image", NCHW, "float32"),),
        "model.float32.tflite": (TensorSpec("image", NHWC, "float32"),),
    },
    "io8": {
        "model.int8-static-io8.onnx": (TensorSpec("image", NCHW, "int8", 0.7, -60),),
        "model.int8-static-io8.tflite": (TensorSpec("image", NHWC, "uint8", 1.0, 0),),
    },
    "text": {
        "model.int8-dynamic.onnx": text_specs(24, "int64"),
        "model.int8-dynamic.tflite": text_specs(24, "int32"),
    },
}


def errors(text: str, grammar: object) -> list[str]:
    """What does not parse, each with its line."""
    parser = tree_sitter.Parser(tree_sitter.Language(grammar.language()))  # type: ignore[attr-defined]
    lines, found, left = text.splitlines(), [], [parser.parse(text.encode()).root_node]
    while left:
        node = left.pop()
        if node.type == "ERROR" or node.is_missing:
            found.append(f"{node.start_point.row + 1}: {lines[node.start_point.row]}")
        left += node.children
    return found


@pytest.mark.parametrize("delegate", ["xnnpack", "coreml"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_file_parses_whole(
    digits: PreparedData, reviews: PreparedData, tmp_path: Path, kind: str, delegate: str
) -> None:
    data = reviews if kind == "text" else digits
    scores = TensorSpec("scores", (1, len(data.labels)), "uint8", 1 / 256, 0) if kind == "io8" else None
    folder = app_bundle(tmp_path / "bundle", data, KINDS[kind], delegate=delegate, scores=scores)
    sources = {path: path.read_text() for path in (folder / "app").rglob("*.*") if path.suffix in GRAMMARS}
    assert len(sources) == 6
    for path, text in sources.items():
        assert errors(text, GRAMMARS[path.suffix]) == [], path.name


def test_the_parsers_find_what_is_wrong() -> None:
    assert errors("fun f(: Int = 1", kotlin)
    assert errors("func f() -> { let = 2", swift)


def test_labels_that_look_like_code_stay_labels(digits: PreparedData, tmp_path: Path) -> None:
    labels = (
        'a "quoted" one',
        "back\\slash", "${System.exit(1)}", "$name", "\\(exit(1))", "tab\there", "null\x00", "naïve 😀",
        "*/ fun x() {} /*", "\u200fright to left",
    )  # fmt: skip
    folder = app_bundle(tmp_path / "bundle", digits, KINDS["float"])
    model = dataclasses.replace(read_model(folder, "tiny", "Pixel"), labels=labels)
    for name, text in rendered(model).items():
        suffix = Path(name).suffix
        if suffix in GRAMMARS:
            assert errors(text, GRAMMARS[suffix]) == []
            strings = text.count("System.exit(1)")
            assert strings == (1 if "reprocessing" in name else 0)
            assert ("\\${System" in text) == ("Preprocessing.kt" in name)
            assert ("\\(exit" in text.replace("\\\\(exit", "").replace("\\u{5c}(exit", "")) is False
