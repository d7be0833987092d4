"""NNCF's post-training quantization of ONNX models, nncf.quantize for the CPU with all calibration samples: QDQ, per
channel. Its preset performance (activations symmetric, the default), its preset mixed (activations asymmetric), each
with its fast correction of biases, and mixed with the slower correction that it calls more accurate.
"""

import sys
from pathlib import Path

import nncf
import numpy as np
import onnx

PERFORMANCE, MIXED = nncf.QuantizationPreset.PERFORMANCE, nncf.QuantizationPreset.MIXED
WAYS = {"performance": (PERFORMANCE, True), "mixed": (MIXED, True), "mixed, accurate bias correction": (MIXED, False)}


def main() -> None:
    model, calibration, out = map(Path, sys.argv[1:])
    images = np.load(calibration)["images"].transpose(0, 3, 1, 2).astype(np.float32)
    samples = nncf.Dataset([{"image": image[None]} for image in images])
    for name, (preset, fast) in WAYS.items():
        quantized = nncf.quantize(
            onnx.load(model),
            samples,
            preset=preset,
            target_device=nncf.TargetDevice.CPU,
            subset_size=len(images),
            fast_bias_correction=fast,
        )
        onnx.save(quantized, out / f"{name}.onnx")


main()
