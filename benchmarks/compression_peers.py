"""The INT8 files of one student: edgepress's against those of Optimum, Olive, Neural Compressor and NNCF (ONNX), and of
ai-edge-quantizer, onnx2tf and TensorFlow's converter (TFLite).

Same float student, same calibration samples, same test images, same runtime and session options, latencies in turn.
Every tool lives in an environment of its own, which is made on the first run and kept (`benchmarks.environments`), and
is set as its documentation says for static INT8 of a convolutional network on x86; where that offers several ways to
find ranges, all are tried. A tool that can't be installed or fails stands in the result with its error. A quick run
takes those that are installed.
"""

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.environments import ask_peers
from benchmarks.judging import Judged, against, bars, turns
from benchmarks.record import ROOT, Bar, asked, kept_or_scratch, write_result
from calibration.manifest import read_manifest
from pipeline.context import RunContext
from pipeline.errors import InputError
from pipeline.files import make_files, static_scheme
from pipeline.plan import make_plan
from pipeline.recipe import load_recipe
from pipeline.results import ExportedFile, Format, NetworkResult, PreparedData
from pipeline.run import train
from pipeline.store import Store, file_sha256
from pipeline.validate import validate
from targets.errors import TargetError
from targets.profile import load_profile
from targets.runtimes.base import RuntimeOptions, session_settings

RECIPE = ROOT / "recipes" / "fashion-mobilenet.yaml"
SETTINGS = (
    "image.size=64", "student.width=1.0", "data.limit=12000", "teacher.batch_size=64",
    "distill.batch_size=64", "distill.learning_rate=0.006",
)  # fmt: skip
SHORT = ("image.size=32", "data.limit=400", "teacher.epochs=1", "distill.epochs=1", "calibration.samples=64")
OURS = {"edgepress": (), "edgepress, biases corrected": ("quantize.correct_biases=true",)}
HELD = "edgepress, biases corrected"  # which of them the bars are about
FLOAT = "float32"
ROUNDS, RUNS = 40, 50
SHORT_ROUNDS = 3


@dataclass(frozen=True)
class Student:
    """The trained student and its files, float32 and INT8, by format."""

    data: PreparedData
    network: NetworkResult
    files: dict[Format, list[ExportedFile]]


def released(sets: tuple[str, ...], context: RunContext) -> Student:
    """What a run for this computer makes; what was made before is found in the store."""
    recipe = load_recipe(RECIPE, (*SETTINGS, *sets))
    (target,) = make_plan(recipe, ("host",)).targets
    networks = train(recipe, context, (target,))
    made = make_files(recipe, target, networks, static_scheme(recipe, target, networks, context), context)
    files = {plan.format: group for plan, group in zip(target.files, made, strict=True)}
    return Student(networks.data, networks.student, files)


def write_calibration(student: Student, file: Path) -> dict[str, Any]:
    """Writes the samples that calibrated our files as `images`, in their order, and tells which they are."""
    manifest = student.files["onnx"][-1].calibration_manifest
    assert manifest is not None, "static INT8 has one"
    rows = read_manifest(manifest).rows
    images = student.data.inputs[list(rows)]
    np.savez(file, images=images)
    return {"samples": len(rows), "shape": list(images.shape), "sha256": hashlib.sha256(images.tobytes()).hexdigest()}


def judge(
    student: Student, files: Mapping[str, Path], options: RuntimeOptions, rounds: int, context: RunContext
) -> tuple[dict[str, Judged], dict[str, str]]:
    """Each of `files`, and what could not be opened or run, with the reason."""
    reached, failed = {}, {}
    for name, file in files.items():
        digest = file_sha256(file)
        about = replace(
            student.files["onnx"][0], fingerprint=digest, file=file, format=file.suffix[1:], bytes=file.stat().st_size,
            sha256=digest,
        )  # fmt: skip
        try:
            reached[name] = validate(about, student.data, student.network, options, context)
        except (InputError, TargetError) as error:
            failed[name] = f"judging: {error}"
    found = turns({name: files[name] for name in reached}, options, student.data, rounds, RUNS)
    ratios = against(found, HELD)
    judged = {
        name: Judged(
            100 * result.accuracy.value, result.agreement_with_student, files[name].stat().st_size,
            float(np.median(found[name])), ratios[name],
        )
        for name, result in reached.items()
    }  # fmt: skip
    return judged, failed


def main() -> None:
    options = asked()
    short = SHORT if options.quick else ()
    with kept_or_scratch(options.keep) as folder:
        context = RunContext(Store(folder / ".store"))
        ours = {name: released((*sets, *short), context) for name, sets in OURS.items()}
        student = next(iter(ours.values()))
        work = folder / "peers"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        calibration = work / "calibration.npz"
        told = write_calibration(student, calibration)
        floats = {format: made[0].file for format, made in student.files.items()}
        peers = ask_peers(floats, calibration, work, install=not options.quick)
        figures: dict[str, Any] = {
            "recipe": RECIPE.stem, "settings": list(SETTINGS),
            "ours": {name: list(sets) for name, sets in OURS.items()}, "bars_are_about": HELD,
            "student": {"name": student.network.name, "accuracy": 100 * student.network.accuracy.value},
            "test_images": student.network.accuracy.total, "calibration": told, "rounds_of_runs": [ROUNDS, RUNS],
            "peers": peers.told, "failed": peers.failed,
        }  # fmt: skip
        held: list[Bar] = []
        for runtime in load_profile("host").runtimes:
            session = RuntimeOptions(runtime.name, runtime.threads, runtime.delegate)
            files = {FLOAT: student.files[runtime.format][0].file}
            files |= {name: made.files[runtime.format][-1].file for name, made in ours.items()}
            files |= peers.files[runtime.format]
            judged, failed = judge(student, files, session, SHORT_ROUNDS if options.quick else ROUNDS, context)
            peers.failed.update(failed)
            figures[runtime.format] = {
                "runtime": session_settings(session),
                "files": {name: asdict(file) for name, file in judged.items()},
            }
            rivals = {name: file for name, file in judged.items() if name in peers.files[runtime.format]}
            held += bars({"onnx": "ONNX", "tflite": "TFLite"}[runtime.format], judged[HELD], rivals)
            for name, file in judged.items():
                print(f"{runtime.format} {name}: {file}", flush=True)
    write_result("compression-peers", figures, held, options.quick)


if __name__ == "__main__":
    main()
