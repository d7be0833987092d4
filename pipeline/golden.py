"""Golden samples: a few real inputs with the outputs expected of each file, so that any machine can check itself."""

import io
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipeline.errors import InputError
from pipeline.feeds import feeds
from pipeline.results import PreparedData, TargetFile
from targets.profile import Scheme
from targets.runners.base import Runner
from targets.runtimes.base import Model, RuntimeOptions, TensorSpec, open_model

SAMPLES = 5
GOLDEN_FILES = "golden/samples.json"

# How far a score may lie from the golden one on another machine: kernels add up in another order (float arithmetic),
# round to half precision, or round a quantized activation the other way (with dynamic ranges, which follow from float
# values, by up to 4.3% of the largest score on 100 reviews: benchmarks/devices_emulated.py). 8-bit outputs: one step.
SCORE_TOLERANCES: dict[Scheme, float] = {
    "float32": 1e-4, "float16": 5e-3, "int8-dynamic": 0.05, "int8-static": 0.02, "int8-static-a16": 5e-3,
    "int4-dynamic": 0.05, "int4-weights": 1e-4,
}  # fmt: skip


@dataclass(frozen=True)
class GoldenResult:
    """One file of a bundle run on the golden inputs: `largest` difference from the outputs expected, in `unit`
    (`score`, or `step` of an 8-bit output)."""

    file: str
    samples: int
    largest: float
    tolerance: float
    unit: str
    passed: bool
    explanation: str


def golden_positions(data: PreparedData) -> np.ndarray:
    """Positions in the test split: its first sample of each class, then the second of each, up to `SAMPLES`."""
    seen: Counter[int] = Counter()
    turns = []
    for position, label in enumerate(data.targets[data.rows("test")].tolist()):
        turns.append((seen[label], position))
        seen[label] += 1
    return np.array(sorted(position for _, position in sorted(turns)[:SAMPLES]), dtype=np.int64)


def write_samples(data: PreparedData, positions: np.ndarray, folder: Path) -> list[dict[str, Any]]:
    """The samples as a person reads them: images as `golden/<n>.png`, texts with their word-piece ids."""
    samples = []
    for index, row in enumerate(data.rows("test")[positions].tolist()):
        sample: dict[str, Any] = {"row": row, "label": data.labels[data.targets[row]]}
        if data.task == "image-classification":
            sample["image"] = f"golden/{index}.png"
            stream = io.BytesIO()
            Image.fromarray(np.asarray(data.inputs[row])).save(stream, "PNG")
            (folder / sample["image"]).write_bytes(stream.getvalue())
        else:
            sample["text"] = _text(data, row)
            sample["input_ids"] = data.inputs[row, : data.lengths[row]].tolist()
        samples.append(sample)
    return samples


def write_tensors(
    model: Model, name: str, file: TargetFile, options: RuntimeOptions, data: PreparedData, positions: np.ndarray,
    folder: Path,
) -> dict[str, Any]:  # fmt: skip
    """Writes one file's inputs and expected outputs, [samples, *shape of the tensor] as .npy, and returns the entry
    that describes them. The outputs are the scores that were judged, as the tensor stores them."""
    rows = data.rows("test")[positions]
    fed = [feeds(model.inputs, data, int(row)) for row in rows]
    output = model.outputs[0]
    stored = [output.quantize(scores).reshape(output.shape) for scores in file.accuracy.scores[positions]]
    return {
        "runtime": {"name": options.runtime, "threads": options.threads, "delegate": options.delegate},
        "inputs": {
            spec.name: _save(folder, f"golden/{name}.input{index}.npy", [sample[spec.name] for sample in fed])
            for index, spec in enumerate(model.inputs)
        },
        "outputs": {output.name: _save(folder, f"golden/{name}.output0.npy", stored)},
        "tolerance": _tolerance(output, file.export.scheme),
    }


def replay(folder: Path, name: str, entry: dict[str, Any], runner: Runner) -> GoldenResult:
    """Runs the file `name` of the bundle in `folder` on its golden inputs, where `runner` does. Raises TargetError if
    it can't be opened, KeyError or ValueError if the entry does not fit the file."""
    options, fed = golden_feeds(folder, entry)
    tolerance = entry["tolerance"]
    outputs = open_model(folder / name, options).outputs
    ((output, place),) = entry["outputs"].items()
    expected = np.load(folder / place, allow_pickle=False)
    index = [spec.name for spec in outputs].index(output)
    found = np.stack([arrays[index] for arrays in runner.run(folder / name, options, fed)])
    largest = float(np.abs(found.astype(np.float64) - expected.astype(np.float64)).max())
    limit, unit = tolerance["value"], tolerance["unit"]
    passed = largest <= limit
    text = f"largest difference {largest:.2g} {unit} on {len(expected)} samples, {limit:g} allowed"
    if not passed:
        text += f"; {options.runtime} computes otherwise here: don't ship to devices like this machine"
    return GoldenResult(name, len(expected), largest, limit, unit, passed, text)


def named_files(shipped: Iterable[str], names: Sequence[str]) -> list[str]:
    """Those of a bundle's `shipped` files that `names` choose, all of them if it is empty, sorted. Raises InputError
    for a name that is none of them."""
    known = sorted(shipped)
    for name in names:
        if name not in known:
            raise InputError(f"--file {name}: the bundle ships {', '.join(known)}; name one of these")
    return [name for name in known if name in names] if names else known


def golden_feeds(folder: Path, entry: dict[str, Any]) -> tuple[RuntimeOptions, list[dict[str, np.ndarray]]]:
    """(the session options that ship, each golden sample's inputs by name) of one file's entry of the bundle in
    `folder`. Raises KeyError or ValueError for an incomplete one."""
    runtime = entry["runtime"]
    inputs = {tensor: np.load(folder / place, allow_pickle=False) for tensor, place in entry["inputs"].items()}
    samples = min(len(values) for values in inputs.values())
    fed = [{name: values[index] for name, values in inputs.items()} for index in range(samples)]
    return RuntimeOptions(runtime["name"], runtime["threads"], runtime["delegate"]), fed


def _text(data: PreparedData, row: int) -> str:
    assert data.texts_file is not None, "only texts have texts"
    with data.texts_file.open(encoding="utf-8") as lines:
        return str(json.loads(next(islice(lines, row, None))))


def _save(folder: Path, name: str, samples: list[np.ndarray]) -> str:
    np.save(folder / name, np.stack(samples))
    return name


def _tolerance(spec: TensorSpec, scheme: Scheme) -> dict[str, Any]:
    if np.issubdtype(np.dtype(spec.dtype), np.integer):
        return {"value": 1, "unit": "step"}
    return {"value": SCORE_TOLERANCES[scheme], "unit": "score"}
