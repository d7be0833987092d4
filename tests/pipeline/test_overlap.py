"""A teacher that runs ahead of its student answers as it does in turn, and neither waits for the other's ghost."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from torch import Tensor, nn

from pipeline.context import RunContext
from pipeline.data.batches import Batch, training_batches
from pipeline.distill import student as stage
from pipeline.distill.answers import LearnAnswers, RefreshedAnswers, student_schedule
from pipeline.distill.overlap import ProcessTeacher, _spare_device, ahead_teacher, give_answers, shown_ahead
from pipeline.distill.student import distill
from pipeline.errors import InputError
from pipeline.progress import Meter
from pipeline.results import NetworkResult, PreparedData
from pipeline.settings.distill import DistillSettings
from pipeline.settings.student import StudentSettings
from pipeline.store import Store
from pipeline.training.fit import fit
from pipeline.training.schedule import Moment
from tests.networks import untrained
from tests.pipeline.small_teachers import Confused, Witness, convolutional, damaged
from tests.pipeline.test_networks import MOBILENET
from tests.pipeline.test_training import same, small

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[2]


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def image_batches(data: PreparedData, epoch: int = 0) -> list[Batch]:
    return list(training_batches(data, data.rows("train"), 64, 0, epoch))


def teacher_processes() -> list[Any]:
    return multiprocessing.active_children()


@pytest.mark.parametrize("count", [1, 3, 9])
def test_a_batch_is_shown_so_many_before_it_is_its_turn(digits: PreparedData, count: int) -> None:
    shown: list[int] = []
    batches = iter(training_batches(digits, digits.rows("train"), 32, 0, 0))
    for number, batch in enumerate(shown_ahead(batches, lambda batch: shown.append(batch.seed[2]), count)):
        assert batch.seed[2] == number
        assert shown == list(range(min(number + count + 1, 7)))


def test_a_process_answers_as_the_teacher_would_until_it_is_killed(
    digits: PreparedData, reviews: PreparedData, two_threads: None
) -> None:
    """Bit by bit, on its share of the threads, whatever is asked and however the images lie in memory."""
    ahead, turn = ProcessTeacher(Witness, "small"), Witness()
    plain, *others = image_batches(digits)
    (images,) = plain.inputs
    batches = [plain, *others, replace(plain, inputs=(images.contiguous(),)), *image_batches(reviews)[:2]]
    for batch in batches[:3]:
        ahead.foresee(batch)
    assert torch.get_num_threads() == 1
    (process,) = teacher_processes()
    for number, batch in enumerate(batches):
        assert torch.equal(ahead(batch), turn(*batch.inputs))
        if number < len(batches) - 3:
            ahead.foresee(batches[number + 3])
        os.kill(process.pid, signal.SIGINT)  # as Ctrl-C does to all: the training is who decides
    ahead.foresee(plain)
    os.kill(process.pid, signal.SIGKILL)
    ahead.foresee(plain)
    with pytest.raises(
        InputError, match=r"teacher small, .* was killed \(SIGKILL\): where memory ran out, lower ahead"
    ):
        [ahead(plain) for _ in range(2)]
    ahead.end()
    assert torch.get_num_threads() == 2
    assert not teacher_processes()


def test_a_teacher_that_fails_says_why(digits: PreparedData, two_threads: None) -> None:
    ahead = ProcessTeacher(damaged, "small")
    with pytest.raises(InputError, match=r"teacher small, .* failed: model.safetensors: not the weights of it; what"):
        ahead(image_batches(digits)[0])
    del ahead  # nobody can ask any more
    assert not teacher_processes()
    assert torch.get_num_threads() == 2


def test_any_failure_is_told_in_one_line() -> None:
    mine, theirs = Pipe()
    mine.send([(np.zeros((1, 3, 8, 8), np.float32), [0, 1, 2, 3])])
    give_answers(Confused, torch.get_num_threads(), theirs)
    assert mine.recv() == "failed: RuntimeError: no such kernel"


def test_a_teacher_ends_when_nobody_asks_any_more() -> None:
    mine, theirs = Pipe()
    mine.close()
    give_answers(convolutional, torch.get_num_threads(), theirs)


SCRIPT = """
import multiprocessing, time
import numpy as np
import torch
from pipeline.data.batches import Batch
from pipeline.distill.overlap import ProcessTeacher
from tests.pipeline.small_teachers import convolutional

if __name__ == "__main__":
    torch.set_num_threads(2)
    teacher = ProcessTeacher(convolutional, "small")
    rows = np.arange(2)
    teacher(Batch((torch.zeros(2, 3, 32, 32),), torch.zeros(2, dtype=torch.long), rows, rows, rows))
    print(multiprocessing.active_children()[0].pid, flush=True)
    time.sleep(600)
