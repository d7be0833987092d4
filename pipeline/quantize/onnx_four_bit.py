"""ONNX files with weights of 4 bits, in onnxruntime's operators for them: MatMulNBits and GatherBlockQuantized."""

from pathlib import Path
from typing import Any

from targets.schemes import BLOCK, Scheme

# MatMulNBits' accuracy_level: the least precision in which activations may be multiplied.
ACCURACY_LEVELS: dict[Scheme, int] = {"int4-weights": 1, "int4-dynamic": 4}  # float32, int8


def four_bit_model(prepared: Path, scheme: Scheme) -> Any:
    """An onnx.ModelProto: the constant matrices and embeddings of the float file `prepared` (`prepare_onnx`) in 4 bits,
    signed, `BLOCK` of a column or row to a scale, rounded to nearest. What else has weights stays float."""
    import onnx
    from onnxruntime.quantization.matmul_nbits_quantizer import DefaultWeightOnlyQuantConfig, MatMulNBitsQuantizer
    from onnxruntime.quantization.onnx_model import ONNXModel

    model = ONNXModel(onnx.load(str(prepared)))
    model.replace_gemm_with_matmul()  # for which there is a 4-bit operator
    settings = DefaultWeightOnlyQuantConfig(
        block_size=BLOCK,
        is_symmetric=True,
        accuracy_level=ACCURACY_LEVELS[scheme],
        op_types_to_quantize=("MatMul", "Gather"),
    )
    quantizer = MatMulNBitsQuantizer(model.model, algo_config=settings)
    quantizer.process()
    return quantizer.model.model
