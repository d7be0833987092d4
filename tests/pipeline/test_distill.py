from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pipeline.context import RunContext
from pipeline.data.batches import evaluation_batches, training_batches
from pipeline.distill.answers import LearnAnswers, student_schedule, teacher_answers
from pipeline.distill.cache import cache_teacher
from pipeline.distill.cache_results import CacheResult
from pipeline.distill.start import evenly_spread, principal_components, start_student
from pipeline.distill.student import distill, train_naive
from pipeline.errors import InputError
from pipeline.evaluate import predict
from pipeline.networks import example_inputs, load_network
from pipeline.progress import Meter
from pipeline.results import NetworkResult, PreparedData
from pipeline.settings.data import Augmentation
from pipeline.settings.student import StudentSettings
from pipeline.store import Store
from pipeline.student import student_architecture
from pipeline.training.fit import fit
from pipeline.training.labels import learn_labels
from pipeline.training.schedule import Moment
from tests.pipeline.test_training import small
from tests.pipeline.trained import (
    IMAGE_DISTILLING,
    IMAGE_STUDENT,
    TEXT_DISTILLING,
    TEXT_STUDENT,
    image_cache,
    image_student,
    image_teacher,
    text_cache,
    text_student,
    text_teacher,
)

CPU = torch.device("cpu")


def losses(
    data: PreparedData, teacher: NetworkResult, cache: CacheResult | None, mode: str, epochs: int
) -> list[float]:
    """The distillation loss of one untrained student on every batch of some epochs."""
    image = data.task == "image-classification"
    settings = (IMAGE_DISTILLING if image else TEXT_DISTILLING).model_copy(update={"mode": mode, "epochs": epochs})
    student = IMAGE_STUDENT if image else TEXT_STUDENT
    network = start_student(student_architecture(student, data, teacher), student, teacher, seed=0).eval()
    learn = LearnAnswers(settings, teacher_answers(data, teacher, cache, settings, CPU))
    plan = student_schedule(data, settings, seed=0)
    found = []
    for epoch in range(epochs):
        view = epoch % plan.views
        rows = data.rows("train")
        for batch in training_batches(data, rows, plan.batch_size, plan.seed, epoch, plan.augmentation, view):
            with torch.no_grad():
                found.append(learn(network, batch, Moment(epoch, 0.0)).item())
    return found


def test_the_cache_holds_the_teachers_logits_for_every_view(digits: PreparedData, session_context: RunContext) -> None:
    teacher, cache = image_teacher(digits, session_context), image_cache(digits, session_context)
    rows = digits.rows("train")
    assert cache.logits.shape == (2, len(rows), 10)
    assert cache.logits.dtype == np.float32
    assert cache.bytes == sum(shard.file.stat().st_size for shard in cache.shards)
    network = load_network(teacher)
    for view in range(2):
        expected = predict(network, digits, rows, augmentation=IMAGE_DISTILLING.augmentation, view=view, seed=0)
        np.testing.assert_allclose(cache.logits[view], expected, atol=1e-5)
    assert np.abs(cache.logits[0] - cache.logits[1]).max() > 0.01


def test_one_cache_serves_every_way_of_training(digits: PreparedData, session_context: RunContext) -> None:
    teacher, cache = image_teacher(digits, session_context), image_cache(digits, session_context)
    other = IMAGE_DISTILLING.model_copy(update={"epochs": 99, "temperature": 1.0, "alpha": 0.1, "batch_size": 7})
    assert cache_teacher(digits, teacher, other, session_context) == cache
    shifted = IMAGE_DISTILLING.model_copy(update={"augmentation": Augmentation(shift=0.2)})
    assert cache_teacher(digits, teacher, shifted, session_context).fingerprint != cache.fingerprint


def test_texts_have_one_view(reviews: PreparedData, session_context: RunContext) -> None:
    assert text_cache(reviews, session_context).logits.shape == (1, len(reviews.rows("train")), 2)


def test_cached_and_online_give_the_same_image_losses(digits: PreparedData, session_context: RunContext) -> None:
    teacher, cache = image_teacher(digits, session_context), image_cache(digits, session_context)
    cached, online = (losses(digits, teacher, cache, mode, epochs=2) for mode in ("cached", "online"))
    np.testing.assert_allclose(cached, online, rtol=1e-4)


def test_cached_and_online_give_the_same_text_losses(reviews: PreparedData, session_context: RunContext) -> None:
    teacher, cache = text_teacher(reviews, session_context), text_cache(reviews, session_context)
    cached, online = (losses(reviews, teacher, cache, mode, epochs=1) for mode in ("cached", "online"))
    np.testing.assert_allclose(cached, online, rtol=1e-4)


