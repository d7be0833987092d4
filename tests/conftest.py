"""Fixtures that many tests share. Everything here is small, real and made once a run."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
if (
    "PYTEST_XDIST_WORKER" in os.environ
):  # processes side by side, each with threads that wait for each other, take far longer
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from pipeline.context import RunContext
from pipeline.results import Calibration, ExportedFile, NetworkResult, PreparedData
from pipeline.store import Store
from tests.samples import tiny_digits, tiny_reviews

settings.register_profile("edgepress", deadline=None)  # a busy machine is no fault of what is tested
settings.load_profile("edgepress")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest file first: begun last, it would keep one process busy while the other has nothing left."""
    items.sort(key=lambda item: item.path.name != "test_run.py")


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    """300 MNIST digits at 32 px."""
    return tiny_digits(tmp_path_factory.mktemp("digits"))


@pytest.fixture(scope="session")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    """120 Rotten Tomatoes sentences, 32 word pieces."""
    return tiny_reviews(tmp_path_factory.mktemp("reviews"))


@pytest.fixture(scope="session")
def session_context(tmp_path_factory: pytest.TempPathFactory) -> RunContext:
    """One store for the whole run of tests: a network trained in one test serves the others."""
    return RunContext(Store(tmp_path_factory.mktemp("store")), seed=0)


@pytest.fixture
def context(tmp_path: Path) -> RunContext:
    return RunContext(Store(tmp_path / "store"), seed=0)


# The networks and their files, each made once a run. The imports are inside: most tests need no torch.


@pytest.fixture(scope="session")
def image_student(digits: PreparedData, tmp_path_factory: pytest.TempPathFactory) -> NetworkResult:
    """A MobileNetV2 trained for seconds on `digits`."""
    from tests.networks import small_mobilenet

    return small_mobilenet(digits, tmp_path_factory.mktemp("image_student"))


@pytest.fixture(scope="session")
def text_student(reviews: PreparedData, tmp_path_factory: pytest.TempPathFactory) -> NetworkResult:
    """A BERT of 2 layers trained for seconds on `reviews`."""
    from tests.networks import small_bert

    return small_bert(reviews, tmp_path_factory.mktemp("text_student"))


@pytest.fixture(scope="session")
def image_onnx(digits: PreparedData, image_student: NetworkResult, session_context: RunContext) -> ExportedFile:
    from pipeline.export.onnx import export_onnx

    return export_onnx(digits, image_student, 20, None, session_context)


@pytest.fixture(scope="session")
def image_tflite(digits: PreparedData, image_student: NetworkResult, session_context: RunContext) -> ExportedFile:
    from pipeline.export.tflite import export_tflite

    return export_tflite(digits, image_student, None, session_context)


@pytest.fixture(scope="session")
def text_onnx(reviews: PreparedData, text_student: NetworkResult, session_context: RunContext) -> ExportedFile:
    from pipeline.export.onnx import export_onnx

    return export_onnx(reviews, text_student, 20, None, session_context)


@pytest.fixture(scope="session")
def text_tflite(reviews: PreparedData, text_student: NetworkResult, session_context: RunContext) -> ExportedFile:
    from pipeline.export.tflite import export_tflite

    return export_tflite(reviews, text_student, None, session_context)


@pytest.fixture(scope="session")
def image_calibration(
    digits: PreparedData, image_student: NetworkResult, image_onnx: ExportedFile, session_context: RunContext
) -> Calibration:
    from tests.pipeline.quantized import FEW, calibrated

    return calibrated(image_onnx, digits, image_student, session_context, samples=FEW)


@pytest.fixture(scope="session")
def text_calibration(
    reviews: PreparedData, text_student: NetworkResult, text_onnx: ExportedFile, session_context: RunContext
) -> Calibration:
    from tests.pipeline.quantized import FEW, calibrated

    return calibrated(text_onnx, reviews, text_student, session_context, samples=FEW)
