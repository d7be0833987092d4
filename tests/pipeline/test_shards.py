"""The teacher's cached answers: how they are kept, read, told, resumed and checked."""

import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn import functional

from pipeline.context import RunContext
from pipeline.data.batches import Batch, evaluation_batches
from pipeline.distill import cache as caching
from pipeline.distill import shards as sharding
from pipeline.distill.answers import LearnAnswers, teacher_answers
from pipeline.distill.cache import cache_teacher
from pipeline.distill.cache_results import AnswerForm, CacheResult
from pipeline.distill.cached import read_answers
from pipeline.distill.forms import pack_answers, record_of, unpack_answers
from pipeline.distill.losses import soft_target_loss
from pipeline.distill.student import distill, train_naive
from pipeline.errors import InputError
from pipeline.networks import load_network
from pipeline.progress import Reporter
from pipeline.results import NetworkResult, PreparedData
from pipeline.settings.cache import CacheSettings
from pipeline.settings.distill import DistillSettings
from pipeline.settings.student import StudentSettings
from pipeline.store import Store, file_sha256
from pipeline.teacher import teach
from pipeline.training.schedule import Moment
from tests.pipeline.model_files import fitted, image_file
from tests.pipeline.model_files import settings as file_settings

CPU = torch.device("cpu")
SHIFTED = {"views": 2, "augmentation": {"shift": 0.1}}


def settings(dtype: str = "float32", top_k: int | None = None, shard: int = 64, **others: Any) -> DistillSettings:
    kept = {"dtype": dtype, "top_k": top_k, "shard": shard}
    return DistillSettings.model_validate({**SHIFTED, "cache": kept, **others})


@pytest.fixture(scope="module")
def teacher(digits: PreparedData, tmp_path_factory: pytest.TempPathFactory) -> NetworkResult:
    folder = tmp_path_factory.mktemp("teacher")
    file = image_file(folder / "model.onnx", fitted(digits))
    return teach(digits, file_settings(file), RunContext(Store(folder)))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> RunContext:
    return RunContext(Store(tmp_path_factory.mktemp("store")))


@pytest.fixture(scope="module")
def cache(digits: PreparedData, teacher: NetworkResult, store: RunContext) -> CacheResult:
    return cache_teacher(digits, teacher, settings(), store)


def every_answer(cache: CacheResult) -> np.ndarray:
    """float32 [views, samples, classes], read as training reads it."""
    views, places = np.divmod(np.arange(cache.views * cache.samples), cache.samples)
    return read_answers(cache, views, places).reshape(cache.shape)


def copied(store: RunContext, folder: Path) -> RunContext:
    shutil.copytree(store.store.root, folder)
    return RunContext(Store(folder))


# ---- shards


def test_answers_lie_in_shards_of_a_fixed_number_of_samples(cache: CacheResult) -> None:
    """210 samples, 64 a shard: 64, 64, 64 and 18 of each of the two views."""
    assert [(shard.view, shard.start, shard.count) for shard in cache.shards] == [
        (view, start, min(64, 210 - start)) for view in range(2) for start in (0, 64, 128, 192)
    ]
    for shard in cache.shards:
        assert (shard.bytes, shard.sha256) == (shard.file.stat().st_size, file_sha256(shard.file))


