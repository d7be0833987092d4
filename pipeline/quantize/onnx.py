"""Quantizes ONNX files with onnxruntime's quantizer, and transformers students through optimum's presets."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.context import RunContext
from pipeline.errors import InputError
from pipeline.progress import Meter
from pipeline.quantize.failures import quantizing
from pipeline.quantize.files import quantized_file
from pipeline.quantize.graph import read_graph
from pipeline.quantize.keep_float import mask_operators, operators_before_layers
from pipeline.quantize.layers import layers_of, operators_of
from pipeline.quantize.onnx_four_bit import four_bit_model
from pipeline.quantize.onnx_graph import guard_float_weights, quantize_io, store_weights_in_16_bits
from pipeline.quantize.onnx_kernels import widen_first_convolution
from pipeline.quantize.prepare import prepare_onnx
from pipeline.results import Calibration, ExportedFile, PreparedData
from targets.profile import Quantization
from targets.schemes import FOUR_BIT, unfit

# Operators that onnxruntime's CPU has no 8-bit kernel for (it would dequantize, compute, and round once more), and
# softmax, whose scores lose most by 8 bits. A profile without float fallback gets them quantized all the same.
FLOAT_OPERATORS = frozenset({
    "ArgMax", "BatchNormalization", "CumSum", "InstanceNormalization", "LayerNormalization", "Softmax", "TopK",
})  # fmt: skip

# Instruction sets, best first, and optimum's preset for each: avx2 stores weights unsigned, the others signed.
PRESETS = (
    ("avx512_vnni", "avx512_vnni"),
    ("avx_vnni", "avx512_vnni"),
    ("amx_int8", "avx512_vnni"),
    ("avx512f", "avx512"),
    ("avx2", "avx2"),
    ("neon", "arm64"),
)


def quantize_onnx(
    export: ExportedFile,
    data: PreparedData,
    quantization: Quantization,
    calibration: Calibration | None,
    isa: tuple[str, ...],
    context: RunContext,
    kept: tuple[str, ...] = (),
) -> ExportedFile:
    """The float32 ONNX file `export` in `quantization.scheme`; unchanged for float32.

    - float16: weights stored in 16 bits, arithmetic in float32;
    - int8-dynamic: weights in 8 bits, activations at run time; texts by optimum's preset for `isa`. For images it
      saves bytes alone: onnxruntime's ConvInteger has one scale a tensor and is slower than float;
    - int8-static: weights and activations in 8 bits, by the ranges of `calibration` (of this very file; the other
      schemes need none); with `io_dtype` int8 or uint8 the inputs and outputs too, scales in the metadata
      (`quantize_io`); the layers `kept` (`pipeline.quantize.layers`) stay in float;
    - int8-static-a16: the same with activations of 16 bits, which onnxruntime's CPU computes in float;
    - int4-dynamic, int4-weights: texts alone, weights in 4 bits (`four_bit_model`).

    Raises InputError if the file can't be quantized so.
    """
    if quantization.scheme == "float32":
        return export
    if reason := unfit(quantization, data.task, "onnxruntime"):
        raise InputError(reason)
    inputs: dict[str, object] = {"format": "onnx", "export": export.fingerprint, "scheme": quantization.scheme}
    if quantization.static:
        assert calibration is not None, "static quantization needs ranges"
        inputs |= {"quantization": quantization, "calibration": calibration.fingerprint, "kept": kept}
    preset = preset_for(isa) if data.task == "text-classification" else None
    if quantization.scheme == "int8-dynamic":
        inputs |= {"quantization": quantization, "preset": preset, "weights": _weights_wanted(quantization)}

    def make(folder: Path, key: str, meter: Meter) -> ExportedFile:
        scratch = folder / "resume"  # the store removes it with what is left in it
        scratch.mkdir(exist_ok=True)
        file = folder / "model.onnx"
        with quantizing("onnx", quantization.label):
            if quantization.scheme == "float16":
                model = _load(export.file)
                store_weights_in_16_bits(model)
                _save(model, {}, file)
            elif quantization.scheme in FOUR_BIT:
                _save(four_bit_model(prepare_onnx(export.file, scratch), quantization.scheme), {}, file)
            elif quantization.scheme == "int8-dynamic":
                _save(_dynamic(prepare_onnx(export.file, scratch), quantization, preset, scratch), {}, file)
            else:
                assert calibration is not None
                write_static_onnx(quantization, calibration, kept, file)
        meter.advance()
        return quantized_file(export, quantization, file, key, calibration, _weights(calibration, kept))

    return context.stage(
        "quantize",
        inputs,
        ExportedFile,
        make,
        total=1,
        unit="files",
        title=f"quantize ONNX to {quantization.label}",
    )


def preset_for(isa: tuple[str, ...]) -> str:
    """optimum's preset for the best instruction set of `isa`; arm64's, with weights signed, if none is known."""
    return next((preset for flag, preset in PRESETS if flag in isa), "arm64")


def _load(file: Path) -> Any:
    import onnx

    return onnx.load(str(file))


def write_static_onnx(quantization: Quantization, calibration: Calibration, kept: Collection[str], file: Path) -> Path:
    """Writes the calibrated file in 8 bits, but for the layers `kept`, to `file`."""
    model, metadata = static_onnx(quantization, calibration, kept), dict[str, str]()
    if quantization.io_dtype != "float32":
        metadata = quantize_io(model, quantization.io_dtype)
    return _save(model, metadata, file)


def _weights(calibration: Calibration | None, kept: Collection[str]) -> dict[str, str]:
    """The layers `kept` by the names of their weights."""
    if calibration is None or not kept:
        return {}
    layers = layers_of(read_graph(calibration.model_file, "onnx"))
    return {layer.weight: layer.name for layer in layers if layer.name in kept}


def _save(model: Any, metadata: dict[str, str], file: Path) -> Path:
    """Writes `model` with no more metadata than `metadata`, the same bytes for the same model."""
    import onnx

    del model.graph.value_info[:]
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, metadata)
    onnx.checker.check_model(model)
    file.write_bytes(model.SerializeToString(deterministic=True))
    return file


def _operators(prepared: Path, allow_float_fallback: bool) -> list[str]:
    """Kinds of operators to quantize, sorted."""
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    if allow_float_fallback:
        return sorted({*QDQRegistry, *QLinearOpsRegistry} - FLOAT_OPERATORS)
    return sorted({node.op_type for node in _load(prepared).graph.node})


def static_onnx(
    quantization: Quantization, calibration: Calibration, kept: Collection[str] = (), alone: str | None = None
) -> Any:
    """An onnx.ModelProto in the profile's form (QDQ or QOperator), weights and activations in its types. The layers
    `kept` stay in float; with `alone`, all but this one do."""
    from onnxruntime.quantization import CalibrationMethod, QuantizationMode, QuantType
    from onnxruntime.quantization.calibrate import TensorsData
    from onnxruntime.quantization.onnx_quantizer import ONNXQuantizer
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
    from onnxruntime.quantization.quant_utils import load_model_with_shape_infer

    prepared, ranges = calibration.model_file, calibration.ranges
    operators = _operators(prepared, quantization.allow_float_fallback)
    types = {"int8": QuantType.QInt8, "uint8": QuantType.QUInt8}
    activations = types[quantization.onnx_activations]
    options: dict[str, Any] = {"ActivationSymmetric": quantization.symmetric}
    model = load_model_with_shape_infer(prepared)
    if quantization.scheme == "int8-static-a16":
        activations = QuantType.QInt16 if quantization.symmetric else QuantType.QUInt16
        narrow = {"quant_type": QuantType.QInt8 if quantization.symmetric else QuantType.QUInt8}
        options["TensorQuantOverrides"] = {table: [narrow] for table in _embeddings(model)}
    graph = read_graph(prepared, "onnx")
    float_parts = mask_operators(graph, ranges)
    if quantization.allow_float_fallback:
        float_parts += operators_before_layers(graph)
    layers = layers_of(graph)
    float_parts += operators_of(graph, [layer for layer in layers if layer.name in kept])
    lone = operators_of(graph, [layer for layer in layers if layer.name == alone])
    made_in_float = {operator.outputs[0] for operator in float_parts}
    made_alone = {operator.outputs[0] for operator in lone}
    ends = {name: tuple(np.array(end, dtype=np.float32) for end in pair) for name, pair in ranges.items()}
    settings: dict[str, Any] = {
        "model": model,
        "per_channel": quantization.granularity == "per-channel",
        "reduce_range": quantization.reduce_range,
        "weight_qType": types[quantization.onnx_weights],
        "activation_qType": activations,
        "tensors_range": TensorsData(CalibrationMethod.MinMax, ends),
        "nodes_to_quantize": [node.name for node in model.graph.node if made_alone.intersection(node.output)],
        "nodes_to_exclude": [node.name for node in model.graph.node if made_in_float.intersection(node.output)],
        "op_types_to_quantize": operators,
        "extra_options": options,
    }
    if quantization.onnx_format == "qdq":
        quantizer: Any = QDQQuantizer(**settings)
    else:
        quantizer = ONNXQuantizer(**settings, mode=QuantizationMode.QLinearOps, static=True)
    quantizer.quantize_model()
    guard_float_weights(quantizer.model.model)
    widen_first_convolution(quantizer.model.model)
    quantizer.model.topological_sort()
    return quantizer.model.model


def _embeddings(model: Any) -> list[str]:
    """Float tables that rows are looked up in. The quantizer takes them for activations."""
    tables = {constant.name for constant in model.graph.initializer if constant.data_type == constant.FLOAT}
    return sorted({node.input[0] for node in model.graph.node if node.op_type == "Gather"} & tables)


def _weights_wanted(quantization: Quantization) -> str | None:
    """The weights' dtype if the profile says it in so many words: that goes before a preset."""
    return quantization.onnx_weights if "onnx_weights" in quantization.model_fields_set else None


