import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.context import RunContext
from pipeline.errors import InputError
from pipeline.evaluate import predict
from pipeline.networks import body_shapes, count_macs, count_parameters, example_inputs, load_network
from pipeline.prune import prune
from pipeline.results import NetworkResult, PreparedData
from pipeline.settings.prune import PruneSettings
from pipeline.store import Store
from tests.pipeline.trained import (
    IMAGE_DISTILLING,
    TEXT_DISTILLING,
    image_cache,
    image_student,
    image_teacher,
    text_cache,
    text_student,
    text_teacher,
)


def prune_images(
    data: PreparedData, context: RunContext, settings: PruneSettings, session: RunContext
) -> NetworkResult:
    teacher, cache = image_teacher(data, session), image_cache(data, session)
    return prune(data, image_student(data, session), teacher, cache, settings, IMAGE_DISTILLING, context)


def prune_texts(data: PreparedData, settings: PruneSettings, session: RunContext) -> NetworkResult:
    teacher, cache = text_teacher(data, session), text_cache(data, session)
    return prune(data, text_student(data, session), teacher, cache, settings, TEXT_DISTILLING, session)


HALF = PruneSettings(macs=0.5, round_to=4, recovery_epochs=1)


def test_channels_go_until_the_share_is_reached(digits: PreparedData, session_context: RunContext) -> None:
    student = image_student(digits, session_context)
    pruned = prune_images(digits, session_context, HALF, session_context)
    assert student.macs is not None
    assert pruned.macs is not None
    assert 0.4 * student.macs < pruned.macs <= 0.5 * student.macs
    assert pruned.parameters < student.parameters
    network = load_network(pruned)
    assert count_macs(network, example_inputs(digits)) == pruned.macs
    assert count_parameters(network) == pruned.parameters
    np.testing.assert_allclose(predict(network, digits, digits.rows("test")), pruned.test_logits, atol=1e-5)
    assert pruned.role == "pruned"
    assert pruned.name == "mobilenetv2 x0.35 pruned to 50%"


def test_channels_left_are_multiples_and_the_classes_stay(digits: PreparedData, session_context: RunContext) -> None:
    shapes = body_shapes(load_network(prune_images(digits, session_context, HALF, session_context)).body)
    before = body_shapes(load_network(image_student(digits, session_context)).body)
    assert shapes["classifier"][0] == 10
    thinner = [name for name in shapes if shapes[name][0] < before[name][0]]
    assert thinner
    assert all(shapes[name][0] % 4 == 0 for name in thinner)


def test_the_notes_give_what_was_before_and_is_after(digits: PreparedData, session_context: RunContext) -> None:
    student = image_student(digits, session_context)
    pruned = prune_images(digits, session_context, HALF, session_context)
    figures = [float(number.replace(",", "")) for number in re.findall(r"[\d,.]*\d", pruned.notes[-1])]
    assert figures == [
        student.parameters, pruned.parameters, student.macs, pruned.macs,
        round(100 * student.accuracy.value, 2), round(100 * pruned.accuracy.value, 2),
    ]  # fmt: skip


def test_recovery_trains_and_without_it_the_weights_are_the_students(
    digits: PreparedData, session_context: RunContext
) -> None:
    bare = prune_images(digits, session_context, HALF.model_copy(update={"recovery_epochs": 0}), session_context)
    recovered = prune_images(digits, session_context, HALF, session_context)
    assert bare.curve == ()
    assert len(recovered.curve) == 1
    before = load_network(image_student(digits, session_context)).body.conv_head.weight
    after = load_network(bare).body.conv_head.weight
    assert np.isin(after.detach().numpy(), before.detach().numpy()).all()
    trained = load_network(recovered).body.conv_head.weight
    assert trained.shape == after.shape
    assert not torch.equal(trained, after)


def test_the_same_pruning_gives_the_same_bytes(
    digits: PreparedData, session_context: RunContext, tmp_path: Path
) -> None:
    bare = HALF.model_copy(update={"recovery_epochs": 0})
    first = prune_images(digits, session_context, bare, session_context)
    second = prune_images(digits, RunContext(Store(tmp_path), seed=session_context.seed), bare, session_context)
    assert second.checkpoint_file.read_bytes() == first.checkpoint_file.read_bytes()


