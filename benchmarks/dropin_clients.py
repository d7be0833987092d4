"""Which clients load the ready recipes' bundles, and how often their label is the one of edgepress's own validation.

`--bundle RECIPE BUNDLE`, once for each bundle, takes bundles that are there; a recipe names its bundle's data. Without
it every ready recipe is run in each scheme that it can have. Needs MediaPipe, Chromium and what
`edgepress targets install-browser` gets.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmarks.recipes import LESS, bundles_of
from benchmarks.record import Bar, kept_or_scratch, write_result
from pipeline.clients.browser import run_in_browser
from pipeline.clients.mediapipe import (
    agreement_in_mediapipe,
    client_samples,
    resized_in_mediapipe,
    token_ids_in_mediapipe,
)
from pipeline.context import RunContext
from pipeline.data.images import decoded, resized
from pipeline.data.prepare import prepare
from pipeline.data.sources import open_source
from pipeline.feeds import feeds
from pipeline.golden_tokens import GOLDEN_TOKENS
from pipeline.progress import Meter
from pipeline.recipe import Recipe, load_recipe
from pipeline.results import ExportedFile, PreparedData
from pipeline.store import Store
from pipeline.validate import score_file
from targets.browser.packages import RUNTIME_PACKAGES, installed
from targets.errors import TargetError
from targets.profile import RuntimeName, load_profile
from targets.runners.browser import BrowserRunner
from targets.runtimes.base import RuntimeOptions, open_model

SCHEMES = {
    "image-classification": (("float32", "float32"), ("int8-static", "float32"), ("int8-static", "uint8"),
                             ("int8-static", "int8")),
    "text-classification": (("float32", "float32"), ("int8-dynamic", "float32"), ("int8-static", "float32")),
}  # fmt: skip
SAMPLES = 500
FEWEST = 200
SHORT = 20
PREPARED = "as prepared"
RUNTIMES: dict[str, RuntimeName] = {"onnx": "onnxruntime", "tflite": "litert"}


def asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", nargs=2, type=Path, action="append", metavar=("RECIPE", "BUNDLE"), default=[])
    parser.add_argument("--keep", type=Path, help="leaves bundles and prepared data in this folder")
    parser.add_argument("--quick", action="store_true", help="a short form, to see that it runs; writes no result")
    return parser.parse_args()


def made_bundles(folder: Path, quick: bool) -> list[tuple[Path, Path]]:
    """(recipe, bundle) of the ready recipes in each scheme."""
    targets: dict[str, list[Path | str]] = {
        task: [profile_of(task, scheme, io_dtype, folder) for scheme, io_dtype in schemes]
        for task, schemes in SCHEMES.items()
    }
    return bundles_of(targets, folder, quick)


def profile_of(task: str, scheme: str, io_dtype: str, folder: Path) -> Path:
    """A web page's profile with this quantization and no budgets, as a file."""
    profile = load_profile("web").model_dump(mode="json", by_alias=True)
    part = task.split("-")[0]
    profile["quantization"][part] |= {"scheme": scheme, "io_dtype": io_dtype}
    profile["budgets"][part] = {}
    name = "_".join((part, scheme, io_dtype)).replace("-", "_")
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump({**profile, "id": name}, sort_keys=False))
    return file


def look(recipe_file: Path, bundle: Path, wanted: int, folder: Path) -> dict[str, Any]:
    """What each client made of a bundle."""
    recipe, tokens = load_recipe(recipe_file), bundle / GOLDEN_TOKENS
    context = RunContext(Store(folder / ".store"), seed=recipe.seed)
    tokenizer = bundle if recipe.task == "text-classification" else None  # its word pieces may be fewer
    data = prepare(recipe.data, recipe.task, recipe.image, recipe.text, tokenizer, context)
    test = data.rows("test")
    rows = test[np.linspace(0, len(test), min(wanted, len(test)), endpoint=False).astype(int)]
    shipped = [file for file in json.loads((bundle / "report.json").read_text())["files"] if file["shipped"]]
    golden = run_in_browser(bundle)
    return {
        "recipe": recipe.name,
        "bundle": bundle.name,
        "clients": [found for file in shipped for found in by_clients(bundle, file, recipe, data, rows, folder)],
        "golden_in_browser": [asdict(file) for file in golden.files],
        "asked_outside": golden.outside,
        "golden_tokens": tokens_alike(bundle, golden.tokens, folder) if tokens.exists() else None,
    }


def by_clients(
    bundle: Path, file: dict[str, Any], recipe: Recipe, data: PreparedData, rows: np.ndarray, folder: Path
) -> list[dict[str, Any]]:
    """One file in every client that there is for its format."""
    place, runtime = bundle / file["name"], RUNTIMES[file["format"]]
    export = ExportedFile(
        "", place, file["format"], file["scheme"], file["io_dtype"], place.stat().st_size, file["sha256"]
    )
    scores = score_file(export, data, rows, RuntimeOptions(runtime), Meter("", "", len(rows)))
    found = [in_page(place, runtime, data, rows, scores)]
    if file["format"] == "tflite":
        agreement = agreement_in_mediapipe(place, recipe.task, client_samples(data, rows), scores)
        if agreement.refused is not None:
            agreement = replace(agreement, refused=agreement.refused.replace(str(place), place.name))
        found.append({**asdict(agreement), "share": agreement.share, "input": PREPARED})
        pictures = originals(recipe, data, rows) if recipe.task == "image-classification" else None
        if pictures and agreement.refused is None:
            agreement = agreement_in_mediapipe(place, recipe.task, pictures, scores)
            side = int(data.inputs.shape[1])
            differences = [pixels_apart(picture, side, folder) for picture in pictures[:SHORT]]
            found.append({
                **asdict(agreement), "share": agreement.share, "input": "originals, which MediaPipe resizes",
                "largest_pixel_difference": max(differences),
            })  # fmt: skip
    return found


