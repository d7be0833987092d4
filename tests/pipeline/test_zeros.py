"""Weights set to zero while the student learns on, and files that store what is left."""

import re
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

from pipeline.context import RunContext
from pipeline.errors import InputError
from pipeline.export.sparse import sparse_weights, store_sparse
from pipeline.export.tflite import export_tflite
from pipeline.feeds import feeds
from pipeline.flatbuffer import read_model
from pipeline.networks import load_network
from pipeline.plan import describe_plan, make_plan
from pipeline.prune import prune
from pipeline.pruning.zeros import mask_least, pointwise, unmask
from pipeline.recipe import load_recipe
from pipeline.results import ExportedFile, NetworkResult, PreparedData
from pipeline.settings.distill import DistillSettings
from pipeline.settings.prune import PruneSettings
from pipeline.store import Store
from pipeline.training.fit import fit
from targets.errors import TargetError
from targets.runtimes.base import RuntimeOptions, open_model, operators
from tests.pipeline.test_plan import DIGITS, SENTIMENT

ONLINE = DistillSettings(mode="online", epochs=1, batch_size=70)
SPARSE = PruneSettings(sparsity=0.8, schedule="gradual", steps=2, recovery_epochs=3, learning_rate=2e-3)


@pytest.fixture(scope="module")
def sparse(digits: PreparedData, image_student: NetworkResult, session_context: RunContext) -> NetworkResult:
    """By the student's own answers: a teacher that costs nothing."""
    return prune(digits, image_student, image_student, None, SPARSE, ONLINE, session_context)


@pytest.fixture(scope="module")
def dense_file(digits: PreparedData, sparse: NetworkResult, session_context: RunContext) -> ExportedFile:
    return export_tflite(digits, sparse, None, session_context)


def zeros(layer: nn.Conv2d) -> float:
    return float((layer.weight == 0).float().mean())


def test_what_is_zero_stays_zero_while_the_rest_learns(image_student: NetworkResult, sparse: NetworkResult) -> None:
    network, before = load_network(sparse), load_network(image_student)
    thinned = pointwise(network)
    assert len(thinned) > 30
    assert all(abs(zeros(layer) - 0.8) < 0.01 for layer in thinned)
    others = [m for m in network.body.modules() if isinstance(m, nn.Conv2d) and m not in thinned]
    assert all(zeros(layer) < 0.05 for layer in others)
    assert sparse.architecture == image_student.architecture
    assert sparse.name == "mobilenetv2 x0.35 with 80% zeros"
    assert len(sparse.curve) == 3
    assert sparse.notes[-1].startswith("80% of the weights of its 1x1 convolutions are zero, accuracy ")
    kept, was = (layer.weight.detach() for layer in (thinned[-1], pointwise(before)[-1]))
    assert not np.isclose(kept[kept != 0], was[kept != 0]).all()  # trained
    assert was[kept != 0].abs().mean() > was[kept == 0].abs().mean()  # the least went


