"""What shipped files compute on emulated ARM cores beside the host, on real inputs, and how long a validation takes.

`--bundle RECIPE BUNDLE`, once for each bundle, takes bundles that are there; a recipe names its bundle's data. Without
it every ready recipe is run, for a Raspberry Pi 4 and for the same with float32. Needs what
`edgepress targets install-emulator` gets.
"""

import argparse
import dataclasses
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmarks.recipes import LESS, bundles_of
from benchmarks.record import Bar, edgepress, kept_or_scratch, remembered, write_result
from pipeline.context import RunContext
from pipeline.data.prepare import prepare
from pipeline.feeds import feeds
from pipeline.recipe import load_recipe
from pipeline.results import PreparedData
from pipeline.store import Store, file_sha256
from targets.emulator.cores import CORES
from targets.emulator.place import installed
from targets.emulator.qemu import find_qemu
from targets.errors import TargetError
from targets.machine import available_cores
from targets.profile import load_profile
from targets.runners.emulated import EmulatedRunner
from targets.runtimes.base import RuntimeOptions, open_model

NAMES = ("cortex-a53", "cortex-a76")
TARGET = "rpi4"
INPUTS = 100
SHORT = 4

Outputs = list[list[np.ndarray]]


def asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", nargs=2, type=Path, action="append", metavar=("RECIPE", "BUNDLE"), default=[])
    parser.add_argument("--keep", type=Path, help="leaves what was made in this folder, from where a later run goes on")
    parser.add_argument("--quick", action="store_true", help="a short form, to see that it runs; writes no result")
    return parser.parse_args()


def made_bundles(folder: Path, quick: bool) -> list[tuple[Path, Path]]:
    """(recipe, bundle) of the ready recipes, in the shipped scheme and in float32."""
    float32 = folder / f"{TARGET}_float32.yaml"
    profile = load_profile(TARGET).model_dump(mode="json", by_alias=True)
    for task in ("image", "text"):
        profile["quantization"][task]["scheme"] = "float32"
        profile["budgets"][task] = {}
    float32.write_text(yaml.safe_dump({**profile, "id": float32.stem}, sort_keys=False))
    targets: list[Path | str] = [TARGET, float32]
    return bundles_of({"image-classification": targets, "text-classification": targets}, folder, quick)


def data_of(recipe_file: Path, bundle: Path, store: Store) -> PreparedData:
    """The recipe's data; texts in the word pieces of the bundle."""
    recipe = load_recipe(recipe_file)
    tokenizer = bundle if recipe.task == "text-classification" else None
    return prepare(recipe.data, recipe.task, recipe.image, recipe.text, tokenizer, RunContext(store, seed=recipe.seed))


def with_integers(file: Path, folder: Path) -> Path:
    """A copy of a static INT8 ONNX file that also gives the integers from which its float output is computed: what
    follows them, a softmax, is float arithmetic."""
    import onnx

    model = onnx.load(file)
    makers = {output: node for node in model.graph.node for output in node.output}
    tensor = model.graph.output[0].name
    while makers[tensor].op_type != "QuantizeLinear":
        tensor = makers[tensor].input[0]
        if tensor not in makers:
            return file
    zero_point = next(t for t in model.graph.initializer if t.name == makers[tensor].input[2])
    if tensor not in [output.name for output in model.graph.output]:
        model.graph.output.append(onnx.helper.make_tensor_value_info(tensor, zero_point.data_type, None))
    onnx.save(model, folder / file.name)
    return folder / file.name


def before_softmax(file: Path, folder: Path) -> Path:
    """A copy of a static INT8 TFLite file that ends in what its softmax takes: in 8 bits that takes exponentials in
    float."""
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model(str(file))
    (graph,) = model.subgraphs
    codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes]
    kinds = [codes[operator.opcodeIndex] for operator in graph.operators]
    if schema.BuiltinOperator.SOFTMAX not in kinds:
        return file
    last = kinds.index(schema.BuiltinOperator.SOFTMAX)
    graph.outputs = [graph.operators[last].inputs[0]]
    graph.operators = graph.operators[:last]
    for signature in model.signatureDefs or ():
        signature.outputs[0].tensorIndex = graph.outputs[0]
    flatbuffer_utils.write_model(model, str(folder / file.name))
    return folder / file.name


def compared(found: Outputs, expected: Outputs) -> dict[str, Any]:
    """Sample by sample: how many are identical in all outputs, in the integers alone where there are any, and in the
    label that the first output names; and the largest difference relative to the largest value of its output."""
    pairs = [list(zip(mine, theirs, strict=True)) for mine, theirs in zip(found, expected, strict=True)]
    integers = [[pair for pair in sample if np.issubdtype(pair[1].dtype, np.integer)] for sample in pairs]
    largest = 0.0
    for mine, theirs in (pair for sample in pairs for pair in sample):
        real = theirs.astype(np.float64)
        scale = max(float(np.abs(real).max()), float(np.finfo(np.float32).tiny))
        largest = max(largest, float(np.abs(mine.astype(np.float64) - real).max()) / scale)
    return {
        "inputs": len(pairs),
        "identical": sum(all(np.array_equal(*pair) for pair in sample) for sample in pairs),
        "integers_identical": sum(all(np.array_equal(*pair) for pair in sample) for sample in integers)
        if all(integers)
        else None,
        "same_label": sum(
            int(mine[0].argmax() == theirs[0].argmax()) for mine, theirs in zip(found, expected, strict=True)
        ),
        "largest_relative_difference": largest,
    }


