"""TensorFlow's TFLiteConverter on a SavedModel that onnx2tf makes of the student's ONNX file: post-training integer
quantization with a representative dataset, as TensorFlow's guide has it; inputs and outputs stay float, weights are per
channel by default.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx2tf
import tensorflow as tf

# The images on which onnx2tf compares what it makes with the ONNX file. It would download them; here are ours.
CHECKED_ON = "calibration_image_sample_data_20x128x128x3_float32.npy"


def main() -> None:
    model, calibration, out = map(Path, sys.argv[1:])
    images = np.load(calibration)["images"].astype(np.float32)

    def samples() -> Iterator[list[np.ndarray]]:
        for image in images:
            yield [image[None]]

    np.save(CHECKED_ON, images[:20] / 255)
    onnx2tf.convert(
        input_onnx_file_path=str(model),
        output_folder_path="saved_model",
        output_signaturedefs=True,
        non_verbose=True,
    )
    converter = tf.lite.TFLiteConverter.from_saved_model("saved_model")
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = samples
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    (out / "integer.tflite").write_bytes(converter.convert())


main()
