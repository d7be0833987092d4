"""A float ONNX file as quantizers want it."""

from pathlib import Path

from pipeline.quantize.onnx_graph import name_nodes


def prepare_onnx(file: Path, scratch: Path) -> Path:
    """`file` with constants folded, batch normalisation fused and shapes inferred, in `scratch`. The same file gives
    the same names of tensors."""
    import onnx
    from onnxruntime.quantization.shape_inference import quant_pre_process

    plain, prepared = scratch / "plain.onnx", scratch / "prepared.onnx"
    model = onnx.load(str(file))
    # Shapes that an exporter wrote would be out of date where a quantizer transposes a weight.
    del model.graph.value_info[:]
    onnx.save(model, str(plain))
    quant_pre_process(str(plain), str(prepared), skip_symbolic_shape=True)
    model = onnx.load(str(prepared))
    name_nodes(model)
    onnx.save(model, str(prepared))
    return prepared
