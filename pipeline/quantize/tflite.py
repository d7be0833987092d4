"""Quantizes TFLite files with ai-edge-quantizer."""

import re
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from calibration.manifest import read_manifest
from calibration.observe import TfliteTensors
from calibration.stream import SampleStream
from pipeline.context import RunContext
from pipeline.errors import InputError
from pipeline.progress import Meter
from pipeline.quantize.failures import quantizing
from pipeline.quantize.files import quantized_file
from pipeline.quantize.graph import read_graph
from pipeline.quantize.keep_float import mask_operators, operators_before_layers
from pipeline.quantize.matching import SAMPLES, same_activations, signatures
from pipeline.quantize.samples import PIXELS, stream_of
from pipeline.results import Calibration, ExportedFile, PreparedData
from targets.profile import IoType, Quantization, Scheme
from targets.runtimes.base import RuntimeOptions, open_model
from targets.schemes import BLOCK, FOUR_BIT, unfit

SIGNATURE = "serving_default"

Ranges = dict[str, dict[str, np.ndarray]]  # tensor -> "min" and "max"

GRANULARITIES = {"per-channel": "CHANNELWISE", "per-tensor": "TENSORWISE", "per-block": f"BLOCKWISE_{BLOCK}"}


def quantize_tflite(
    export: ExportedFile,
    data: PreparedData,
    quantization: Quantization,
    calibration: Calibration | None,
    context: RunContext,
) -> ExportedFile:
    """The float32 TFLite file `export` in `quantization.scheme`; unchanged for float32.

    - float16: weights stored in 16 bits, arithmetic in float32 where the delegate has no 16-bit kernels;
    - int8-dynamic: weights in 8 bits, activations at run time;
    - int4-dynamic, int4-weights: weights in 4 bits where LiteRT has kernels, in 8 elsewhere (depthwise convolutions);
      activations in 8 at run time, or arithmetic in float;
    - int8-static: weights and activations in 8 bits, by the ranges of `calibration` (of the same student's ONNX file;
      the other schemes need none); with `io_dtype` int8 or uint8 the inputs and outputs too. An activation that the
      ONNX file has not gets its extremes over the same samples. Embeddings get 8-bit weights and give float, which is
      quantized next;
    - int8-static-a16: the same with activations of 16 bits, symmetric.

    Raises InputError if the file can't be quantized so.
    """
    if quantization.scheme == "float32":
        return export
    if reason := unfit(quantization, data.task, "litert"):
        raise InputError(reason)
    static = quantization.static
    inputs: dict[str, object] = {"format": "tflite", "export": export.fingerprint, "scheme": quantization.scheme}
    total = 1
    if quantization.scheme != "float16":
        inputs |= {"granularity": quantization.granularity, "float_fallback": quantization.allow_float_fallback}
    if static:
        assert calibration is not None, "static quantization needs ranges"
        rows = read_manifest(calibration.manifest_file).rows
        inputs |= {"io_dtype": quantization.io_dtype, "symmetric": quantization.symmetric}
        inputs |= {"calibration": calibration.fingerprint}
        total += len(rows)

    def make(folder: Path, key: str, meter: Meter) -> ExportedFile:
        ranges = None
        with quantizing("tflite", quantization.label):
            quantizer = _quantizer(export.file, quantization)
            if static:
                assert calibration is not None
                stream = stream_of(export, data, rows)
                ranges = _extremes(export.file, stream, meter)
                _share(ranges, export.file, stream, calibration)
                if data.task == "image-classification":
                    _set_pixel_range(ranges, export.file)
                else:
                    _keep_masks_in_float(quantizer, export.file, ranges)
            content = quantizer.quantize(ranges, enable_progress_report=False).quantized_model
        file = folder / "model.tflite"
        file.write_bytes(content)
        meter.advance()
        return quantized_file(export, quantization, file, key, calibration)

    return context.stage(
        "quantize",
        inputs,
        ExportedFile,
        make,
        total=total,
        unit="samples",
        title=f"quantize TFLite to {quantization.label}",
    )


def _quantizer(file: Path, quantization: Quantization) -> Any:
    """An ai_edge_quantizer.Quantizer of `file` that knows what to do with each operator."""
    from ai_edge_quantizer import qtyping
    from ai_edge_quantizer.quantizer import Quantizer

    operators = qtyping.TFLOperationName
    quantizer = Quantizer(str(file))
    granularity = qtyping.QuantGranularity(GRANULARITIES[quantization.granularity])
    if quantization.scheme == "float16":
        half = qtyping.TensorQuantizationConfig(num_bits=16, dtype=qtyping.TensorDataType.FLOAT)
        settings = qtyping.OpQuantizationConfig(
            weight_tensor_config=half, compute_precision=qtyping.ComputePrecision.FLOAT, explicit_dequantize=True
        )
        quantizer.update_quantization_recipe(".*", operators.ALL_SUPPORTED, settings, "float_casting")
    elif quantization.scheme in FOUR_BIT:
        _add_four_bits(quantizer, quantization.scheme, granularity)
    elif quantization.scheme == "int8-dynamic":
        quantizer.add_dynamic_config(".*", operators.ALL_SUPPORTED, 8, granularity)
    else:
        bits = 16 if quantization.scheme == "int8-static-a16" else 8
        settings = qtyping.OpQuantizationConfig(
            activation_tensor_config=qtyping.TensorQuantizationConfig(bits, symmetric=quantization.symmetric),
            weight_tensor_config=qtyping.TensorQuantizationConfig(8, granularity=granularity),
            compute_precision=qtyping.ComputePrecision.INTEGER,
            explicit_dequantize=False,
        )
        quantizer.update_quantization_recipe(".*", operators.ALL_SUPPORTED, settings)
        quantizer.add_dynamic_config(".*", operators.EMBEDDING_LOOKUP, 8, granularity)  # has no static form
        _quantize_io(quantizer, quantization.io_dtype)
    return quantizer