"""


def test_a_killed_training_leaves_no_process_behind(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    paths = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, tmp_path / "script.py"], stdout=subprocess.PIPE, text=True, env=paths
    ) as one:
        assert one.stdout is not None
        orphan = psutil.Process(int(one.stdout.readline()))
        one.kill()
    for _ in range(600):
        if not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE:
            return
        time.sleep(0.1)
    orphan.kill()
    pytest.fail("the teacher's process went on")


@pytest.fixture(scope="module")
def teacher(digits: PreparedData, tmp_path_factory: pytest.TempPathFactory) -> NetworkResult:
    return untrained(digits, MOBILENET, tmp_path_factory.mktemp("teacher"))


def test_a_killed_student_resumes_to_the_bytes_of_one_taught_in_turn(
    digits: PreparedData, teacher: NetworkResult, tmp_path: Path, two_threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With mixed images, an average and figures that change. Both students compute in one thread: the one as the only
    process, the other as one of two."""
    settings = DistillSettings.model_validate(
        {
            "mode": "online", "epochs": 2, "batch_size": 70, "augmentation": {"shift": 0.1},
            "temperature": {"start": 8, "end": 2}, "regularization": {"mixup": 0.5, "cutmix": 0.5, "ema": 0.5},
        }
    )  # fmt: skip
    student = StudentSettings(family="mobilenetv2", width=0.35)
    ahead = settings.model_copy(update={"ahead": 2})
    whole = distill(digits, teacher, None, student, settings, RunContext(Store(tmp_path / "turn"), threads=1))
    context = RunContext(Store(tmp_path / "ahead"), threads=2)
    threads = []

    class Dying(LearnAnswers):
        def forward(self, network: nn.Module, batch: Batch, moment: Moment) -> Tensor:
            threads.append(torch.get_num_threads())
            if len(threads) == 5:  # in the second epoch
                raise KeyboardInterrupt
            return super().forward(network, batch, moment)

    monkeypatch.setattr(stage, "LearnAnswers", Dying)
    with pytest.raises(KeyboardInterrupt):
        distill(digits, teacher, None, student, ahead, context)
    monkeypatch.undo()
    assert threads == [1] * 5
    assert not teacher_processes()
    found = distill(digits, teacher, None, student, ahead, context)
    assert torch.get_num_threads() == 2
    assert found.curve == whole.curve
    assert found.checkpoint_file.read_bytes() == whole.checkpoint_file.read_bytes()


class Counting(ProcessTeacher):
    """Keeps how many samples of each batch it was shown."""

    def __init__(self) -> None:
        super().__init__(convolutional, "small")
        self.shown: list[int] = []

    def foresee(self, batch: Batch) -> None:
        self.shown.append(len(batch.rows))
        super().foresee(batch)


def test_in_mode_mixed_the_refreshed_samples_alone_are_asked_about(
    digits: PreparedData, tmp_path: Path, two_threads: None
) -> None:
    """By disagreement: which they are depends on what the student said in the epoch before."""
    settings = DistillSettings.model_validate(
        {
            "mode": "mixed", "ahead": 2, "epochs": 3, "batch_size": 32, "augmentation": {"shift": 0.2},
            "refresh": {"by": "disagreement", "fraction": 0.3},
        }
    )  # fmt: skip
    rows, ahead, turn = digits.rows("train"), Counting(), convolutional()
    first = np.random.default_rng(0).normal(size=(len(rows), 10)).astype(np.float32)

    def in_turn(batch: Batch) -> Tensor:
        with torch.no_grad():
            return turn(*batch.inputs)

    def train(ask: Any, folder: Path) -> nn.Module:
        network, answers = small(), RefreshedAnswers(ask, first, rows, settings.refresh, seed=0)
        schedule = student_schedule(digits, settings, 0, answers)
        fit(network, digits, LearnAnswers(settings, answers), schedule, Meter("fit", "samples", 1), folder)
        return network

    taught = train(ahead, tmp_path / "ahead")
    torch.set_num_threads(1)
    assert same(taught, train(in_turn, tmp_path / "turn"))
    assert sum(ahead.shown) == 2 * round(0.3 * len(rows))


def test_a_single_thread_leaves_none_to_a_teacher(teacher: NetworkResult, two_threads: None) -> None:
    assert isinstance(ahead_teacher(teacher, CPU), ProcessTeacher)
    torch.set_num_threads(1)
    assert ahead_teacher(teacher, CPU) is None


@pytest.mark.parametrize(
    ("devices", "own", "processes", "expected"), [(1, 0, None, 0), (2, 0, None, 1), (2, 1, "2", 1), (4, 1, "2", 3)]
)
def test_on_gpus_a_teacher_takes_one_that_no_student_is_on(
    monkeypatch: pytest.MonkeyPatch, devices: int, own: int, processes: str | None, expected: int
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: devices)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: own)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    if processes is not None:
        monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
    assert _spare_device(torch.device("cuda")) == torch.device("cuda", expected)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, "mode cached the teacher has answered already"),
        ({"mode": "online", "features": [{"student": "a", "teacher": "b"}]}, "hands over its answers alone"),
        ({"mode": "online", "layers": {"weight": 0.5}}, "hands over its answers alone"),
        ({"mode": "online", "ahead": -1}, "greater than or equal to 0"),
    ],
)
def test_running_ahead_is_refused_where_it_can_not_be(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        DistillSettings.model_validate({"ahead": 2, **settings})
    first_phase = {"mode": "online", "ahead": 2, "layers": {"epochs": 1}}
    assert DistillSettings.model_validate(first_phase).ahead == 2