def test_a_killed_training_goes_on_to_the_same_bytes(
    digits: PreparedData, image_student: NetworkResult, sparse: NetworkResult, session_context: RunContext,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    trained: list[str] = []

    def killed_at_the_second(network: Any, data: Any, objective: Any, schedule: Any, *rest: Any) -> Any:
        trained.append(schedule.phase)
        if len(trained) == 2:
            raise KeyboardInterrupt
        return fit(network, data, objective, schedule, *rest)

    context = RunContext(Store(tmp_path), seed=session_context.seed)
    monkeypatch.setattr("pipeline.pruning.zeros.fit", killed_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        prune(digits, image_student, image_student, None, SPARSE, ONLINE, context)
    found = prune(digits, image_student, image_student, None, SPARSE, ONLINE, context)
    assert trained == ["zeros 1", "zeros 2", "zeros 1", "zeros 2"]
    assert found.checkpoint_file.read_bytes() == sparse.checkpoint_file.read_bytes()
    assert found.curve == sparse.curve


def test_masks_come_and_go_and_leave_the_zeros(image_student: NetworkResult) -> None:
    network = load_network(image_student)
    names = list(network.state_dict())
    mask_least(network, 0.5)
    first = [layer.weight.detach() == 0 for layer in pointwise(network)]
    mask_least(network, 0.8)
    unmask(network)
    assert list(network.state_dict()) == names
    for layer, was in zip(pointwise(network), first, strict=True):
        assert (layer.weight[was] == 0).all()


def test_a_sparse_file_is_smaller_and_says_the_same(
    digits: PreparedData, dense_file: ExportedFile, session_context: RunContext
) -> None:
    stored = store_sparse(dense_file, session_context)
    assert stored.bytes < 0.65 * dense_file.bytes
    assert operators(stored.file, "litert")["densify"] > 30
    assert re.search(r"\d+ 1x1 convolutions are stored sparse", stored.notes[-1])
    options = RuntimeOptions("litert", 1, "xnnpack")
    models = [open_model(file.file, options) for file in (dense_file, stored)]
    for row in digits.rows("test")[:20]:
        told = [model.run(feeds(model.inputs, digits, int(row))) for model in models]
        np.testing.assert_allclose(*(scores[0] for scores in told), atol=1e-5)


def test_a_file_without_zeros_is_stored_as_it_is(image_tflite: ExportedFile, context: RunContext) -> None:
    stored = store_sparse(image_tflite, context)
    assert stored.sha256 == image_tflite.sha256
    assert stored.notes == image_tflite.notes


def test_weights_that_two_tensors_hold_stay_dense(dense_file: ExportedFile) -> None:
    model = read_model(dense_file.file.read_bytes())
    (graph,) = model.subgraphs
    graph.tensors.extend(copy(tensor) for tensor in list(graph.tensors))
    assert sparse_weights(model) == 0


def test_other_files_come_back(image_onnx: ExportedFile, context: RunContext) -> None:
    assert store_sparse(image_onnx, context) is image_onnx


@pytest.mark.parametrize(
    ("target", "settings", "reason"),
    [
        ("rpi4", (), r"target rpi4 computes in int8-static: .*set quantize.scheme: float32"),
        ("host", ("quantize.scheme=float32",), r"target host is no ARM \(its isa is \[\]\)"),
    ],
)
def test_where_no_kernel_skips_zeros_they_are_refused(target: str, settings: tuple[str, ...], reason: str) -> None:
    recipe = load_recipe(DIGITS, ("prune.sparsity=0.8", *settings))
    with pytest.raises(InputError, match=reason):
        make_plan(recipe, (target,))


def test_the_plan_says_what_becomes_zero() -> None:
    settings = ("prune={sparsity: 0.8, recovery_epochs: 2}", "quantize.scheme=float32")
    plan = make_plan(load_recipe(DIGITS, settings), ("rpi4",))
    told = next(what for stage, what, _ in describe_plan(plan) if stage == "prune")
    assert told == "80% of the weights of 1x1 convolutions to zero, 2 epochs to recover"


@pytest.mark.parametrize(
    ("recipe", "settings", "reason"),
    [
        (DIGITS, "{sparsity: 0.8, macs: 0.5}", "cuts nothing: remove macs"),
        (DIGITS, "{sparsity: 0.5}", "prune.sparsity"),
        (DIGITS, "{sparsity: 0.8, importance: hessian, round_to: 4}", "remove importance and round_to"),
        (SENTIMENT, "{sparsity: 0.8}", "only 1x1 convolutions have kernels that skip zeros"),
    ],
)
def test_what_does_not_go_with_zeros_is_refused(recipe: Path, settings: str, reason: str) -> None:
    with pytest.raises(TargetError, match=reason):
        load_recipe(recipe, (f"prune={settings}",))
