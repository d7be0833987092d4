"""What is dropped into the app: the files that ship, how to feed them, golden outputs, the report and the manifest."""

import errno
import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.app.write import checks, write_app
from pipeline.errors import InputError
from pipeline.feeds import preprocess_settings
from pipeline.gating.verdict import Verdict
from pipeline.golden import (
    GOLDEN_FILES,
    GoldenResult,
    golden_positions,
    named_files,
    replay,
    write_samples,
    write_tensors,
)
from pipeline.golden_tokens import write_golden_tokens
from pipeline.integrity import MANIFEST, REPORT, SIGNATURE, bundle_files, json_text, read_json, verify_bundle
from pipeline.monitoring.reference import REFERENCE, make_reference
from pipeline.provenance.sbom import SBOM, sbom_text
from pipeline.recipe import Recipe
from pipeline.report.card import render_card
from pipeline.report.html import render_html
from pipeline.report.paths import without_folders
from pipeline.report.record import file_name
from pipeline.results import RunResult, TargetFile
from pipeline.store import file_sha256
from targets.place import named_tools, placed_measure
from targets.profile import Measure, Profile
from targets.runners.base import runner_for
from targets.runtimes.base import RuntimeOptions, TensorSpec, open_model

SCHEMA = 1
OPERATORS = "required_operators_and_types.config"  # what onnxruntime calls it
CLOCKED = ("MODEL_CARD.md", REPORT, "report.html")  # they tell what the clock and the memory meter gave
UNREPEATED = dict.fromkeys(("measured", "emulated", "predicted"))  # of a report's file: no two runs have the same bits


def write_bundle(
    run: RunResult, recipe: Recipe, profile: Profile, report: dict[str, Any], verdict: Verdict, folder: Path
) -> Path:
    """Writes the bundle of one target and returns `folder`.

    It is written beside and renamed when whole, so an earlier bundle stands until then. Same input, same bytes: no
    times, no paths, keys in order; only what `measured` holds in the report differs from run to run.
    Raises InputError if `folder` holds anything but a bundle, can't be written, or there is no space left.
    """
    beside, old = (folder.with_name(f".{folder.name}.{part}") for part in ("part", "old"))
    try:
        if old.exists() and not folder.exists():
            old.rename(folder)  # a run was killed between the two renames
        _refuse_foreign(folder)
        for leftover in (beside, old):
            shutil.rmtree(leftover, ignore_errors=True)
        (beside / "golden").mkdir(parents=True)
        _write_files(run, profile, beside)
        write_app(beside, report["recipe"], report["target"]["name"])
        _write_report(beside, report, verdict)
        _write_text(beside / SBOM, sbom_text(beside, recipe, profile.id, run.data, CLOCKED))
        _write_text(beside / MANIFEST, json_text(_manifest(run, recipe, profile, report, beside)))
        _swap(beside, folder, old)
    except OSError as error:
        reason = "no space left" if error.errno in (errno.ENOSPC, errno.EDQUOT) else str(error)
        raise InputError(
            f"{folder}: the bundle can't be written: {reason}; what was there before is untouched. "
            "Make room or give --out another folder, and run again: the stages' results are kept"
        ) from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return folder


def rewrite_report(folder: Path, report: dict[str, Any], verdict: Verdict) -> None:
    """Replaces the report of a bundle, and what shows it, in a copy that is renamed when it is whole; a
    signed bundle has to be signed again. Raises InputError if it can't be written; the bundle is then as it was."""
    beside, old = (folder.with_name(f".{folder.name}.{part}") for part in ("part", "old"))
    manifest = read_json(folder / MANIFEST)
    try:
        for leftover in (beside, old):
            shutil.rmtree(leftover, ignore_errors=True)
        shutil.copytree(folder, beside)
        (beside / SIGNATURE).unlink(missing_ok=True)  # of the manifest that is replaced
        _write_report(beside, report, verdict)
        for name in CLOCKED:
            manifest["files"][name] = {"sha256": file_sha256(beside / name), "bytes": (beside / name).stat().st_size}
        manifest["clock_figures"] = list(CLOCKED)
        _write_text(beside / MANIFEST, json_text(manifest))
        _swap(beside, folder, old)
    except OSError as error:
        reason = "no space left" if error.errno in (errno.ENOSPC, errno.EDQUOT) else str(error)
        raise InputError(f"{folder}: the report can't be written: {reason}; the bundle is as it was") from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _write_report(folder: Path, report: dict[str, Any], verdict: Verdict) -> None:
    _write_text(folder / REPORT, json_text(report))
    _write_text(folder / "report.html", render_html(report, verdict))
    _write_text(folder / "MODEL_CARD.md", render_card(report, verdict))


def validate_bundle(
    folder: Path, device: str | None = None, tools: Sequence[str] = (), names: Sequence[str] = ()
) -> list[GoldenResult]:
    """Every shipped file of a bundle, or those of `names`, proven to be as written, run by its runtime on the golden
    inputs: here, or on the `device` (adb:SERIAL or ssh:HOST) with its `tools` (NAME=PATH).

    Raises InputError if the bundle is changed or incomplete, TargetError if a file can't be opened.
    """
    verify_bundle(folder)
    golden = read_json(folder / GOLDEN_FILES)
    plan = Measure() if device is None else placed_measure(Measure(), device, named_tools(tools))
    runner = runner_for(plan)
    try:
        return [replay(folder, name, golden["files"][name], runner) for name in named_files(golden["files"], names)]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{folder / GOLDEN_FILES}: incomplete ({error!r}); make the bundle again") from None


