"""NNCF's post-training quantization of ONNX models, nncf.quantize for the CPU with all calibration samples: QDQ,
weights per channel. Its presets performance (activations symmetric, the default) and mixed (asymmetric), and mixed
with every activation per tensor, with its fast correction of biases and with the one that it calls more accurate.
"""

import sys
from pathlib import Path
from typing import Any

import nncf
import numpy as np
import onnx
from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, QuantizationParameters

PER_TENSOR = AdvancedQuantizationParameters(activations_quantization_params=QuantizationParameters(per_channel=False))
MIXED = nncf.QuantizationPreset.MIXED
WAYS: dict[str, dict[str, Any]] = {
    "performance": {"preset": nncf.QuantizationPreset.PERFORMANCE},
    "mixed": {"preset": MIXED},
    "mixed, per tensor": {"preset": MIXED, "advanced_parameters": PER_TENSOR},
    "mixed, per tensor, accurate biases": {
        "preset": MIXED, "advanced_parameters": PER_TENSOR, "fast_bias_correction": False,
    },
}  # fmt: skip


def main() -> None:
    model, calibration, out = map(Path, sys.argv[1:])
    images = np.load(calibration)["images"].transpose(0, 3, 1, 2).astype(np.float32)
    samples = nncf.Dataset([{"image": image[None]} for image in images])
    for name, way in WAYS.items():
        quantized = nncf.quantize(
            onnx.load(model), samples, target_device=nncf.TargetDevice.CPU, subset_size=len(images), **way
        )
        onnx.save(quantized, out / f"{name}.onnx")


main()