def test_a_share_of_one_gives_the_student_back(digits: PreparedData, session_context: RunContext) -> None:
    assert prune_images(digits, session_context, PruneSettings(), session_context) == image_student(
        digits, session_context
    )


def test_a_share_that_can_not_be_reached_is_refused(
    digits: PreparedData, session_context: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.pruning.channels.STEPS", 4)
    with pytest.raises(InputError, match=r"prune.macs 0.06 can't be reached: with channels in multiples of 64"):
        prune_images(digits, session_context, PruneSettings(macs=0.06, round_to=64), session_context)


THINNED = PruneSettings(macs=0.5, round_to=8, recovery_epochs=1, learning_rate=1e-4)


def test_heads_and_units_of_each_layer_are_thinned_to_the_share(
    reviews: PreparedData, session_context: RunContext
) -> None:
    student, pruned = text_student(reviews, session_context), prune_texts(reviews, THINNED, session_context)
    network = load_network(pruned)
    for layer in network.transformer.bert.encoder.layer:
        assert layer.attention.self.num_attention_heads == 6
        assert layer.attention.self.query.weight.shape == (192, 384)
        assert layer.intermediate.dense.weight.shape == (768, 384)
    assert student.macs is not None
    assert pruned.macs is not None
    assert 0.45 < pruned.macs / student.macs < 0.6
    np.testing.assert_allclose(predict(network, reviews, reviews.rows("test")), pruned.test_logits, atol=1e-4)
    embeddings = "transformer.bert.embeddings.word_embeddings.weight"
    kept = load_network(student).get_parameter(embeddings)
    assert torch.equal(network.get_parameter(embeddings), kept)


def test_the_heads_that_go_are_those_that_change_the_answers_least(
    reviews: PreparedData, session_context: RunContext
) -> None:
    """Against a student whose first six heads of layer 0 write nothing: these are the ones to go."""
    student = text_student(reviews, session_context)
    network = load_network(student)
    with torch.no_grad():
        network.transformer.bert.encoder.layer[0].attention.output.dense.weight[:, :192] = 0
    from safetensors.torch import save_file

    muted = student.checkpoint_file.with_name("muted.safetensors")
    save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, muted)
    student = replace(student, checkpoint_file=muted, fingerprint="muted")
    teacher, cache = text_teacher(reviews, session_context), text_cache(reviews, session_context)
    settings = THINNED.model_copy(update={"recovery_epochs": 0})
    pruned = prune(reviews, student, teacher, cache, settings, TEXT_DISTILLING, session_context)
    config = pruned.architecture["config"]
    assert isinstance(config, dict)
    assert config["pruned_heads"]["0"] == [0, 1, 2, 3, 4, 5]


def test_a_thinned_bert_is_exported_by_optimum(
    reviews: PreparedData, session_context: RunContext, tmp_path: Path
) -> None:
    import onnxruntime
    from optimum.exporters.onnx import main_export

    from pipeline.quiet import quiet

    network = load_network(prune_texts(reviews, THINNED, session_context))
    inputs = example_inputs(reviews)
    network.transformer.save_pretrained(tmp_path / "model")
    with quiet():
        main_export(
            tmp_path / "model", tmp_path / "onnx", task="text-classification", library_name="transformers",
            do_validation=False, no_post_process=True, batch_size=1, sequence_length=32, no_dynamic_axes=True,
        )  # fmt: skip
    session = onnxruntime.InferenceSession(tmp_path / "onnx/model.onnx", providers=["CPUExecutionProvider"])
    names = ("input_ids", "attention_mask", "token_type_ids")
    feeds = {name: tensor.numpy() for name, tensor in zip(names, inputs, strict=True)}
    (logits,) = session.run(None, feeds)
    np.testing.assert_allclose(logits, network(*inputs).detach().numpy(), atol=1e-4)