def in_page(
    file: Path, runtime: RuntimeName, data: PreparedData, rows: np.ndarray, scores: np.ndarray
) -> dict[str, Any]:
    """A browser's runtime on the same inputs."""
    package, options = RUNTIME_PACKAGES[runtime], RuntimeOptions(runtime)
    found = {"client": f"{package} {installed().versions[package]}", "file": file.name, "samples": len(rows)}
    specs = open_model(file, options)
    try:
        outputs = BrowserRunner().run(file, options, [feeds(specs.inputs, data, int(row)) for row in rows])
    except TargetError as error:
        return {
            **found,
            "agreed": 0,
            "refused": str(error).replace(str(file), file.name),
            "share": None,
            "input": PREPARED,
        }
    theirs = np.stack([specs.outputs[0].dequantize(output[0]).reshape(-1) for output in outputs])
    best = theirs.argmax(axis=1)
    agreed = int((scores[np.arange(len(best)), best] == scores.max(axis=1)).sum())
    return {**found, "agreed": agreed, "refused": None, "share": agreed / len(rows), "input": PREPARED}


def originals(recipe: Recipe, data: PreparedData, rows: np.ndarray) -> list[np.ndarray]:
    """The pictures from which the samples `rows` were made, found by their pixels."""
    side = int(data.inputs.shape[1])
    contents = open_source(recipe.data, recipe.task).read()
    wanted = [data.inputs[row].tobytes() for row in rows]
    missing, found = set(wanted), dict[bytes, np.ndarray]()
    for samples in (contents.test, contents.train):
        for index in range(len(samples.labels) if samples else 0):
            assert samples is not None
            assert samples.image is not None
            with samples.image(index) as opened:
                picture = decoded(opened)
            if (prepared := resized(picture, side).tobytes()) in missing:
                missing.remove(prepared)
                found[prepared] = np.asarray(picture)
    return [found[prepared] for prepared in wanted]


def pixels_apart(picture: np.ndarray, side: int, folder: Path) -> float:
    """The largest difference, of 255, between MediaPipe's resizing of a picture and ours."""
    from PIL import Image

    ours = resized(Image.fromarray(picture), side).astype(np.float32)
    return float(np.abs(resized_in_mediapipe(picture, side, side, folder) - ours).max())


def tokens_alike(bundle: Path, in_browser: dict[str, bool], folder: Path) -> dict[str, Any]:
    """The golden texts that each client's tokenizer splits otherwise."""
    golden = json.loads((bundle / GOLDEN_TOKENS).read_text())
    texts: Sequence[dict[str, Any]] = golden["texts"]
    vocabulary = (bundle / "vocab.txt").read_text(encoding="utf-8")
    theirs = token_ids_in_mediapipe(vocabulary, [entry["text"] for entry in texts], golden["length"], folder)
    pad = json.loads((bundle / "preprocess.json").read_text()).popitem()[1]["text"]["special_tokens"]["pad"]["id"]
    ours = [entry["ids"] + [pad] * (golden["length"] - len(entry["ids"])) for entry in texts]
    other = [entry["name"] for entry, a, b in zip(texts, theirs.tolist(), ours, strict=True) if a != b]
    return {
        "texts": len(texts),
        "other_in_browser": [name for name, same in in_browser.items() if not same],
        "other_in_mediapipe": other,
    }


def main() -> None:
    options = asked()
    with kept_or_scratch(options.keep) as folder:
        folder.mkdir(parents=True, exist_ok=True)
        bundles = options.bundle or made_bundles(folder, options.quick)
        wanted = SHORT if options.quick else SAMPLES
        figures = [look(recipe, bundle, wanted, folder) for recipe, bundle in bundles]
    runs = [run for bundle in figures for run in bundle["clients"] if run["refused"] is None]
    same = [run for run in runs if run["input"] == PREPARED]  # what MediaPipe's own resizing costs has no bar
    refused = [run for bundle in figures for run in bundle["clients"] if run["refused"] is not None]
    # int8 inputs: no client's image task has them, and files say so in their notes.
    unexpected = [run for run in refused if "INT8" not in run["refused"]]
    golden = [file for bundle in figures for file in bundle["golden_in_browser"] if file["refused"] is None]
    tokens = [bundle["golden_tokens"]["other_in_browser"] for bundle in figures if bundle["golden_tokens"]]
    bars = [
        Bar("clients: least agreement with our validation of the file", min(run["share"] for run in same), ">=", 0.99),
        Bar("clients: fewest test samples of a file", min(run["samples"] for run in runs), ">=", FEWEST),
        Bar("clients: files refused, but for 8-bit signed inputs", len(unexpected), "==", 0),
        Bar("browser: files whose golden labels are other than in Python",
            sum(file["labels"] != file["expected"] for file in golden), "==", 0),
        Bar("browser: golden texts with other word-piece ids", sum(len(names) for names in tokens), "==", 0),
        Bar("browser: requests outside", sum(len(bundle["asked_outside"]) for bundle in figures), "==", 0),
    ]  # fmt: skip
    settings = None if options.bundle else LESS
    write_result("dropin-clients", {"settings": settings, "bundles": figures}, bars, options.quick)


main()
