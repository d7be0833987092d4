from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.context import RunContext
from pipeline.errors import InputError
from pipeline.evaluate import predict
from pipeline.export.check import check_scores, conversion
from pipeline.export.onnx import export_onnx
from pipeline.export.tflite import export_tflite
from pipeline.feeds import feeds
from pipeline.networks import load_network
from pipeline.results import ExportedFile, NetworkResult, PreparedData
from targets.profile import RuntimeName
from targets.runtimes.base import Model, RuntimeOptions, TensorSpec, open_model
from tests.networks import untrained

RUNTIMES: dict[str, RuntimeName] = {"onnx": "onnxruntime", "tflite": "litert"}
TEXT_INPUTS = {"input_ids", "attention_mask", "token_type_ids"}


def opened(file: ExportedFile) -> Model:
    return open_model(file.file, RuntimeOptions(RUNTIMES[file.format]))


def scores(file: ExportedFile, data: PreparedData, rows: np.ndarray) -> np.ndarray:
    model = opened(file)
    return np.concatenate([model.run(feeds(model.inputs, data, int(row)))[0] for row in rows])


def expected(network: NetworkResult, data: PreparedData, rows: np.ndarray) -> np.ndarray:
    return torch.from_numpy(predict(load_network(network), data, rows)).softmax(-1).numpy()


def test_an_onnx_image_file_takes_plain_pixels_and_gives_the_networks_scores(
    image_onnx: ExportedFile, image_student: NetworkResult, digits: PreparedData
) -> None:
    model = opened(image_onnx)
    assert model.inputs == (TensorSpec("image", (1, 3, 32, 32), "float32"),)
    assert model.outputs == (TensorSpec("scores", (1, 10), "float32"),)
    rows = digits.rows("test")
    np.testing.assert_allclose(scores(image_onnx, digits, rows), expected(image_student, digits, rows), atol=1e-4)


def test_a_tflite_image_file_takes_pixels_as_a_camera_gives_them(
    image_tflite: ExportedFile, image_student: NetworkResult, digits: PreparedData
) -> None:
    model = opened(image_tflite)
    assert model.inputs == (TensorSpec("image", (1, 32, 32, 3), "float32"),)
    assert model.outputs == (TensorSpec("scores", (1, 10), "float32"),)
    rows = digits.rows("test")
    np.testing.assert_allclose(scores(image_tflite, digits, rows), expected(image_student, digits, rows), atol=1e-4)


@pytest.mark.parametrize(("kind", "dtype"), [("onnx", "int64"), ("tflite", "int32")])
def test_a_text_file_takes_token_ids_under_their_names(
    kind: str, dtype: str, text_student: NetworkResult, reviews: PreparedData, request: pytest.FixtureRequest
) -> None:
    file: ExportedFile = request.getfixturevalue(f"text_{kind}")
    model = opened(file)
    assert {spec.name for spec in model.inputs} == TEXT_INPUTS
    assert {(spec.shape, spec.dtype) for spec in model.inputs} == {((1, 32), dtype)}
    assert model.outputs == (TensorSpec("scores", (1, 2), "float32"),)
    assert file.sequence_length == 32
    rows = reviews.rows("test")
    np.testing.assert_allclose(scores(file, reviews, rows), expected(text_student, reviews, rows), atol=1e-4)


@pytest.mark.parametrize("name", ["image_onnx", "image_tflite", "text_onnx", "text_tflite"])
def test_a_file_tells_nothing_of_the_machine_it_was_made_on(name: str, request: pytest.FixtureRequest) -> None:
    file: ExportedFile = request.getfixturevalue(name)
    content = file.file.read_bytes()
    assert len(content) == file.bytes
    for trace in (b".py", b"site-packages", b'File "', str(Path.home()).encode() + b"/", b"/tmp/", b"stack_trace"):
        assert trace not in content


@pytest.mark.parametrize("kind", ["onnx", "tflite"])
def test_the_same_network_gives_the_same_bytes_in_another_folder(
    kind: str,
    reviews: PreparedData,
    text_student: NetworkResult,
    context: RunContext,
    request: pytest.FixtureRequest,
) -> None:
    if kind == "onnx":
        again = export_onnx(reviews, text_student, 20, None, context)
    else:
        again = export_tflite(reviews, text_student, None, context)
    file: ExportedFile = request.getfixturevalue(f"text_{kind}")
    assert again.file != file.file
    assert again.sha256 == file.sha256


def test_a_shorter_sequence_makes_a_file_of_that_length(
    reviews: PreparedData, text_student: NetworkResult, context: RunContext
) -> None:
    file = export_onnx(reviews, text_student, 20, 12, context)
    assert {spec.shape for spec in opened(file).inputs} == {(1, 12)}
    assert file.sequence_length == 12