def test_the_number_of_samples_in_a_shard_changes_no_answer(
    digits: PreparedData, teacher: NetworkResult, store: RunContext, cache: CacheResult
) -> None:
    whole = cache_teacher(digits, teacher, settings(shard=4096), store)
    assert len(whole.shards) == 2
    np.testing.assert_allclose(whole.logits, cache.logits, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(every_answer(whole), whole.logits)


def test_a_few_answers_are_read_from_all_over_the_cache(cache: CacheResult) -> None:
    random = np.random.default_rng(0)
    views, places = random.integers(0, 2, 50), random.integers(0, 210, 50)
    np.testing.assert_array_equal(read_answers(cache, views, places), cache.logits[views, places])
    assert read_answers(cache, views[:0], places[:0]).shape == (0, 10)


def test_students_are_given_the_answers_of_their_samples_and_views(
    digits: PreparedData, teacher: NetworkResult, cache: CacheResult
) -> None:
    answers, network = teacher_answers(digits, teacher, cache, settings(), CPU), load_network(teacher)
    shown = settings().augmentation
    for batch in evaluation_batches(digits, digits.rows("train")[7:200:9], 8, 0, shown, view=1):
        with torch.no_grad():
            torch.testing.assert_close(answers(batch), network(*batch.inputs), rtol=1e-4, atol=1e-4)


# ---- forms


def test_float16_halves_the_files_and_rounds_the_logits(
    digits: PreparedData, teacher: NetworkResult, store: RunContext, cache: CacheResult
) -> None:
    half = cache_teacher(digits, teacher, settings("float16"), store)
    header = 128 * len(cache.shards)
    assert half.bytes - header == (cache.bytes - header) // 2
    np.testing.assert_array_equal(every_answer(half), cache.logits.astype(np.float16).astype(np.float32))


def test_logits_that_float16_can_not_hold_are_refused() -> None:
    with pytest.raises(InputError, match="holds values up to 65504, the teacher gave 70000: use float32"):
        pack_answers(np.array([[0.0, -70000.0]], np.float32), AnswerForm(2, "float16"))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_of_top_k_the_teachers_probabilities_stay_and_the_rest_is_even(temperature: float) -> None:
    logits = np.random.default_rng(1).normal(0, 4, (6, 12)).astype(np.float32)
    form = AnswerForm(12, "float32", 3, temperature)
    found = unpack_answers(pack_answers(logits, form), form)
    soft, kept = (functional.softmax(torch.from_numpy(z) / temperature, 1).numpy() for z in (logits, found))
    for exact, spread in zip(soft, kept, strict=True):
        top = np.argsort(-exact)[:3]
        others = np.setdiff1d(np.arange(12), top)
        np.testing.assert_allclose(spread[top], exact[top], rtol=1e-4, atol=1e-7)
        np.testing.assert_allclose(spread[others], exact[others].sum() / 9, rtol=1e-4, atol=1e-7)


def test_top_k_by_hand() -> None:
    """exp of the logits are 1, 2, 4 and 9: of top 2 the others share 3, one and a half each."""
    form = AnswerForm(4, "float32", 2, 1.0)
    packed = pack_answers(np.log(np.array([[1, 9, 2, 4]], np.float32)), form)
    assert packed["classes"].tolist() == [[1, 3]]
    np.testing.assert_allclose(np.exp(unpack_answers(packed, form)), [[1.5, 9, 1.5, 4]], rtol=1e-5)
    assert record_of(form).itemsize == 2 * 4 + 2 * 2 + 4


def test_of_equal_logits_the_first_classes_are_kept() -> None:
    form = AnswerForm(5, "float16", 2, 1.0)
    assert pack_answers(np.zeros((1, 5), np.float32), form)["classes"].tolist() == [[0, 1]]


def test_many_classes_have_larger_numbers() -> None:
    form = AnswerForm(70_000, "float16", 1, 1.0)
    logits = np.zeros((1, 70_000), np.float32)
    logits[0, 69_999] = 5
    assert unpack_answers(pack_answers(logits, form), form).argmax() == 69_999


def test_a_student_learns_from_top_k_by_the_loss_of_the_spread_answers(
    digits: PreparedData, teacher: NetworkResult, store: RunContext, cache: CacheResult
) -> None:
    class Reading(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.mean((2, 3)).repeat(1, 4)[:, :10] / 50 * torch.arange(10)

    chosen = settings("float32", 2, alpha=1.0, temperature=3.0)
    kept = cache_teacher(digits, teacher, chosen, store)
    assert kept.bytes < cache.bytes
    learn = LearnAnswers(chosen, teacher_answers(digits, teacher, kept, chosen, CPU))
    (batch,) = evaluation_batches(digits, digits.rows("train")[:16], 16, 0, chosen.augmentation, view=0)
    soft = torch.from_numpy(cache.logits[0, :16] / 3.0).softmax(1)
    top = soft.topk(2, dim=1)
    rest = soft.scatter(1, top.indices, 0.0).sum(1, keepdim=True) / 8
    spread = rest.expand(16, 10).scatter(1, top.indices, top.values)
    expected = soft_target_loss(Reading()(*batch.inputs), 3.0 * spread.log(), 3.0)
    torch.testing.assert_close(learn(Reading(), batch, Moment(0, 0.0)), expected, rtol=1e-4, atol=1e-5)


# ---- size and space


class Said(Reporter):
    """Remembers what it was told."""

    def say(self, text: str) -> None:
        HEARD.append(text)


HEARD: list[str] = []


def test_the_size_is_told_before_anything_is_written(
    digits: PreparedData, teacher: NetworkResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rich.console import Console

    HEARD.clear()
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(sharding.shutil, "disk_usage", lambda folder: usage(10, 10, 10_000))
    context = RunContext(Store(tmp_path), Said(Console(quiet=True), quiet=True))
    with pytest.raises(InputError, match=r"need 17\.8 kB, 10\.0 kB are free: free some, choose another folder"):
        cache_teacher(digits, teacher, settings(), context)
    assert HEARD == ["  teacher cache: 2 views x 210 samples x 10 classes in float32, 17.8 kB"]
    assert not list(tmp_path.rglob("*.npy"))
    HEARD.clear()
    cache_teacher(digits, teacher, settings("float16", 2), context)
    assert HEARD == ["  teacher cache: 2 views x 210 samples x the top 2 of 10 classes in float16, 6.1 kB"]


# ---- killed, and damaged


def test_a_killed_pass_goes_on_at_the_first_missing_shard(
    digits: PreparedData, teacher: NetworkResult, cache: CacheResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def counting(*args: Any, stop_at: int | None = None, **more: Any) -> np.ndarray:
        if len(asked) == stop_at:
            raise KeyboardInterrupt
        asked.append(len(args[2]))
        return PREDICT(*args, **more)

    again = RunContext(Store(tmp_path))
    monkeypatch.setattr(caching, "predict", lambda *a, **k: counting(*a, stop_at=5, **k))
    with pytest.raises(KeyboardInterrupt):
        cache_teacher(digits, teacher, settings(), again)
    (partial,) = tmp_path.glob("teacher-cache/*.partial")
    (partial / "view00.00001.npy").write_bytes(b"changed while nobody looked")
    asked.clear()
    monkeypatch.setattr(caching, "predict", counting)
    found = cache_teacher(digits, teacher, settings(), again)
    assert asked == [64, 64, 64, 18]  # the changed one, and those that the kill left out
    assert [shard.sha256 for shard in found.shards] == [shard.sha256 for shard in cache.shards]
    assert contents(found) == contents(cache)


PREDICT = caching.predict


def contents(cache: CacheResult) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(cache.shards[0].file.parent.iterdir())}


@pytest.mark.parametrize("damage", ["changed", "cut short", "gone"])
def test_a_damaged_shard_alone_is_made_again(
    digits: PreparedData,
    teacher: NetworkResult,
    store: RunContext,
    cache: CacheResult,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    damage: str,
) -> None:
    from rich.console import Console

    HEARD.clear()
    context = RunContext(copied(store, tmp_path / "copy").store, Said(Console(quiet=True), quiet=True))
    file = tmp_path / "copy" / cache.shards[5].file.relative_to(store.store.root)
    content = file.read_bytes()
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(content[:-1] if damage == "cut short" else content[:-1] + bytes([content[-1] ^ 1]))
    asked: list[int] = []

    def counting(*args: Any, **more: Any) -> np.ndarray:
        asked.append(len(args[2]))
        return PREDICT(*args, **more)

    monkeypatch.setattr(caching, "predict", counting)
    found = cache_teacher(digits, teacher, settings(), context)
    assert asked == [64]
    assert HEARD[0] == "  teacher-cache: not as written, made again: view01.00001.npy"
    assert contents(found) == contents(cache)


def test_a_shard_that_is_cut_while_a_training_reads_it_is_told(
    digits: PreparedData, teacher: NetworkResult, store: RunContext, cache: CacheResult, tmp_path: Path
) -> None:
    found = cache_teacher(digits, teacher, settings(), copied(store, tmp_path / "copy"))
    last = found.shards[3]
    last.file.write_bytes(last.file.read_bytes()[:-40])
    with pytest.raises(InputError, match=r"view00\.00003\.npy: cut short while it was in use; run again"):
        read_answers(found, np.array([0]), np.array([209]))
    last.file.unlink()
    with pytest.raises(InputError, match=r"view00\.00003\.npy: can't be used \(No such file"):
        read_answers(found, np.array([0]), np.array([200]))


# ---- settings


def test_what_is_kept_decides_which_cache_it_is(
    digits: PreparedData, teacher: NetworkResult, store: RunContext, cache: CacheResult
) -> None:
    def known(chosen: DistillSettings) -> str:
        return cache_teacher(digits, teacher, chosen, store).fingerprint

    for alike in (settings(epochs=99, alpha=0.1, temperature=2.0), settings(loss="mse", learning_rate=0.5)):
        assert known(alike) == cache.fingerprint
    others = [settings("float16"), settings(top_k=2), settings(top_k=2, temperature=3.0), settings("float16", 2)]
    assert len({cache.fingerprint, *map(known, others)}) == 5


def test_what_is_kept_is_part_of_a_student_but_not_of_a_naive_one(
    digits: PreparedData, teacher: NetworkResult, store: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys: dict[str, list[str]] = {"student": [], "naive": []}

    def note(context: RunContext, name: str, inputs: Any, kind: Any, make: Any, **_: Any) -> None:
        keys[name].append(context.store.key(name, inputs, make))

    monkeypatch.setattr(RunContext, "stage", note)
    family = StudentSettings(family="mobilenetv2", width=0.35)
    for chosen in (settings(), settings("float16"), settings(top_k=2)):
        distill(digits, teacher, None, family, chosen, store)
        train_naive(digits, teacher, family, chosen, store)
    assert len(set(keys["student"])) == 3
    assert len(set(keys["naive"])) == 1


def test_top_k_of_all_classes_is_refused(digits: PreparedData, teacher: NetworkResult, store: RunContext) -> None:
    with pytest.raises(InputError, match="top_k is 10, the data has 10 classes"):
        cache_teacher(digits, teacher, settings(top_k=10), store)


@pytest.mark.parametrize(
    ("message", "changes"),
    [
        ("mode online .* remove distill.cache", {"mode": "online", "cache": {"dtype": "float16"}}),
        ("mixed keeps whole answers", {"mode": "mixed", "augmentation": {"shift": 0.1}, "cache": {"top_k": 3}}),
        ("loss mse compares all classes", {"loss": "mse", "cache": {"top_k": 3}}),
        ("loss dist compares all classes", {"loss": "dist", "cache": {"top_k": 3}}),
        ("give temperature a number", {"temperature": {"start": 8, "end": 2}, "cache": {"top_k": 3}}),
        ("greater than or equal to 1", {"cache": {"top_k": 0}}),
    ],
)
def test_forms_that_a_training_can_not_use_are_refused(message: str, changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=message):
        DistillSettings.model_validate(changes)
    assert DistillSettings(mode="online").cache == CacheSettings()


def test_building_holds_one_shard_and_training_one_batch(
    digits: PreparedData, teacher: NetworkResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much data there is: no array that is asked for is larger than a shard, or than the batch."""
    largest: list[int] = []

    def noting(*args: Any, **more: Any) -> np.ndarray:
        found = PREDICT(*args, **more)
        largest.append(len(found))
        return found

    monkeypatch.setattr(caching, "predict", noting)
    kept = cache_teacher(digits, teacher, settings(shard=16), RunContext(Store(tmp_path)))
    assert max(largest) == 16
    answers, opened = teacher_answers(digits, teacher, kept, settings(shard=16), CPU), []
    monkeypatch.setattr(np, "load", lambda file, **_: opened.append(file))
    (batch,) = evaluation_batches_without_files(digits, 4)
    assert answers(batch).shape == (4, 10)
    assert not opened


def evaluation_batches_without_files(data: PreparedData, count: int) -> list[Batch]:
    """The first training samples as a batch of no pixels."""
    rows = np.arange(count)
    return [Batch((torch.zeros(count),), torch.zeros(count, dtype=torch.long), rows, rows, np.zeros(count, np.int64))]
