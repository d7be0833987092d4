"""ai-edge-quantizer with its ready recipe static_wi8_ai8 (weights in 8 bits per channel, activations in 8 bits), ranges
by its own calibration: once as it is, which makes inputs and outputs int8 too, and once with those left in float.
"""

import sys
from pathlib import Path

import numpy as np
from ai_edge_quantizer import qtyping, quantizer, recipe

ENDS = (qtyping.TFLOperationName.INPUT, qtyping.TFLOperationName.OUTPUT)


def main() -> None:
    model, calibration, out = map(Path, sys.argv[1:])
    images = np.load(calibration)["images"].astype(np.float32)
    for name, float_ends in (("static_wi8_ai8", False), ("static_wi8_ai8 between float ends", True)):
        tool = quantizer.Quantizer(str(model))
        tool.load_quantization_recipe(recipe.static_wi8_ai8())
        for end in ENDS if float_ends else ():
            tool.update_quantization_recipe(".*", end, algorithm_key="no_quantize")
        ranges = tool.calibrate({"serving_default": [{"image": image[None]} for image in images]})
        tool.quantize(ranges).export_model(str(out / f"{name}.tflite"))


main()