def test_cached_logits_follow_the_rows_whatever_part_is_asked_for(
    digits: PreparedData, session_context: RunContext
) -> None:
    teacher, cache = image_teacher(digits, session_context), image_cache(digits, session_context)
    part = digits.rows("train")[5:90:7]
    cached, online = (
        teacher_answers(digits, teacher, cache, IMAGE_DISTILLING.model_copy(update={"mode": mode}), CPU)
        for mode in ("cached", "online")
    )
    for batch in evaluation_batches(digits, part, 5, 0, IMAGE_DISTILLING.augmentation, view=1):
        torch.testing.assert_close(cached.ask(batch), online.ask(batch), rtol=1e-4, atol=1e-4)


def test_a_cache_of_other_views_is_refused(digits: PreparedData, session_context: RunContext) -> None:
    teacher, cache = image_teacher(digits, session_context), image_cache(digits, session_context)
    with pytest.raises(ValueError, match=r"needs a cache of shape \(3, 210, 10\)"):
        teacher_answers(digits, teacher, cache, IMAGE_DISTILLING.model_copy(update={"views": 3}), CPU)


def test_soft_targets_bring_a_student_nearer_to_its_teacher_than_labels(
    digits: PreparedData, session_context: RunContext, tmp_path: Path
) -> None:
    """By the Kullback-Leibler divergence of their answers to the test split, after the same training."""
    teacher, cache = image_teacher(digits, session_context), image_cache(digits, session_context)
    settings = IMAGE_DISTILLING.model_copy(
        update={"epochs": 8, "learning_rate": 1e-2, "alpha": 1.0, "temperature": 2.0}
    )
    guided = LearnAnswers(settings, teacher_answers(digits, teacher, cache, settings, CPU))
    labels = learn_labels(settings.regularization, settings.label_smoothing)
    schedule = student_schedule(digits, settings, seed=0)
    found = {}
    for learn in (guided, labels):
        network = small()
        fit(network, digits, learn, schedule, Meter("fit", "samples", 1), tmp_path / str(learn is guided))
        found[learn] = divergence(teacher.test_logits, predict(network, digits, digits.rows("test")))
    assert found[guided] < 0.8 * found[labels]


def divergence(a: np.ndarray, b: np.ndarray) -> float:
    p, q = (torch.from_numpy(logits).log_softmax(1) for logits in (a, b))
    return float((p.exp() * (p - q)).sum(1).mean())


def test_a_student_and_its_naive_twin_are_told_apart(digits: PreparedData, session_context: RunContext) -> None:
    teacher, student = image_teacher(digits, session_context), image_student(digits, session_context)
    naive = train_naive(digits, teacher, IMAGE_STUDENT, IMAGE_DISTILLING, session_context)
    assert (student.role, naive.role) == ("student", "naive")
    assert student.name == naive.name == "mobilenetv2 x0.35"
    assert not np.array_equal(student.test_logits, naive.test_logits)


def test_a_naive_student_does_not_depend_on_soft_target_settings(
    digits: PreparedData, session_context: RunContext
) -> None:
    teacher = image_teacher(digits, session_context)
    naive = train_naive(digits, teacher, IMAGE_STUDENT, IMAGE_DISTILLING, session_context)
    other = IMAGE_DISTILLING.model_copy(update={"temperature": 9.0, "alpha": 0.2, "mode": "online", "ahead": 2})
    assert train_naive(digits, teacher, IMAGE_STUDENT, other, session_context) == naive


def test_a_distilled_student_is_the_same_bytes_again(
    digits: PreparedData, session_context: RunContext, tmp_path: Path
) -> None:
    first = image_student(digits, session_context)
    teacher, cache = image_teacher(digits, session_context), image_cache(digits, session_context)
    again = RunContext(Store(tmp_path), seed=session_context.seed)
    second = distill(digits, teacher, cache, IMAGE_STUDENT, IMAGE_DISTILLING, again)
    assert second.fingerprint == first.fingerprint
    assert second.checkpoint_file.read_bytes() == first.checkpoint_file.read_bytes()


def test_students_start_alike_from_one_seed_and_otherwise_from_another(
    digits: PreparedData, session_context: RunContext
) -> None:
    teacher = image_teacher(digits, session_context)
    architecture = student_architecture(IMAGE_STUDENT, digits, teacher)
    inputs = example_inputs(digits)
    a, b, c = (start_student(architecture, IMAGE_STUDENT, teacher, seed).eval()(*inputs) for seed in (0, 0, 1))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_an_image_student_starts_from_a_checkpoint(digits: PreparedData, session_context: RunContext) -> None:
    trained = image_student(digits, session_context)
    teacher = image_teacher(digits, session_context)
    settings = IMAGE_STUDENT.model_copy(update={"weights": str(trained.checkpoint_file)})
    network = start_student(student_architecture(settings, digits, teacher), settings, teacher, seed=5)
    expected, counters = load_network(trained).state_dict(), "num_batches_tracked"
    for name, tensor in network.state_dict().items():
        assert name.endswith(counters) or torch.equal(tensor, expected[name]), name


