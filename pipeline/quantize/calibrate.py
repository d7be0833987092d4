"""One calibration of a student: ranges of its activations, which the ONNX and the TFLite file share."""

import json
from itertools import islice
from pathlib import Path

from calibration.manifest import CalibrationManifest, write_manifest
from calibration.observe import OnnxTensors
from calibration.ranges import DESCRIPTIONS, activation_ranges, passes
from calibration.stream import SampleStream
from pipeline.aware.ranges import learned_ranges
from pipeline.context import RunContext
from pipeline.progress import Meter
from pipeline.quantize.failures import quantizing
from pipeline.quantize.graph import read_graph
from pipeline.quantize.matching import SAMPLES, signatures
from pipeline.quantize.prepare import prepare_onnx
from pipeline.quantize.samples import PIXELS, SELECTIONS, calibration_rows, stream_of
from pipeline.quantize.sums import share_ranges_of_sums
from pipeline.results import Calibration, ExportedFile, NetworkResult, PreparedData
from pipeline.settings.release import CalibrationSettings


def calibrate(
    export: ExportedFile,
    data: PreparedData,
    student: NetworkResult,
    teacher: NetworkResult,
    teacher_data: PreparedData,
    settings: CalibrationSettings,
    context: RunContext,
) -> Calibration:
    """Ranges of the activations of `export`, the float32 ONNX file of `student`, over training samples as `settings`
    say; those that it learned with its weights are taken as they are. In networks for images sums share a range with
    their terms (`pipeline.quantize.sums`).

    `teacher`, who reads the samples as `teacher_data` has them, is asked where its uncertainty chooses. Raises
    CalibrationError for samples that can't calibrate and activations that are not finite, InputError if the file can't
    be looked into.
    """
    asks = settings.select == "uncertainty"
    inputs: dict[str, object] = {
        "export": export.fingerprint,
        "data": data.fingerprint,
        "settings": settings,
        "teacher": teacher.fingerprint if asks else None,
        "learned": student.fingerprint if student.ranges_file else None,
    }
    total = passes(settings.method) * min(settings.samples, len(data.rows("train")))

    def make(folder: Path, key: str, meter: Meter) -> Calibration:
        scratch = folder / "resume"
        scratch.mkdir(exist_ok=True)
        with quantizing("onnx", "int8-static"):
            rows = calibration_rows(export, data, teacher, teacher_data, settings)
            prepared = prepare_onnx(export.file, scratch).replace(folder / "model.onnx")
            found = activation_ranges(
                prepared, stream_of(export, data, rows), settings.method, scratch, settings.settle, meter.advance
            )
        ranges = dict(found.ranges)
        stream = stream_of(export, data, rows[: found.samples])
        if data.task == "image-classification":
            ranges |= dict.fromkeys(stream.make(stream.rows[0]), PIXELS)
        tensors = OnnxTensors(prepared, ranges)
        told = signatures([tensors(sample) for sample in islice(stream, SAMPLES)])
        learned = learned_ranges(student, data, stream.rows[:SAMPLES], told)
        ranges |= learned
        if data.task == "image-classification":
            ranges = share_ranges_of_sums(read_graph(prepared, "onnx"), ranges)
        activations = {name: {"range": ends, "signature": told.get(name)} for name, ends in sorted(ranges.items())}
        file = folder / "activations.json"
        file.write_text(json.dumps(activations) + "\n", encoding="utf-8")
        method = DESCRIPTIONS[settings.method]
        if learned:
            method = (
                f"{len(learned)} ranges learned with the weights (LSQ, Esser et al. 2020), of the others the {method}"
            )
        manifest = _manifest(export, data, settings, stream, f"{method} ({settings.method})", found.settled)
        meter.text = f"{len(stream):,} samples{', settled' if found.settled else ''}, {len(ranges):,} activations"
        meter.show()
        return Calibration(key, prepared, file, write_manifest(manifest, folder / "calibration.json"))

    title = f"calibrate by {settings.method}"
    return context.stage("calibrate", inputs, Calibration, make, total=total, unit="samples", title=title)


def _manifest(
    export: ExportedFile,
    data: PreparedData,
    settings: CalibrationSettings,
    stream: SampleStream,
    method: str,
    settled: bool,
) -> CalibrationManifest:
    classes = data.targets[list(stream.rows)]
    return CalibrationManifest(
        method=method,
        asked=settings.samples,
        seed=settings.seed,
        rows=stream.rows,
        samples_by_label={label: int((classes == index).sum()) for index, label in enumerate(data.labels)},
        samples_sha256=stream.sha256(),
        data_sha256=data.content_sha256,
        model_sha256=export.sha256,
        selection=SELECTIONS[settings.select],
        settled=settled,
    )
