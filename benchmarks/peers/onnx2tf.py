"""onnx2tf's integer quantization (-oiqt) of the student's ONNX file: per channel, its default, inputs and outputs in
float. It is the last release that goes through TensorFlow. Later ones ask for Python 3.12; the quantizer of their own
in 2.6.9 stopped at a MobileNetV2: "Strict integer quantized TFLite validation failed: quantized_dimension must be in
range [0, 1). Was 3."
"""

import shutil
import sys
from pathlib import Path

import numpy as np
import onnx2tf

# The images on which it compares what it makes with the ONNX file. It would download them; here are ours.
CHECKED_ON = "calibration_image_sample_data_20x128x128x3_float32.npy"


def main() -> None:
    model, calibration, out = map(Path, sys.argv[1:])
    images = np.load(calibration)["images"].astype(np.float32)
    np.save("images.npy", images)
    np.save(CHECKED_ON, images[:20] / 255)
    onnx2tf.convert(
        input_onnx_file_path=str(model),
        output_folder_path="made",
        output_integer_quantized_tflite=True,
        quant_type="per-channel",
        custom_input_op_name_np_data_path=[["image", "images.npy", 0.0, 1.0]],  # no mean, no deviation: plain pixels
        non_verbose=True,
    )
    shutil.copy(Path("made") / f"{model.stem}_integer_quant.tflite", out / "integer_quant.tflite")


main()