def look(recipe: Path, bundle: Path, inputs: int, folder: Path) -> list[dict[str, Any]]:
    """Each shipped file of a bundle on each core."""
    data = data_of(recipe, bundle, Store(folder / ".store"))
    rows = [int(row) for row in data.rows("test")[:inputs]]
    schemes = {file["name"]: file["scheme"] for file in json.loads((bundle / "report.json").read_text())["files"]}
    golden = json.loads((bundle / "golden/samples.json").read_text())["files"]
    jobs = []
    for name, entry in sorted(golden.items()):
        runtime = entry["runtime"]
        options = RuntimeOptions(runtime["name"], runtime["threads"], runtime["delegate"])
        file = bundle / name
        files = [file]
        if schemes[name] == "int8-static":
            place = folder / f"{recipe.stem}-{bundle.name}"
            place.mkdir(exist_ok=True)
            files = [with_integers(file, place)] if file.suffix == ".onnx" else [file, before_softmax(file, place)]
        for file in files:
            model = open_model(file, options)
            samples = [feeds(model.inputs, data, row) for row in rows]
            expected = [model.run(sample) for sample in samples]
            jobs += [(name, file, options, samples, expected, core) for core in NAMES]

    def on_core(job: tuple[str, Path, RuntimeOptions, Sequence[dict[str, np.ndarray]], Outputs, str]) -> dict[str, Any]:
        name, file, options, samples, expected, core = job
        found = remembered(
            folder,
            f"{bundle.parent.name}-{bundle.name}-{file_sha256(file)[:16]}-{core}-{inputs}",
            lambda: compared(EmulatedRunner(CORES[core]).run(file, options, samples), expected),
        )
        print(f"{bundle} {name} {core}: {found}", flush=True)
        return {
            "recipe": recipe.stem,
            "target": bundle.name,
            "file": name,
            "before_softmax": file.suffix == ".tflite" and file != bundle / name,
            "scheme": schemes[name],
            "core": core,
        } | found

    with ThreadPoolExecutor(available_cores()) as pool:
        return list(pool.map(on_core, jobs))


def validated(bundle: Path) -> dict[str, Any]:
    """A full validation of one bundle on both cores, through the command."""
    ended = edgepress("validate", str(bundle.absolute()), *(word for name in NAMES for word in ("--emulate", name)))
    if ended.code == 2:
        raise SystemExit(ended.output)
    return {"bundle": bundle.name, "cores": available_cores(), "seconds": ended.seconds, "same": ended.code == 0}


def main() -> None:
    given = asked()
    try:
        installed()
    except TargetError as error:
        raise SystemExit(str(error)) from None
    with kept_or_scratch(given.keep) as folder:
        folder.mkdir(parents=True, exist_ok=True)
        bundles = given.bundle or made_bundles(folder, given.quick)
        inputs = SHORT if given.quick else INPUTS
        files = [row for recipe, bundle in bundles for row in look(recipe, bundle, inputs, folder)]
        time = validated(bundles[0][1])
    bars = bars_of(files)
    bars.append(
        Bar(f"seconds for a validation of one bundle on both cores, on {time['cores']} cores of the host",
            time["seconds"], "<=", 180.0)
    )  # fmt: skip
    figures = {
        "qemu": dataclasses.asdict(find_qemu())["version"],
        "guest": installed().versions,
        "settings": None if given.bundle else LESS,
        "files": files,
        "validation": time,
    }
    write_result("devices-emulated", figures, bars, given.quick)


def bars_of(files: list[dict[str, Any]]) -> list[Bar]:
    """Of the files that were looked at, by scheme."""
    cores, bars = " and ".join(NAMES), []
    static = [row for row in files if row["scheme"] == "int8-static"]
    dynamic = [row for row in files if row["scheme"] == "int8-dynamic"]
    float32 = [row for row in files if row["scheme"] == "float32"]
    if static:
        told = "least share of real inputs whose integers before the softmax are the host's, bit for bit"
        before = [row for row in static if row["integers_identical"] is not None and not _ends_in_softmax(row)]
        share = min(row["integers_identical"] / row["inputs"] for row in before)
        bars.append(Bar(f"static INT8 files on {cores}: {told}", share, ">=", 1.0))
        told = "least share of real inputs whose 8-bit scores are the host's, bit for bit"
        share = min(row["identical"] / row["inputs"] for row in static if _ends_in_softmax(row))
        bars.append(Bar(f"static INT8 TFLite files on {cores}: {told}", share, ">=", 1.0))
    if dynamic:  # whose sums of integers are scaled, and added up further, in float
        told = "least share of real inputs whose outputs are the host's, bit for bit"
        share = min(row["identical"] / row["inputs"] for row in dynamic)
        bars.append(Bar(f"dynamic INT8 files on {cores}: {told}", share, ">=", 1.0))
    if float32:
        largest = max(row["largest_relative_difference"] for row in float32)
        bars.append(Bar("float32 files: largest difference from the host, relative", largest, "<=", 1e-5))
    return [*bars, Bar("real inputs that each file was run on", min(row["inputs"] for row in files), ">=", INPUTS)]


def _ends_in_softmax(row: dict[str, Any]) -> bool:
    """In 8 bits: in ONNX files it is in float."""
    return bool(row["file"].endswith(".tflite") and not row["before_softmax"])


if __name__ == "__main__":
    main()
