"""Several processes do what one does: checked with three on this machine, by gloo."""

from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.results import PreparedData
from tests.pipeline.processes import answers
from tests.pipeline.shared_work import everything


@pytest.fixture(scope="module")
def alone(digits: PreparedData, reviews: PreparedData, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return everything(digits, reviews, tmp_path_factory.mktemp("alone"))


@pytest.fixture(scope="module")
def three(
    digits: PreparedData, reviews: PreparedData, tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("three")
    return answers(3, folder, everything, digits, reviews, folder)


@pytest.mark.parametrize("work", ["mobilenet", "layers", "correlation", "refreshed", "predictions"])
def test_three_processes_do_what_one_does(alone: dict[str, Any], three: list[dict[str, Any]], work: str) -> None:
    """Weights, running statistics, learned projections, losses, accuracies, remembered answers and predictions."""
    for found in three:
        assert found[work].keys() == alone[work].keys()
        for name, expected in alone[work].items():
            torch.testing.assert_close(found[work][name], expected, rtol=1e-6, atol=1e-9, msg=lambda m, n=name: f"{n}: {m}")
