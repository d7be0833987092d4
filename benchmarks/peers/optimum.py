"""Optimum's ORTQuantizer with its preset for x86 with VNNI, AutoQuantizationConfig.avx512_vnni (QDQ, activations
unsigned, weights signed and per channel), ranges by each of AutoCalibrationConfig's methods: minmax, percentiles and
entropy.
"""

import sys
from pathlib import Path

import numpy as np
from datasets import Dataset
from optimum.onnxruntime import ORTQuantizer
from optimum.onnxruntime.configuration import AutoCalibrationConfig, AutoQuantizationConfig
from transformers import PretrainedConfig

METHODS = {
    "minmax": AutoCalibrationConfig.minmax,
    "percentiles": AutoCalibrationConfig.percentiles,
    "entropy": AutoCalibrationConfig.entropy,
}


def main() -> None:
    model, calibration, out = map(Path, sys.argv[1:])
    images = np.load(calibration)["images"].transpose(0, 3, 1, 2).astype(np.float32)
    samples = Dataset.from_dict({"image": list(images)})
    quantizer = ORTQuantizer(model, config=PretrainedConfig())
    settings = AutoQuantizationConfig.avx512_vnni(is_static=True, per_channel=True)
    for name, method in METHODS.items():
        ranges = quantizer.fit(samples, method(samples), operators_to_quantize=settings.operators_to_quantize)
        folder = quantizer.quantize(settings, save_dir=name, calibration_tensors_range=ranges)
        (made,) = Path(folder).glob("*.onnx")
        made.rename(out / f"{name}.onnx")


main()
