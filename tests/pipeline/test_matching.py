import numpy as np
import pytest

from calibration.manifest import read_manifest
from calibration.observe import TfliteTensors
from pipeline.quantize.matching import Signature, same_activations, signatures
from pipeline.quantize.samples import stream_of
from pipeline.results import Calibration, ExportedFile, PreparedData


def seen(**tensors: np.ndarray) -> dict[str, Signature]:
    return signatures([tensors, {name: 2 * values for name, values in tensors.items()}])


def test_a_tensor_is_found_in_whatever_order_its_numbers_stand() -> None:
    values = np.random.default_rng(0).normal(size=(1, 3, 4, 5))
    others = {"a": values + 0.5, "b": np.moveaxis(values, 1, 3) * (1 + 1e-5), "c": values[:, :, :3]}
    assert same_activations(seen(x=values), seen(**others)) == {"x": "b"}


def test_what_has_no_like_is_left_out() -> None:
    values = np.random.default_rng(0).normal(size=(1, 60))
    assert same_activations(seen(x=values, y=values[:, :7]), seen(a=values * 1.01)) == {}


def test_what_is_not_finite_is_left_out() -> None:
    values = np.full((1, 4), -np.inf)
    assert same_activations(seen(x=values), seen(a=values)) == {}


# A transformer's normalisation and GELU are single operators in ONNX, and many in TFLite.
@pytest.mark.parametrize(("task", "least"), [("image", 0.9), ("text", 0.5)])
def test_activations_of_a_tflite_file_are_found_in_the_onnx_file(
    task: str, least: float, request: pytest.FixtureRequest
) -> None:
    calibration: Calibration = request.getfixturevalue(f"{task}_calibration")
    tflite: ExportedFile = request.getfixturevalue(f"{task}_tflite")
    data: PreparedData = request.getfixturevalue("digits" if task == "image" else "reviews")
    tensors = TfliteTensors(tflite.file)
    found = [tensors(sample) for sample in stream_of(tflite, data, read_manifest(calibration.manifest_file).rows[:3])]
    same = same_activations(signatures(found), calibration.signatures)
    assert len(same) >= least * len(found[0])
