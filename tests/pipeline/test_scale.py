"""Several processes do what one does: checked with three on this machine, by gloo."""

import json
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.results import PreparedData
from tests.pipeline.processes import answers
from tests.pipeline.shared_work import everything
from tests.samples import _prepared


@pytest.fixture(scope="module")
def sentences(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    """60 sentences of 3 to 12 words, whose class is that of their first word."""
    folder, random = tmp_path_factory.mktemp("sentences"), np.random.default_rng(0)
    lengths = random.integers(3, 13, 60)
    ids = np.where(np.arange(12) < lengths[:, None], random.integers(1, 100, (60, 12)), 0).astype(np.int32)
    np.save(folder / "lengths.npy", lengths.astype(np.int32))
    (folder / "texts.jsonl").write_text("".join(json.dumps(str(row)) + "\n" for row in range(60)))
    return _prepared(folder, "text-classification", ids, (ids[:, 0] % 2).astype(np.int64), ("even", "odd"))


@pytest.fixture(scope="module")
def alone(digits: PreparedData, sentences: PreparedData, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return everything(digits, sentences, tmp_path_factory.mktemp("alone"))


@pytest.fixture(scope="module")
def three(
    digits: PreparedData, sentences: PreparedData, tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("three")
    return answers(3, folder, everything, digits, sentences, folder)


@pytest.mark.parametrize("work", ["images", "texts", "correlation", "refreshed", "predictions"])
def test_three_processes_do_what_one_does(alone: dict[str, Any], three: list[dict[str, Any]], work: str) -> None:
    """Weights, running statistics, learned projections, losses, accuracies, remembered answers and predictions."""
    # What is seen inside a network is float32, and so are its losses.
    rounding = {"rtol": 1e-3, "atol": 1e-5} if work == "texts" else {"rtol": 1e-6, "atol": 1e-8}
    for found in three:
        assert found[work].keys() == alone[work].keys()
        for name, expected in alone[work].items():
            if isinstance(expected, int):
                assert found[work][name] == expected
                continue
            torch.testing.assert_close(found[work][name], expected, **rounding, msg=lambda m, name=name: f"{name}: {m}")
