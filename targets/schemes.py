"""Quantization schemes by name, and which of their forms each runtime has kernels for."""

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from targets.profile import Quantization, RuntimeName, Task

# int8-static-a16: weights of 8 bits, activations of 16. int4-dynamic: weights of 4 bits, activations of 8 as they run.
# int4-weights: weights of 4 bits, arithmetic in float.
Scheme = Literal[
    "float32", "float16", "int8-dynamic", "int8-static", "int8-static-a16", "int4-dynamic", "int4-weights"
]  # fmt: skip
STATIC: frozenset[Scheme] = frozenset({"int8-static", "int8-static-a16"})  # activations have ranges, by calibration
FOUR_BIT: frozenset[Scheme] = frozenset({"int4-dynamic", "int4-weights"})
FOUR_BIT_OPSET = 21  # of ONNX, the first with numbers of 4 bits
BLOCK = 32  # weights that share a scale, per block: what both runtimes have kernels for


def contradiction(quantization: "Quantization") -> str | None:
    """Why the settings of `quantization` exclude each other, whatever the runtime."""
    scheme = quantization.scheme
    if quantization.io_dtype != "float32" and scheme != "int8-static":
        return f"io_dtype {quantization.io_dtype} needs scheme int8-static, not {scheme}"
    if quantization.activations is not None and scheme not in STATIC:
        return f"activations {quantization.activations} needs a static scheme: {scheme} stores none"
    if quantization.activations == "symmetric" and quantization.io_dtype != "float32":
        return f"io_dtype {quantization.io_dtype} holds pixels 0 to 255 exactly, which takes asymmetric activations"
    if quantization.granularity == "per-block" and scheme not in FOUR_BIT:
        return f"granularity per-block is for weights of 4 bits, not for {scheme}: use per-channel or per-tensor"
    return None


def unfit(quantization: "Quantization", task: "Task", runtime: "RuntimeName") -> str | None:
    """Why `runtime` can't run a model for `task` in this form, and what to choose instead; None if it can."""
    reasons = _unfit_for_onnxruntime if runtime == "onnxruntime" else _unfit_for_litert
    return reasons(quantization, task)


def _unfit_for_onnxruntime(quantization: "Quantization", task: "Task") -> str | None:
    scheme = quantization.scheme
    if scheme in FOUR_BIT:
        if task == "image-classification":
            return (
                f"onnxruntime has 4-bit kernels for matrix products and embeddings, none for convolutions: {scheme} is "
                "for litert alone, or for texts; use an int8 scheme, or leave onnxruntime out of the target's runtimes"
            )
        if quantization.granularity != "per-block":
            return f"onnxruntime's 4-bit kernels take one scale for {BLOCK} weights: set granularity: per-block"
    if scheme == "int8-static-a16" and quantization.onnx_format == "qoperator":
        return "ONNX has no quantized operators with activations of 16 bits: set onnx_format: qdq"
    signed = quantization.onnx_activations == "int8"
    if scheme == "int8-static" and signed and quantization.onnx_weights == "uint8":
        return (
            "onnxruntime has no kernels for int8 activations with uint8 weights: set onnx_weights: int8, or "
            "onnx_activations: uint8"
        )
    if scheme == "int8-static" and quantization.activations == "symmetric" and not signed:
        return "symmetric activations are signed, with zero point 0: set onnx_activations: int8"
    return None


def _unfit_for_litert(quantization: "Quantization", task: "Task") -> str | None:
    if quantization.scheme == "int8-static-a16" and quantization.activations == "asymmetric":
        return "LiteRT's activations of 16 bits are symmetric: set activations: symmetric, or leave it out"
    if quantization.granularity == "per-block" and task == "image-classification":
        return "LiteRT has no convolution with one scale a block of weights: set granularity: per-channel"
    if quantization.granularity == "per-block" and quantization.scheme == "int4-weights":
        return "LiteRT widens no weights with one scale a block: use int4-dynamic, or set granularity: per-channel"
    return None
