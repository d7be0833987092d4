"""Quantizes TFLite files with ai-edge-quantizer."""

import copy
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
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
from pipeline.quantize.graph import Graph, Operator, read_graph
from pipeline.quantize.keep_float import mask_operators, operators_before_layers
from pipeline.quantize.layers import Layer, layers_of, operators_of, shared_names
from pipeline.quantize.matching import SAMPLES, same_activations, signatures
from pipeline.quantize.samples import PIXELS, stream_of
from pipeline.quantize.tflite_kernels import COLUMNS, group_first_columns
from pipeline.results import Calibration, ExportedFile, PreparedData
from targets.profile import IoType, Quantization, Scheme
from targets.runtimes.base import RuntimeOptions, open_model
from targets.schemes import BLOCK, FOUR_BIT, unfit

SIGNATURE = "serving_default"
# Processors for which the first convolution goes by groups of columns.
GROUPING = "avx2"
SCORES = (0.0, 255 / 256)  # the range that LiteRT gives to what softmax gives in 8 bits

Ranges = dict[str, dict[str, np.ndarray]]  # tensor -> "min" and "max"

GRANULARITIES = {"per-channel": "CHANNELWISE", "per-tensor": "TENSORWISE", "per-block": f"BLOCKWISE_{BLOCK}"}


def quantize_tflite(
    export: ExportedFile,
    data: PreparedData,
    quantization: Quantization,
    calibration: Calibration | None,
    context: RunContext,
    kept: tuple[str, ...] = (),
    isa: tuple[str, ...] = (),
) -> ExportedFile:
    """The float32 TFLite file `export` in `quantization.scheme`; unchanged for float32.

    - float16: weights stored in 16 bits, arithmetic in float32 where the delegate has no 16-bit kernels;
    - int8-dynamic: weights in 8 bits, activations at run time;
    - int4-dynamic, int4-weights: weights in 4 bits where LiteRT has kernels, in 8 elsewhere (depthwise convolutions);
      activations in 8 at run time, or arithmetic in float;
    - int8-static: weights and activations in 8 bits, by the ranges of `calibration` (of the same student's ONNX file;
      the other schemes need none); with `io_dtype` int8 or uint8 the inputs and outputs too. An activation that the
      ONNX file has not gets its extremes over the same samples. Embeddings get 8-bit weights and give float, which is
      quantized next. The layers `kept` (`pipeline.quantize.layers`) stay in float. For an `isa` with AVX2 the first
      convolution goes by groups of columns (`pipeline.quantize.tflite_kernels`);
    - int8-static-a16: the same with activations of 16 bits, symmetric.

    Raises InputError if the file can't be quantized so.
    """
    if quantization.scheme == "float32":
        return export
    if reason := unfit(quantization, data.task, "litert"):
        raise InputError(reason)
    static = quantization.static
    grouped = GROUPING in isa and quantization.scheme == "int8-static" and export.sequence_length is None
    inputs: dict[str, object] = {"format": "tflite", "export": export.fingerprint, "scheme": quantization.scheme}
    total = 1
    if quantization.scheme != "float16":
        inputs |= {"granularity": quantization.granularity, "float_fallback": quantization.allow_float_fallback}
    if static:
        assert calibration is not None, "static quantization needs ranges"
        inputs |= {"io_dtype": quantization.io_dtype, "symmetric": quantization.symmetric}
        inputs |= {"calibration": calibration.fingerprint, "kept": kept}
        total += len(read_manifest(calibration.manifest_file).rows)
    if grouped:
        inputs["columns"] = COLUMNS

    def make(folder: Path, key: str, meter: Meter) -> ExportedFile:
        file, weights = folder / "model.tflite", dict[str, str]()
        with quantizing("tflite", quantization.label):
            if static:
                assert calibration is not None
                observed = observe_tflite(export, data, calibration, meter)
                weights = write_static_tflite(export, quantization, calibration, observed, kept, file)
                if grouped:
                    file.write_bytes(group_first_columns(file.read_bytes()))
            else:
                quantizer = _quantizer(export.file, quantization)
                file.write_bytes(quantizer.quantize(enable_progress_report=False).quantized_model)
        meter.advance()
        return quantized_file(export, quantization, file, key, calibration, weights)

    return context.stage(
        "quantize",
        inputs,
        ExportedFile,
        make,
        total=total,
        unit="samples",
        title=f"quantize TFLite to {quantization.label}",
    )


@dataclass(frozen=True)
class Observed:
    """What static quantization must know of a TFLite file: the ranges of its activations, and which of them (`same`, by
    name) is which of the calibrated ONNX file."""

    ranges: Ranges
    same: dict[str, str]


