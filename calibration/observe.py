"""Looking at the activations of a model file while it runs, one sample at a time."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from calibration.stream import Sample


class OnnxTensors:
    """`tensors(sample)` gives the float activations `names` of the ONNX file `model`."""

    def __init__(self, model: Path, names: Iterable[str]) -> None:
        import onnx
        import onnxruntime

        loaded = onnx.load(str(model))
        self.given = {value.name for value in loaded.graph.input}
        self.names = list(names)
        there = {value.name for value in loaded.graph.output}
        loaded.graph.output.extend(
            onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
            for name in self.names
            if name not in there | self.given
        )
        self._session = onnxruntime.InferenceSession(loaded.SerializeToString(), providers=["CPUExecutionProvider"])

    def __call__(self, sample: Sample) -> dict[str, np.ndarray]:
        made = [name for name in self.names if name not in self.given]
        values = dict(zip(made, self._session.run(made, dict(sample)), strict=True))
        return {name: values[name] if name in values else sample[name] for name in self.names}


class TfliteTensors:
    """`tensors(sample)` gives the float activations of the TFLite file `model`, by name."""

    def __init__(self, model: Path) -> None:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        # A delegate would keep to itself what lies between its operators.
        self._interpreter = Interpreter(
            str(model),
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            experimental_preserve_all_tensors=True,
        )
        self._interpreter.allocate_tensors()
        inputs = self._interpreter.get_signature_runner().get_input_details()
        self._inputs = {name: detail["index"] for name, detail in inputs.items()}
        made = {int(index) for operator in self._interpreter._get_ops_details() for index in operator["outputs"]}
        made |= set(self._inputs.values())
        self._tensors = {
            detail["name"]: detail["index"]
            for detail in self._interpreter.get_tensor_details()
            if detail["index"] in made and detail["dtype"] == np.float32
        }

    def __call__(self, sample: Sample) -> dict[str, np.ndarray]:
        for name, values in sample.items():
            self._interpreter.set_tensor(self._inputs[name], values)
        self._interpreter.invoke()
        return {name: self._interpreter.get_tensor(index) for name, index in self._tensors.items()}
