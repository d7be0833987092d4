"""A quantized file as a result: looked into, and with the record of its calibration beside it."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from calibration.manifest import read_manifest, write_manifest
from pipeline.quantize.inspect import check_quantized, describe_quantized
from pipeline.results import Calibration, ExportedFile
from pipeline.store import file_sha256
from targets.profile import Quantization


def quantized_file(
    export: ExportedFile,
    quantization: Quantization,
    file: Path,
    key: str,
    calibration: Calibration | None,
    kept: Mapping[str, str],
) -> ExportedFile:
    """What was made of `export`: `file`, with `calibration.json` beside it where ranges of a `calibration` are in it.
    `kept` names the layers that are meant to be in float, by their weights.

    Raises InputError if it is not what `quantization` says (`check_quantized`).
    """
    manifest = read_manifest(calibration.manifest_file) if calibration and quantization.static else None
    notes: tuple[str, ...] = manifest.notes if manifest else ()
    written = write_manifest(manifest, file.with_name("calibration.json")) if manifest else None
    made = replace(
        export,
        fingerprint=key,
        file=file,
        scheme=quantization.scheme,
        io_dtype=quantization.io_dtype,
        bytes=file.stat().st_size,
        sha256=file_sha256(file),
        calibration_manifest=written,
    )
    check_quantized(made, allow_float_fallback=quantization.allow_float_fallback, kept=kept)
    return replace(made, notes=(*export.notes, *notes, *_kept_notes(kept), *describe_quantized(made)))


def _kept_notes(kept: Mapping[str, str]) -> list[str]:
    return [f"kept in float by quantize.max_drop: {', '.join(kept.values())}"] if kept else []
