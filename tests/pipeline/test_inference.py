"""A convolutional teacher answers from its ONNX file as its PyTorch network does."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.context import RunContext
from pipeline.data.batches import evaluation_batches
from pipeline.distill.answers import teacher_answers
from pipeline.distill.cache import cache_teacher
from pipeline.distill.overlap import ProcessTeacher
from pipeline.errors import InputError
from pipeline.evaluate import predict
from pipeline.networks import build_network, load_network, save_network
from pipeline.results import NetworkResult, PreparedData
from pipeline.teachers import inference
from pipeline.teachers.file_network import FileNetwork
from pipeline.teachers.inference import for_inference, load_answering
from tests.pipeline.trained import IMAGE_DISTILLING, TEXT_STUDENT

CPU = torch.device("cpu")
pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU computes teachers itself")


@pytest.fixture(scope="module")
def teacher(digits: PreparedData, image_student: NetworkResult, session_context: RunContext) -> NetworkResult:
    return for_inference(digits, image_student, session_context)


@pytest.mark.parametrize("batch", [1, 7, 64])
def test_its_file_gives_its_logits_for_any_number_of_samples(
    digits: PreparedData, teacher: NetworkResult, batch: int
) -> None:
    network, rows = load_answering(teacher, CPU), digits.rows("test")[:10]
    assert isinstance(network, FileNetwork)
    expected = predict(load_network(teacher), digits, rows)
    np.testing.assert_allclose(predict(network, digits, rows, batch_size=batch), expected, atol=1e-4)


def test_a_cache_and_a_teacher_that_is_asked_say_the_same(
    digits: PreparedData, teacher: NetworkResult, context: RunContext
) -> None:
    cache = cache_teacher(digits, teacher, IMAGE_DISTILLING, context)
    online = IMAGE_DISTILLING.model_copy(update={"mode": "online"})
    asked = teacher_answers(digits, teacher, None, online, CPU)
    kept = teacher_answers(digits, teacher, cache, IMAGE_DISTILLING, CPU)
    rows = digits.rows("train")[:32]
    (batch,) = evaluation_batches(digits, rows, 32, 0, IMAGE_DISTILLING.augmentation, view=1)
    torch.testing.assert_close(asked(batch), kept(batch), atol=1e-4, rtol=0)


def test_a_process_of_its_own_answers_from_the_file(digits: PreparedData, teacher: NetworkResult) -> None:
    (batch,) = evaluation_batches(digits, digits.rows("test")[:4], 4)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    ahead = ProcessTeacher(partial(load_answering, teacher, CPU), teacher.name)
    try:
        torch.testing.assert_close(ahead(batch), load_answering(teacher, CPU)(*batch.inputs), atol=1e-4, rtol=0)
    finally:
        ahead.end()
        torch.set_num_threads(threads)


def test_its_fingerprint_stays(digits: PreparedData, image_student: NetworkResult, teacher: NetworkResult) -> None:
    assert replace(teacher, inference_file=None) == image_student


def test_a_transformer_answers_in_pytorch(
    reviews: PreparedData, text_student: NetworkResult, context: RunContext
) -> None:
    assert TEXT_STUDENT.family in text_student.name
    assert for_inference(reviews, text_student, context) == text_student
    assert not isinstance(load_answering(text_student, CPU), FileNetwork)


def test_an_ensemble_becomes_one_file_where_all_its_teachers_are_convolutional(
    digits: PreparedData, image_student: NetworkResult, context: RunContext, tmp_path: Path
) -> None:
    member = image_student.architecture
    told = {"members": [member, member], "weights": [0.5, 0.5], "temperature": 4.0, "combine": "confidence"}
    together = build_network({"kind": "ensemble", **told})
    for one in together.members:  # type: ignore[union-attr]
        one.load_state_dict(load_network(image_student).state_dict())
    (batch,) = evaluation_batches(digits, digits.rows("test")[:5], 5)
    checkpoint = tmp_path / "ensemble.safetensors"
    save_network(together, checkpoint)
    result = replace(
        image_student, fingerprint="e", architecture={"kind": "ensemble", **told}, checkpoint_file=checkpoint
    )
    answering = load_answering(for_inference(digits, result, context), CPU)
    assert isinstance(answering, FileNetwork)
    with torch.no_grad():
        torch.testing.assert_close(answering(*batch.inputs), together.eval()(*batch.inputs), atol=1e-3, rtol=0)


@pytest.mark.parametrize("failure", ["not converted", "computes something else"])
def test_a_teacher_whose_file_is_no_good_answers_in_pytorch(
    digits: PreparedData,
    image_student: NetworkResult,
    context: RunContext,
    failure: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    export = inference._exported

    def other(network: torch.nn.Module, data: PreparedData) -> bytes:
        if failure == "not converted":
            raise InputError("an operator that ONNX has not")
        strange = build_network(image_student.architecture).eval()
        with torch.no_grad():
            strange.body.get_classifier().bias += 5 * torch.arange(10.0)  # type: ignore[operator,union-attr]
        return export(strange, data)

    monkeypatch.setattr(inference, "_exported", other)
    kept = for_inference(digits, image_student, context)
    assert kept.inference_file is None
    assert not isinstance(load_answering(kept, CPU), FileNetwork)
