"""Mixed precision: the layers that cost most accuracy in 8 bits stay in float, as few as a recipe's `max_drop` asks."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.context import RunContext
from pipeline.progress import Meter
from pipeline.quantize.failures import quantizing
from pipeline.quantize.fewest import fewest
from pipeline.quantize.mixed_results import KeptLayer, MixedResult, SensitivityResult
from pipeline.quantize.onnx import write_static_onnx
from pipeline.quantize.sensitivity import points_lost, score_rows
from pipeline.quantize.tflite import observe_tflite, write_static_tflite
from pipeline.results import Calibration, ExportedFile, PreparedData
from targets.machine import describe_machine
from targets.profile import Quantization
from targets.runtimes.base import RuntimeOptions


@dataclass(frozen=True)
class Part:
    """One of the files that a target ships, before it is quantized: `export` in float32 is quantized, and held against
    `reference`, the student's own float32 file, by the runtime of `options`."""

    export: ExportedFile
    reference: ExportedFile
    options: RuntimeOptions


def mix_precision(
    parts: Sequence[Part],
    data: PreparedData,
    quantization: Quantization,
    calibration: Calibration,
    sensitivity: SensitivityResult,
    max_drop: float,
    context: RunContext,
) -> MixedResult:
    """The layers that stay in float in all `parts` of a target alike, so that none of its files is more than `max_drop`
    points less accurate than its reference on the whole validation split (`pipeline.quantize.fewest`: most sensitive
    first: partial quantization, Wu et al. 2020). Every set of layers is judged on the real files.

    All but one of the layers could be kept: a file without 8-bit weights is none. If that is not enough, the result
    tells what was reached. Raises InputError if a file can't be quantized so.
    """
    rows, machine = data.rows("validation"), describe_machine()
    ranked = [layer.layer for layer in sensitivity.ranked][:-1]
    inputs: dict[str, object] = {
        "parts": [[part.export.fingerprint, part.reference.fingerprint, part.options] for part in parts],
        "data": data.fingerprint,
        "quantization": quantization,
        "calibration": calibration.fingerprint,
        "sensitivity": sensitivity.fingerprint,
        "max_drop": max_drop,
        "processor": [machine.cpu, machine.isa],
    }

    def make(folder: Path, key: str, meter: Meter) -> MixedResult:
        scratch = folder / "resume"
        scratch.mkdir(exist_ok=True)
        writers = {part.export.format: writer(part, data, quantization, calibration) for part in parts}
        expected = [score_rows(part.reference.file, data, rows, part.options) for part in parts]
        lost: dict[frozenset[str], dict[str, float]] = {}
        sizes: dict[frozenset[str], dict[str, int]] = {}

        def loss(kept: frozenset[str]) -> float:
            lost[kept], sizes[kept] = {}, {}
            for part, reference in zip(parts, expected, strict=True):
                name = part.export.format
                file = writers[name](kept, scratch)
                scores = score_rows(file, data, rows, part.options)
                lost[kept][name] = points_lost(reference, scores, data.targets[rows])
                sizes[kept][name] = file.stat().st_size
            worst = max(lost[kept].values())
            meter.total = max(meter.total, meter.done + 2)
            meter.advance(note=f"{len(kept)} in float: {worst:+.2f} points lost")
            return worst

        choice = fewest(ranked, loss, max_drop)
        chosen, none = frozenset(choice.kept), frozenset[str]()
        for layer in choice.kept:
            if chosen - {layer} not in lost:
                loss(chosen - {layer})
        meter.text = f"{len(chosen)} of {len(ranked) + 1} layers in float"
        return MixedResult(
            fingerprint=key,
            max_drop=max_drop,
            samples=len(rows),
            layers=len(ranked) + 1,
            tried=len(lost),
            kept=tuple(
                KeptLayer(layer, lost[chosen - {layer}], _apart(sizes[chosen], sizes[chosen - {layer}]))
                for layer in choice.kept
            ),
            points_lost=lost[chosen],
            throughout=lost[none],
            bytes=sizes[chosen],
            bytes_throughout=sizes[none],
        )

    title = f"layers in float for {max_drop:g} points"
    return context.stage("mix", inputs, MixedResult, make, total=8, unit="sets", title=title)


def writer(
    part: Part, data: PreparedData, quantization: Quantization, calibration: Calibration
) -> Callable[[Collection[str], Path], Path]:
    """A function that writes the file of `part` with some layers in float into a folder; the same bytes as the stage
    that makes what ships."""
    export = part.export
    with quantizing(export.format, quantization.label):
        observed = observe_tflite(export, data, calibration, Meter("", "", 0)) if export.format == "tflite" else None

    def write(kept: Collection[str], folder: Path) -> Path:
        file = folder / f"mixed.{export.format}"
        with quantizing(export.format, quantization.label):
            if observed is None:
                write_static_onnx(quantization, calibration, kept, file)
            else:
                write_static_tflite(export, quantization, calibration, observed, kept, file)
        return file

    return write


def _apart(sizes: dict[str, int], without: dict[str, int]) -> dict[str, int]:
    return {name: size - without[name] for name, size in sizes.items()}