def _dynamic(prepared: Path, quantization: Quantization, preset: str | None, scratch: Path) -> Any:
    """An onnx.ModelProto, by optimum's `preset`, or by onnxruntime's quantize_dynamic alone if that is None."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    types = {"int8": QuantType.QInt8, "uint8": QuantType.QUInt8}
    per_channel, reduce_range = quantization.granularity == "per-channel", quantization.reduce_range
    if preset is None:
        quantized, weights = scratch / "quantized.onnx", types[quantization.onnx_weights]
        quantize_dynamic(prepared, quantized, per_channel=per_channel, reduce_range=reduce_range, weight_type=weights)
        return _load(quantized)

    from optimum.onnxruntime import ORTQuantizer
    from optimum.onnxruntime.configuration import AutoQuantizationConfig
    from transformers import PretrainedConfig

    settings = getattr(AutoQuantizationConfig, preset)(is_static=False, per_channel=per_channel)
    settings.reduce_range = reduce_range
    wanted = _weights_wanted(quantization)
    settings.weights_dtype = types[wanted] if wanted else settings.weights_dtype
    quantizer = ORTQuantizer(prepared, config=PretrainedConfig())
    folder = quantizer.quantize(quantization_config=settings, save_dir=scratch / "optimum", file_suffix="quantized")
    return _load(folder / f"{prepared.stem}_quantized.onnx")
