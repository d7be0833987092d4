"""Fixtures that many tests share. Everything here is small, real and made once a run."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from pipeline.context import RunContext
from pipeline.results import PreparedData
from pipeline.store import Store
from tests.samples import tiny_digits, tiny_reviews


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