def _add_four_bits(quantizer: Any, scheme: Scheme, granularity: Any) -> None:
    """Weights of 4 bits for the operators that have such a form; those of the others get 8, by channel."""
    from ai_edge_quantizer import qtyping

    operators = qtyping.TFLOperationName
    add = quantizer.add_dynamic_config if scheme == "int4-dynamic" else quantizer.add_weight_only_config
    add(".*", operators.ALL_SUPPORTED, 8)
    for operator in (operators.FULLY_CONNECTED, operators.EMBEDDING_LOOKUP):
        add(".*", operator, 4, granularity)
    if not granularity.startswith("BLOCKWISE"):  # of which convolutions have no form
        add(".*", operators.CONV_2D, 4, granularity)


def _quantize_io(quantizer: Any, dtype: IoType) -> None:
    """int8 is what comes of static quantization; uint8 is converted at the graph's ends, float32 quantized there."""
    from ai_edge_quantizer import qtyping

    for end in (qtyping.TFLOperationName.INPUT, qtyping.TFLOperationName.OUTPUT):
        if dtype == "float32":
            quantizer.update_quantization_recipe(".*", end, algorithm_key="no_quantize")
        elif dtype == "uint8":
            unsigned = qtyping.TensorQuantizationConfig(num_bits=8, symmetric=False, dtype=qtyping.TensorDataType.UINT)
            settings = qtyping.OpQuantizationConfig(
                activation_tensor_config=unsigned,
                weight_tensor_config=qtyping.TensorQuantizationConfig(num_bits=8),
                compute_precision=qtyping.ComputePrecision.INTEGER,
                explicit_dequantize=False,
            )
            quantizer.update_quantization_recipe(".*", end, settings)


def _extremes(file: Path, stream: SampleStream, meter: Meter) -> Ranges:
    """Minimum and maximum of each activation of `file` over the samples of `stream`, handed over chunk by chunk.

    Quantizer.calibrate would average them over time, so that the last few samples decide: the same ranges as the
    ONNX file gets make the two agree more often. The profiler, in C++, finds what the calibrator's default mode
    finds, some ten times faster.
    """
    from ai_edge_quantizer.calibrator import CalibrationMode, Calibrator
    from ai_edge_quantizer.recipe_manager import RecipeManager
    from ai_edge_quantizer.utils.qsv_utils import min_max_update

    calibrator = Calibrator(
        file.read_bytes(),
        num_threads=1,
        mode=CalibrationMode.CALIBRATION_PROFILER_BASED,
        qsv_update_func=min_max_update,
    )
    for chunk in stream.chunks():
        calibrator.calibrate({SIGNATURE: list(chunk)}, RecipeManager())  # the profiler watches every tensor
        meter.advance(len(chunk))
    return calibrator.get_model_qsvs()


def _share(ranges: Ranges, file: Path, stream: SampleStream, calibration: Calibration) -> None:
    """Replaces ranges of activations that the calibrated ONNX file has too by those that it gets."""
    tensors, shared = TfliteTensors(file), calibration.ranges
    found = signatures([tensors(sample) for sample in islice(stream, SAMPLES)])
    for name, other in same_activations(found, calibration.signatures).items():
        if ranges.get(name):
            for end, value in zip(("min", "max"), shared[other], strict=True):
                ranges[name][end] = np.full_like(ranges[name][end], value)


def _set_pixel_range(ranges: Ranges, file: Path) -> None:
    """Replaces what calibration found for the image input."""
    for name in (spec.name for spec in open_model(file, RuntimeOptions("litert")).inputs):
        ranges[name] = {
            end: np.full_like(ranges[name][end], value) for end, value in zip(("min", "max"), PIXELS, strict=True)
        }


def _keep_masks_in_float(quantizer: Any, file: Path, ranges: Ranges) -> None:
    """Leaves the operators that make, take or give the attention's mask as they are."""
    from ai_edge_quantizer import qtyping

    graph = read_graph(file, "tflite")
    ends = {name: (float(found["min"].min()), float(found["max"].max())) for name, found in ranges.items() if found}
    for operator in (*operators_before_layers(graph), *mask_operators(graph, ends)):
        place = "^" + re.escape("".join(f"{name};" for name in operator.outputs)) + "$"  # the quantizer's own form
        quantizer.update_quantization_recipe(place, qtyping.TFLOperationName.ALL_SUPPORTED, algorithm_key="no_quantize")