def test_a_whole_copy_of_the_teacher_answers_as_the_teacher(reviews: PreparedData, session_context: RunContext) -> None:
    teacher = text_teacher(reviews, session_context)
    settings = StudentSettings(family="tinybert", layers=6, start="layers")
    network = start_student(student_architecture(settings, reviews, teacher), settings, teacher, seed=0)
    np.testing.assert_allclose(predict(network, reviews, reviews.rows("test")), teacher.test_logits, atol=1e-4)


def test_layers_are_taken_evenly(reviews: PreparedData, session_context: RunContext) -> None:
    teacher = text_teacher(reviews, session_context)
    network = start_student(student_architecture(TEXT_STUDENT, reviews, teacher), TEXT_STUDENT, teacher, seed=0)
    mine, theirs = network.transformer.bert.encoder.layer, load_network(teacher).transformer.bert.encoder.layer
    for student_layer, teacher_layer in ((0, 0), (1, 5)):
        assert torch.equal(mine[student_layer].output.dense.weight, theirs[teacher_layer].output.dense.weight)


def test_a_text_student_keeps_the_word_embeddings_it_took(reviews: PreparedData, session_context: RunContext) -> None:
    student = text_student(reviews, session_context)
    embeddings = "transformer.bert.embeddings.word_embeddings.weight"
    teacher = load_network(text_teacher(reviews, session_context))
    assert torch.equal(load_network(student).get_parameter(embeddings), teacher.get_parameter(embeddings))
    assert any("word embeddings stay" in note for note in student.notes)
    assert student.name == "tinybert 2x384"


def test_narrower_embeddings_keep_which_words_are_alike(reviews: PreparedData, session_context: RunContext) -> None:
    teacher = text_teacher(reviews, session_context)
    settings = StudentSettings(family="tinybert", layers=2, hidden=96, heads=4, start="embeddings")
    network = start_student(student_architecture(settings, reviews, teacher), settings, teacher, seed=0)
    before = load_network(teacher).transformer.bert.embeddings.word_embeddings.weight[2000:2300]
    after = network.transformer.bert.embeddings.word_embeddings.weight[2000:2300]
    assert after.shape == (300, 96)

    def alike(words: Tensor) -> np.ndarray:
        return (
            torch.nn.functional.normalize(words - words.mean(0))
            .matmul(torch.nn.functional.normalize(words - words.mean(0)).T)[~torch.eye(300, dtype=torch.bool)]
            .detach()
            .numpy()
        )

    assert np.corrcoef(alike(before), alike(after))[0, 1] > 0.6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden": 480, "heads": 12, "start": "layers"}, "student.hidden is 480, teacher .* is 384"),
        ({"heads": 16, "start": "layers"}, "student.heads is 16"),
        ({"feed_forward": 2048, "start": "layers"}, "student.feed_forward is 2048"),
        (
            {"layers": 2, "from_layers": (3, 7), "start": "layers"},
            "from_layers: 7 is more than the 6 layers of teacher",
        ),
        ({"layers": 8, "start": "layers"}, "student.layers 8 is more than teacher .*'s 6"),
        ({"hidden": 480, "heads": 12, "start": "embeddings"}, "480 is wider than teacher"),
    ],
)
def test_a_start_that_the_shape_does_not_allow_is_refused(
    reviews: PreparedData, session_context: RunContext, changes: dict[str, object], message: str
) -> None:
    teacher = text_teacher(reviews, session_context)
    settings = StudentSettings(family="tinybert", **changes)
    with pytest.raises(InputError, match=message):
        start_student(student_architecture(settings, reviews, teacher), settings, teacher, seed=0)


@given(st.integers(1, 24), st.integers(0, 24))
def test_evenly_spread_layers_rise_and_end_with_the_last(count: int, more: int) -> None:
    chosen = evenly_spread(count, count + more)
    assert len(chosen) == count
    assert sorted(set(chosen)) == chosen
    assert chosen[-1] == count + more - 1
    assert count == 1 or chosen[0] == 0
    assert evenly_spread(4, 6) == [0, 2, 3, 5]


def test_principal_components_are_orthonormal_and_keep_what_lies_in_few_directions() -> None:
    torch.manual_seed(0)
    flat = torch.randn(200, 5) @ torch.randn(5, 30)
    basis = principal_components(flat, 5)
    torch.testing.assert_close(basis.T @ basis, torch.eye(5), atol=1e-5, rtol=0)
    torch.testing.assert_close(flat @ basis @ basis.T, flat, atol=1e-3, rtol=1e-3)
