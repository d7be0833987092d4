"""ONNX Runtime's own format, for its mobile builds: the graph as its kernels run it, and the operators that takes."""

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from pipeline.context import RunContext
from pipeline.errors import InputError
from pipeline.progress import Meter
from pipeline.quiet import quiet
from pipeline.results import ExportedFile
from pipeline.store import file_sha256


def convert_to_ort(file: ExportedFile, isa: tuple[str, ...], context: RunContext) -> ExportedFile:
    """The ONNX file `file` in ORT format, by onnxruntime's own converter: optimized once and for all, without layouts
    that one processor alone has. `operators_file` is what onnxruntime's build takes as `--include_ops_by_config`, types
    included. For ARM (`isa` has neon) 8-bit operators may compute with signed activations.

    Raises InputError if onnxruntime can't convert it.
    """
    platform = "arm" if "neon" in isa else None

    def make(folder: Path, key: str, meter: Meter) -> ExportedFile:
        work = folder / "resume"  # the store removes it with what is left in it
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        model = Path(shutil.copyfile(file.file, work / f"model.{file.label}.onnx"))
        try:
            with quiet(), _silent_log():
                from onnxruntime.tools.convert_onnx_models_to_ort import OptimizationStyle, convert_onnx_models_to_ort

                convert_onnx_models_to_ort(
                    model,
                    optimization_styles=[OptimizationStyle.Fixed],
                    target_platform=platform,
                    enable_type_reduction=True,
                )
        except Exception as error:  # onnxruntime's errors share no base class of their own
            reason = " ".join(str(error).split()) or type(error).__name__
            raise InputError(
                f"{model.name}: onnxruntime can't write it in ORT format: {reason}; leave ort out of the target's "
                "export.extra_formats"
            ) from None
        written = Path(shutil.move(model.with_suffix(".ort"), folder / "model.ort"))
        (config,) = work.glob("*.config")
        operators = folder / "operators.config"
        operators.write_text(_without_folders(config.read_text(encoding="utf-8")), encoding="utf-8", newline="\n")
        manifest = file.calibration_manifest
        if manifest is not None:
            manifest = Path(shutil.copy(manifest, folder / manifest.name))
        meter.advance(note=f"{written.stat().st_size / 1e6:.2f} MB")
        return replace(
            file,
            fingerprint=key,
            file=written,
            format="ort",
            bytes=written.stat().st_size,
            sha256=file_sha256(written),
            calibration_manifest=manifest,
            operators_file=operators,
        )

    inputs = {"file": file.fingerprint, "platform": platform}
    return context.stage("ort", inputs, ExportedFile, make, title=f"ORT format of {file.label} onnx")


def _without_folders(config: str) -> str:
    """The converter names its model with the folder in which it lay."""
    lines = (f"# - {Path(line[4:]).name}" if line.startswith("# - ") else line for line in config.splitlines())
    return "".join(f"{line}\n" for line in lines)


@contextmanager
def _silent_log() -> Iterator[None]:
    """onnxruntime's tools set up a log on stderr for the whole process when they are imported."""
    disabled, handlers = logging.root.manager.disable, list(logging.root.handlers)
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(disabled)
        logging.root.handlers[:] = handlers