def test_onnx_files_are_of_the_operator_set_asked_for(
    image_onnx: ExportedFile, reviews: PreparedData, text_student: NetworkResult, context: RunContext
) -> None:
    import onnx

    assert onnx.load(str(image_onnx.file)).opset_import[0].version == 20
    text = export_onnx(reviews, text_student, 17, None, context)
    assert onnx.load(str(text.file)).opset_import[0].version == 17


def test_a_network_that_resizes_exports_and_an_operator_set_too_old_for_it_is_refused(
    digits: PreparedData, tmp_path: Path, context: RunContext
) -> None:
    teacher = untrained(
        digits,
        {
            "kind": "timm", "model": "test_resnet", "classes": 10, "input_size": 48,
            "mean": [123.7, 116.3, 103.5], "std": [58.4, 57.1, 57.4],
        },
        tmp_path,
    )  # fmt: skip
    file = export_onnx(digits, teacher, 18, None, context)
    assert opened(file).inputs == (TensorSpec("image", (1, 3, 32, 32), "float32"),)
    with pytest.raises(InputError, match=r"export.opset 13: .* set 18"):
        export_onnx(digits, teacher, 13, None, context)


@pytest.mark.parametrize(
    ("config", "names"),
    [
        (
            {"model_type": "distilbert", "vocab_size": 30522, "dim": 32, "n_layers": 1, "n_heads": 2, "hidden_dim": 64},
            TEXT_INPUTS - {"token_type_ids"},
        ),
        (
            {
                "model_type": "bert", "vocab_size": 30522, "hidden_size": 32, "num_hidden_layers": 2,
                "num_attention_heads": 4, "intermediate_size": 64, "pruned_heads": {"0": [1, 2], "1": [0]},
            },
            TEXT_INPUTS,
        ),
    ],
    ids=["no token types", "pruned heads"],
)  # fmt: skip
def test_text_networks_of_other_structure_export(
    config: dict[str, object], names: set[str], reviews: PreparedData, tmp_path: Path, context: RunContext
) -> None:
    network = untrained(reviews, {"kind": "transformers", "config": config, "labels": ["0", "1"]}, tmp_path)
    file = export_onnx(reviews, network, 20, None, context)
    assert {spec.name for spec in opened(file).inputs} == names


@pytest.mark.parametrize("change", [1.1, float("nan")])
def test_a_file_that_disagrees_with_pytorch_is_refused(
    change: float, image_onnx: ExportedFile, image_student: NetworkResult, digits: PreparedData
) -> None:
    module = load_network(image_student)
    check_scores(image_onnx.file, "onnxruntime", module, image_student, digits, 1e-4)
    with torch.no_grad():
        module.body.classifier.weight *= change  # type: ignore[union-attr, operator]
    with pytest.raises(InputError, match="disagrees with PyTorch"):
        check_scores(image_onnx.file, "onnxruntime", module, image_student, digits, 1e-4)


def test_a_network_that_cannot_be_converted_is_told_in_one_line(
    reviews: PreparedData, text_student: NetworkResult, context: RunContext, tmp_path: Path
) -> None:
    config = {
        "model_type": "yoso", "vocab_size": 30522, "hidden_size": 32, "num_hidden_layers": 1,
        "num_attention_heads": 2, "intermediate_size": 64,
    }  # fmt: skip
    network = untrained(reviews, {"kind": "transformers", "config": config, "labels": ["0", "1"]}, tmp_path)
    with pytest.raises(InputError, match=r"'untrained' can't be converted to ONNX: .*yoso") as caught:
        export_onnx(reviews, network, 20, None, context)
    assert "\n" not in str(caught.value)


def test_a_full_disk_is_not_taken_for_a_network_that_cannot_be_converted(text_student: NetworkResult) -> None:
    with pytest.raises(OSError, match="No space left"), conversion(text_student, "ONNX"):
        raise OSError(28, "No space left on device")


def test_another_network_is_another_file(
    digits: PreparedData, image_student: NetworkResult, image_onnx: ExportedFile, session_context: RunContext
) -> None:
    """The fingerprint takes in the network: a stored export is not handed out for another one."""
    broken = replace(image_student, fingerprint="0" * 64, checkpoint_file=Path("none.safetensors"))
    with pytest.raises(InputError, match=r"none\.safetensors"):
        export_onnx(digits, broken, 20, None, session_context)
    assert export_onnx(digits, image_student, 20, None, session_context) == image_onnx
