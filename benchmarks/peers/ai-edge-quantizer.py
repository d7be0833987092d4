"""ai-edge-quantizer with its ready recipe static_wi8_ai8: weights in 8 bits per channel, activations in 8 bits, ranges
by its own calibration. Inputs and outputs are what the recipe makes them.
"""

import sys
from pathlib import Path

import numpy as np
from ai_edge_quantizer import quantizer, recipe


def main() -> None:
    model, calibration, out = map(Path, sys.argv[1:])
    images = np.load(calibration)["images"].astype(np.float32)
    tool = quantizer.Quantizer(str(model))
    tool.load_quantization_recipe(recipe.static_wi8_ai8())
    ranges = tool.calibrate({"serving_default": [{"image": image[None]} for image in images]})
    tool.quantize(ranges).export_model(str(out / "static_wi8_ai8.tflite"))


main()
