"""Olive's pass OnnxStaticQuantization for the CPU with its defaults (QDQ, weights int8, its own pre-processing), but
weights per channel and activations unsigned: what onnxruntime's page on quantization, to which Olive's refers, advises
on x86. Ranges by each calibrate_method: MinMax, Percentile, Entropy.
"""

import shutil
import sys
from pathlib import Path

import numpy as np
from olive import run
from olive.data.registry import Registry

CPU = {
    "type": "LocalSystem",
    "accelerators": [{"device": "cpu", "execution_providers": ["CPUExecutionProvider"]}],
}
METHODS = ("MinMax", "Percentile", "Entropy")


@Registry.register_dataset()
def calibration_images(calibration: str) -> list[tuple[dict[str, np.ndarray], int]]:
    """Samples as Olive's loader takes them: inputs by name, and a label that nobody reads."""
    images = np.load(calibration)["images"].transpose(0, 3, 1, 2).astype(np.float32)
    return [({"image": image}, 0) for image in images]


def main() -> None:
    model, calibration, out = map(Path, sys.argv[1:])
    for method in METHODS:
        quantization = {
            "type": "OnnxStaticQuantization", "data_config": "calibration", "quant_format": "QDQ", "per_channel": True,
            "precision": "int8", "activation_type": "uint8", "calibrate_method": method,
        }  # fmt: skip
        dataset = {"type": "calibration_images", "params": {"calibration": str(calibration)}}
        made = run(
            {
                "input_model": {"type": "ONNXModel", "model_path": str(model)},
                "systems": {"cpu": CPU},
                "host": "cpu",
                "target": "cpu",
                "data_configs": [{"name": "calibration", "load_dataset_config": dataset}],
                "passes": {"quantization": quantization},
                "output_dir": f"{method}.output",
                "cache_dir": f"{method}.cache",
            }
        )
        shutil.copy(made.get_best_candidate().model_path, out / f"{method}.onnx")


main()