def observe_tflite(export: ExportedFile, data: PreparedData, calibration: Calibration, meter: Meter) -> Observed:
    """Runs the samples of `calibration` through the float32 TFLite file `export`."""
    stream = stream_of(export, data, read_manifest(calibration.manifest_file).rows)
    ranges = _extremes(export.file, stream, meter)
    same = _share(ranges, export.file, stream, calibration)
    if data.task == "image-classification":
        _set_pixel_range(ranges, export.file)
    return Observed(ranges, same)


def write_static_tflite(
    export: ExportedFile,
    quantization: Quantization,
    calibration: Calibration,
    observed: Observed,
    kept: Collection[str],
    file: Path,
) -> dict[str, str]:
    """Writes `export` in 8 bits, but for the layers `kept`, to `file`. Returns their names by their weights."""
    quantizer, graph = _quantizer(export.file, quantization), read_graph(export.file, "tflite")
    if export.sequence_length is not None:  # a text's
        ends = {n: (float(f["min"].min()), float(f["max"].max())) for n, f in observed.ranges.items() if f}
        _keep_in_float(quantizer, [*operators_before_layers(graph), *mask_operators(graph, ends)])
    ranges = copy.deepcopy(observed.ranges)
    layers = (
        {layer: name for layer, name in _named_layers(graph, calibration, observed) if name in kept} if kept else {}
    )
    in_float = operators_of(graph, layers)
    _keep_in_float(quantizer, in_float)
    for end in (operator for operator in in_float if not graph.takers.get(operator.outputs[0])):
        # The graph's output goes by the name of the operator that gives it. In 8 bits it would have the fixed scale of
        # scores, in float it needs a range.
        _quantize_io(quantizer, quantization.io_dtype, _place(end))
        _set_range(ranges, end.outputs[0], SCORES)
    content = quantizer.quantize(ranges, enable_progress_report=False).quantized_model
    file.write_bytes(content)
    return {layer.weight: name for layer, name in layers.items()}


def _named_layers(graph: Graph, calibration: Calibration, observed: Observed) -> list[tuple[Layer, str]]:
    """The layers of the TFLite file `graph`, each with the name that it has in the calibrated ONNX file."""
    calibrated, layers = read_graph(calibration.model_file, "onnx"), layers_of(graph)
    names = shared_names(layers_of(calibrated), calibrated, layers, observed.same)
    return [(layer, names[layer.output]) for layer in layers]


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


def _quantize_io(quantizer: Any, dtype: IoType, place: str = ".*") -> None:
    """int8 is what comes of static quantization; uint8 is converted at the graph's ends, float32 quantized there."""
    from ai_edge_quantizer import qtyping

    for end in (qtyping.TFLOperationName.INPUT, qtyping.TFLOperationName.OUTPUT):
        if dtype == "float32":
            quantizer.update_quantization_recipe(place, end, algorithm_key="no_quantize")
        elif dtype == "int8":
            quantizer.add_static_config(place, end, 8, 8)
        elif dtype == "uint8":
            unsigned = qtyping.TensorQuantizationConfig(num_bits=8, symmetric=False, dtype=qtyping.TensorDataType.UINT)
            settings = qtyping.OpQuantizationConfig(
                activation_tensor_config=unsigned,
                weight_tensor_config=qtyping.TensorQuantizationConfig(num_bits=8),
                compute_precision=qtyping.ComputePrecision.INTEGER,
                explicit_dequantize=False,
            )
            quantizer.update_quantization_recipe(place, end, settings)


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


def _share(ranges: Ranges, file: Path, stream: SampleStream, calibration: Calibration) -> dict[str, str]:
    """Replaces ranges of activations that the calibrated ONNX file has too by those that it gets. Returns their names
    there."""
    tensors, shared = TfliteTensors(file), calibration.ranges
    found = signatures([tensors(sample) for sample in islice(stream, SAMPLES)])
    same = same_activations(found, calibration.signatures)
    for name, other in same.items():
        if ranges.get(name):
            _set_range(ranges, name, shared[other])
    return same


def _set_pixel_range(ranges: Ranges, file: Path) -> None:
    """Replaces what calibration found for the image input."""
    for name in (spec.name for spec in open_model(file, RuntimeOptions("litert")).inputs):
        _set_range(ranges, name, PIXELS)


def _set_range(ranges: Ranges, name: str, ends: tuple[float, float]) -> None:
    found = ranges[name]
    ranges[name] = {end: np.full_like(found[end], value) for end, value in zip(("min", "max"), ends, strict=True)}


def _keep_in_float(quantizer: Any, operators: Iterable[Operator]) -> None:
    """Leaves `operators` as they are."""
    from ai_edge_quantizer import qtyping

    for operator in operators:
        everything = qtyping.TFLOperationName.ALL_SUPPORTED
        quantizer.update_quantization_recipe(_place(operator), everything, algorithm_key="no_quantize")


def _place(operator: Operator) -> str:
    """The one operator, in the quantizer's own form: a pattern for the names of what it gives."""
    return "^" + re.escape("".join(f"{name};" for name in operator.outputs)) + "$"