def _refuse_foreign(folder: Path) -> None:
    """Only a bundle is replaced, and only one that holds nothing else: a user's own file is never deleted."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise InputError(f"{folder}: a file stands where the bundle goes; remove it or give --out another folder")
    found = bundle_files(folder)
    if (folder / MANIFEST).exists():
        found = sorted(set(found) - set(read_json(folder / MANIFEST).get("files", {})))
    if found:
        raise InputError(
            f"{folder}: holds {found[0]}, which no run wrote; a new bundle would delete it. "
            "Move it away or give --out another folder"
        )


def _swap(beside: Path, folder: Path, old: Path) -> None:
    if folder.exists():
        folder.rename(old)
    try:
        beside.rename(folder)
    except BaseException:
        if old.exists():
            old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _write_text(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8", newline="\n")


def _write_files(run: RunResult, profile: Profile, folder: Path) -> None:
    data = run.data
    _write_text(folder / "labels.txt", "".join(f"{' '.join(label.split())}\n" for label in data.labels))
    if data.tokenizer_folder is not None:
        for part in sorted(path for path in data.tokenizer_folder.iterdir() if path.is_file()):
            shutil.copyfile(part, folder / part.name)
        write_golden_tokens(data, folder)
    positions = golden_positions(data)
    golden: dict[str, Any] = {"schema": SCHEMA, "samples": write_samples(data, positions, folder), "files": {}}
    preprocess = {}
    for file in (file for file in run.files if file.shipped):
        name = file_name(file)
        shutil.copyfile(file.export.file, folder / name)
        options = _options(file, profile)
        model = open_model(folder / name, options)
        preprocess[name] = {**preprocess_settings(model.inputs, data), "outputs": [_output(o) for o in model.outputs]}
        golden["files"][name] = write_tensors(model, name, file, options, data, positions, folder)
        if file.export.operators_file is not None:
            shutil.copyfile(file.export.operators_file, folder / f"{Path(name).stem}.{OPERATORS}")
    for export in run.unvalidated:
        shutil.copytree(export.file, folder / f"model.{export.label}.{export.format}")
    _write_text(folder / "preprocess.json", json_text(preprocess))
    _write_text(folder / REFERENCE, json_text(_reference(run)))
    _write_text(folder / GOLDEN_FILES, json_text(golden))


def _reference(run: RunResult) -> dict[str, Any]:
    """What `edgepress monitor` holds answers from the field against."""
    shipped = {file_name(file): file.accuracy.scores for file in run.files if file.shipped}
    return make_reference(shipped, run.data.labels, run.data.targets[run.data.rows("test")])


def _output(spec: TensorSpec) -> dict[str, Any]:
    """How an app reads the scores: real value = (stored - zero_point) * scale where there is a quantization."""
    quantization = None if spec.scale is None else {"scale": spec.scale, "zero_point": spec.zero_point}
    return {"name": spec.name, "shape": list(spec.shape), "dtype": spec.dtype, "quantization": quantization}


def _options(file: TargetFile, profile: Profile) -> RuntimeOptions:
    runtime = profile.runtime_for(file.accuracy.runtime)
    return RuntimeOptions(runtime.name, runtime.threads, runtime.delegate)


def _manifest(run: RunResult, recipe: Recipe, profile: Profile, report: dict[str, Any], folder: Path) -> dict[str, Any]:
    digests = {name: file_sha256(folder / name) for name in bundle_files(folder)}
    provenance = report["provenance"]
    return {
        "schema": SCHEMA,
        "edgepress": provenance["edgepress"],
        "recipe": without_folders(recipe.model_dump(mode="json", by_alias=True)),
        "profile": profile.for_reports(),
        "python": provenance["python"],
        "versions": provenance["versions"],
        "seeds": provenance["seeds"],
        "calibration": {
            file_name(file): json.loads(file.export.calibration_manifest.read_text(encoding="utf-8"))
            for file in run.files
            if file.shipped and file.export.calibration_manifest
        },
        "files": {
            name: {"sha256": digest, "bytes": (folder / name).stat().st_size} for name, digest in digests.items()
        },
        "clock_figures": list(CLOCKED) if any(file.latency or file.emulated for file in run.files) else [],
        "app": checks(),
        "reproducible_sha256": _reproducible(report, digests),
    }


def _reproducible(report: dict[str, Any], digests: dict[str, str]) -> str:
    """One digest of all that no clock touches: the other files, and the report without `measured` and what an
    emulator counted."""
    timeless = {**report, "files": [{**file, **UNREPEATED} for file in report["files"]]}
    lines = [f"{digest}  {name}\n" for name, digest in sorted(digests.items()) if name not in CLOCKED]
    return hashlib.sha256("".join([*lines, json_text(timeless)]).encode()).hexdigest()
