"""What is known of activations: calibration samples from the training split, and an image input's range."""

from calibration.manifest import CalibrationManifest
from calibration.select import select
from calibration.stream import SampleStream
from pipeline.feeds import feeds
from pipeline.results import ExportedFile, PreparedData
from pipeline.settings.release import CalibrationSettings
from targets.runtimes.base import RuntimeOptions, open_model

# An image input's range is known, not measured: scale 1, zero point 0 or -128. Apps that feed a uint8 input hand over
# its bytes as they are, whatever scale calibration would have found.
PIXELS = (0.0, 255.0)


def calibration_stream(export: ExportedFile, data: PreparedData, settings: CalibrationSettings) -> SampleStream:
    """Training samples as the float file `export` takes them, in the order of `calibration.select`.

    Raises CalibrationError if the training split can't give them.
    """
    specs = open_model(export.file, RuntimeOptions("onnxruntime" if export.format == "onnx" else "litert")).inputs
    rows = select(data.targets, data.rows("train"), settings.samples, settings.seed)
    return SampleStream(tuple(int(row) for row in rows), lambda row: feeds(specs, data, row))


def calibration_manifest(
    export: ExportedFile, data: PreparedData, settings: CalibrationSettings, stream: SampleStream, method: str
) -> CalibrationManifest:
    """The record of a calibration by `method` (in words) with the samples of `stream`."""
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
    )
