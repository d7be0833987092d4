"""onnx2tf's own integer quantization (-oiqt) of the student's ONNX file: per channel, which is its default, inputs and
outputs in float. Ranges by each of its calibration methods, max and percentile.
"""

import os
import shutil
import sys
from pathlib import Path

import numpy as np
import onnx2tf

METHODS = ("max", "percentile")


def main() -> None:
    model, calibration, out = map(Path, sys.argv[1:])
    np.save("images.npy", np.load(calibration)["images"].astype(np.float32))
    zero, one = np.zeros((1, 1, 1, 3)), np.ones((1, 1, 1, 3))  # the student takes pixels as they are
    for method in METHODS:
        os.environ["ONNX2TF_FLATBUFFER_DIRECT_CALIBRATION_METHOD"] = method
        onnx2tf.convert(
            input_onnx_file_path=str(model),
            output_folder_path=method,
            output_integer_quantized_tflite=True,
            quant_type="per-channel",
            custom_input_op_name_np_data_path=[["image", "images.npy", zero.tolist(), one.tolist()]],
            non_verbose=True,
        )
        (made,) = Path(method).glob("*_integer_quant.tflite")
        shutil.copy(made, out / f"{method}.tflite")


main()
