"""The Kotlin preprocessing of the examples, which needs no Android: compiled by Kotlin's own compiler, and run."""

import importlib.util
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.results import PreparedData
from targets.runtimes.base import TensorSpec
from tests.pipeline.app_bundle import app_bundle, ids_of, text_specs
from tests.pipeline.test_app import HARD

COMPILER = "org.jetbrains.kotlin.cli.jvm.K2JVMCompiler"

TEXTS = """package edgepress.model
fun main(args: Array<String>) {
    val tokenizer = WordPiece(java.io.File(args[0]).readText())
    for (line in java.io.File(args[1]).readLines()) {
        val letters = line.split(' ').filter { it.isNotEmpty() }.map { String(Character.toChars(it.toInt(16))) }
        println(tokenizer.encode(letters.joinToString("")).joinToString(" "))
    }
}
"""
PICTURE = """package edgepress.model
fun main(args: Array<String>) {
    val argb = java.io.File(args[2]).readText().split(' ').map { it.toInt() }.toIntArray()
    val pixels = pixelsOf(argb, args[0].toInt(), args[1].toInt())
    val tensor = liteRtInput(pixels)
    println(pixels.joinToString(" ") { (it.toInt() and 0xFF).toString() })
    println((0 until tensor.capacity()).joinToString(" ") { tensor.get(it).toString() })
}
"""


@pytest.fixture(scope="module")
def jars() -> list[Path]:
    """The compiler as the package kotlin-jupyter-kernel holds it, and Kotlin's library."""
    found = importlib.util.find_spec("run_kotlin_kernel")
    if found is None or found.origin is None:
        pytest.skip("no Kotlin compiler: pip install --no-deps kotlin-jupyter-kernel")
    if shutil.which("java") is None:
        pytest.skip("no java, which runs the Kotlin compiler (Debian: apt-get install default-jre-headless)")
    folder = Path(found.origin).parent / "jars"
    names = ("kotlin-stdlib", "kotlin-jupyter-kernel", "kotlin-reflect", "kotlin-script-runtime", "annotations")
    return [next(folder.glob(f"{name}-*.jar")) for name in names]


def run(jars: list[Path], source: Path, main: str, folder: Path, *arguments: str) -> list[str]:
    """Lines that `main` prints, compiled together with the preprocessing of a bundle."""
    (folder / "Main.kt").write_text(main)
    java, library = ["java", "-XX:TieredStopAtLevel=1"], str(jars[0])
    compiler = [*java, "-cp", ":".join(map(str, jars)), COMPILER, "-no-stdlib", "-no-reflect", "-cp", library]
    done = subprocess.run(
        [*compiler, "-d", str(folder / "classes"), str(source), str(folder / "Main.kt")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    ran = subprocess.run(
        [*java, "-cp", f"{folder / 'classes'}:{library}", "edgepress.model.MainKt", *arguments],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return ran.stdout.splitlines()


def test_ids_are_those_of_training_for_hard_texts(jars: list[Path], reviews: PreparedData, tmp_path: Path) -> None:
    folder = app_bundle(tmp_path / "bundle", reviews, {"model.float32.tflite": text_specs(24, "int32")})
    texts = tmp_path / "texts"
    texts.write_text("".join(" ".join(f"{ord(letter):x}" for letter in text) + "\n" for text in HARD))
    source = folder / "app/android/Preprocessing.kt"
    lines = run(jars, source, TEXTS, tmp_path, str(folder / "vocab.txt"), str(texts))
    for text, line, ids in zip(HARD, lines, ids_of(folder, HARD, 24), strict=True):
        assert [int(word) for word in line.split()] == ids, repr(text)


def test_pixels_are_those_of_training(jars: list[Path], digits: PreparedData, tmp_path: Path) -> None:
    specs = (TensorSpec("image", (1, 32, 32, 3), "int8", 0.7, -60),)
    folder = app_bundle(tmp_path / "bundle", digits, {"model.int8-static-io8.tflite": specs})
    picture = np.random.default_rng(0).integers(0, 256, (45, 70, 3), np.uint8)
    wide = picture.astype(np.int64)
    argb = (0xFF << 24 | wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]).astype(np.uint32).view(np.int32)
    (tmp_path / "argb").write_text(" ".join(map(str, argb.ravel().tolist())))
    source = folder / "app/android/Preprocessing.kt"
    pixels, tensor = run(jars, source, PICTURE, tmp_path, "70", "45", str(tmp_path / "argb"))
    found = np.array(pixels.split(), int).reshape(32, 32, 3)
    wanted = np.asarray(Image.fromarray(picture).resize((32, 32), Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(found - wanted).max() <= 1
    assert np.mean(found == wanted) > 0.7
    np.testing.assert_array_equal(
        np.array(tensor.split(), np.int8), specs[0].quantize(found.astype(np.float32)).ravel()
    )
