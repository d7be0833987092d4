"""Neural Compressor for ONNX Runtime (onnx-neural-compressor, to which Intel's Neural Compressor refers for ONNX),
StaticQuantConfig with all calibration samples: QDQ, weights per channel, and the types that its documentation
recommends on x86, activations unsigned and weights signed. Ranges by each of its methods: MinMax, Percentile, Entropy.
It tells nodes apart by their names, so they are given some.
"""

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx_neural_compressor import data_reader
from onnx_neural_compressor.quantization import CalibrationMethod, QuantFormat, QuantType, config, quantize

METHODS = (CalibrationMethod.MinMax, CalibrationMethod.Percentile, CalibrationMethod.Entropy)


class Images(data_reader.CalibrationDataReader):
    def __init__(self, images: np.ndarray) -> None:
        self.images = images
        self.rewind()

    def get_next(self) -> dict[str, np.ndarray] | None:
        image = next(self.left, None)
        return None if image is None else {"image": image[None]}

    def rewind(self) -> None:
        self.left = iter(self.images)


def main() -> None:
    model, calibration, out = map(Path, sys.argv[1:])
    images = np.load(calibration)["images"].transpose(0, 3, 1, 2).astype(np.float32)
    student = onnx.load(model)
    for number, node in enumerate(student.graph.node):
        node.name = f"{node.op_type}_{number}"
    onnx.save(student, model)
    for method in METHODS:
        settings = config.StaticQuantConfig(
            Images(images),
            calibrate_method=method,
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            calibration_sampling_size=len(images),
            execution_provider="CPUExecutionProvider",
        )
        quantize(str(model), f"{method.name}.onnx", settings)
        onnx.save(onnx.load(f"{method.name}.onnx"), out / f"{method.name}.onnx")  # weights inside


main()
