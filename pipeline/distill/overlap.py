"""A teacher that runs ahead of its student: on a CPU in a process of its own, on a GPU on its own device or stream.

It answers what it would answer in turn, about the same inputs and in the same order.
"""

import multiprocessing
import os
import signal
import weakref
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.data.batches import Batch
from pipeline.errors import USER_ERRORS, InputError
from pipeline.networks import load_network
from pipeline.quiet import quiet
from pipeline.results import NetworkResult
from pipeline.teachers.inference import load_answering
from pipeline.training.fit import deterministic

Load = Callable[[], nn.Module]  # a network in evaluation mode, on the CPU
Sent = tuple[np.ndarray, list[int]]  # a tensor's values in the order of its memory, and the order of its dimensions
PATIENCE = 10  # seconds until a process that has closed its connection has ended


class AheadTeacher(ABC):
    """`teacher(batch)` gives the logits [B, classes] of a batch. It has begun on those that `foresee` has shown it,
    which are asked about in the same order, and asked about one that it was not shown it begins then."""

    def __init__(self) -> None:
        self._begun: deque[tuple[np.ndarray, Any]] = deque()

    def foresee(self, batch: Batch) -> None:
        self._begun.append((batch.rows, self._begin(batch.inputs)))

    def __call__(self, batch: Batch) -> Tensor:
        if not self._begun:
            self.foresee(batch)
        rows, begun = self._begun.popleft()
        assert np.array_equal(rows, batch.rows), "batches are asked about in the order in which they were shown"
        return self._finish(begun)

    def end(self) -> None:
        """Forgets what it has begun; asked again, it starts anew."""
        self._begun.clear()

    @abstractmethod
    def start(self) -> None:
        """Questions will come, until `end`."""

    @abstractmethod
    def _begin(self, inputs: tuple[Tensor, ...]) -> Any:
        """Returns at once."""

    @abstractmethod
    def _finish(self, begun: Any) -> Tensor:
        """The logits, on the student's device; waits for them."""


def ahead_teacher(teacher: NetworkResult, device: torch.device) -> AheadTeacher | None:
    """`teacher` ahead of a student on `device`; None where training has a single thread on a CPU, which leaves none
    to the teacher."""
    if device.type == "cuda":
        return StreamTeacher(partial(load_network, teacher), device)
    return (
        ProcessTeacher(partial(load_answering, teacher, device), teacher.name) if torch.get_num_threads() > 1 else None
    )


def shown_ahead(batches: Iterator[Batch], show: Callable[[Batch], None], count: int) -> Iterator[Batch]:
    """`batches` in their order, each given to `show` when at most `count` before it are still to come."""
    waiting: deque[Batch] = deque()
    for batch in batches:
        show(batch)
        waiting.append(batch)
        if len(waiting) > count:
            yield waiting.popleft()
    yield from waiting


class ProcessTeacher(AheadTeacher):
    """In a process of its own, which takes half of the training's threads, rounded down, from `start` to `end`. Its
    answers are those of a teacher with as many threads, bit by bit.

    Inputs and logits go through a pipe, not through shared memory, of which containers have little. Whoever of the two
    processes dies closes the pipe: the other then fails or ends, and neither waits for ever.
    """

    def __init__(self, load: Load, name: str) -> None:
        super().__init__()
        self.load, self.name = load, name
        self._stop: Callable[[], Any] | None = None

    def start(self) -> None:
        if self._stop is not None:
            return
        threads = torch.get_num_threads()
        spawn = multiprocessing.get_context("spawn")  # a fork would copy locks that other threads hold
        self._connection, theirs = spawn.Pipe()
        self._process = spawn.Process(target=give_answers, args=(self.load, threads // 2, theirs), daemon=True)
        with _interrupts_blocked():
            self._process.start()
        theirs.close()
        torch.set_num_threads(threads - threads // 2)
        self._courier = ThreadPoolExecutor(1)  # one question after the other, while the student computes
        # At the latest when nobody can ask any more.
        self._stop = weakref.finalize(self, _stop, self._process, self._courier, threads)

    def _begin(self, inputs: tuple[Tensor, ...]) -> "Future[Tensor | str | None]":
        self.start()
        return self._courier.submit(_exchange, self._connection, inputs)

    def _finish(self, begun: "Future[Tensor | str | None]") -> Tensor:
        answer = begun.result()
        if isinstance(answer, Tensor):
            return answer
        self._process.join(PATIENCE)
        raise InputError(
            f"distill.ahead: teacher {self.name}, in a process of its own, {answer or self._death()}; "
            "what was trained until then is kept; ahead: 0 asks it within the training"
        )

    def _death(self) -> str:
        code = self._process.exitcode
        if code is None or code >= 0:
            return f"ended without an answer (exit code {code})"
        return f"was killed ({signal.Signals(-code).name}): where memory ran out, lower ahead or batch_size"

    def end(self) -> None:
        super().end()
        if self._stop is not None:
            self._stop()
            self._stop = None


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """A process started here never sees Ctrl-C, which is the training's to handle."""
    resource_tracker.ensure_running()  # started later, within the block, it would unblock them
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _stop(process: SpawnProcess, courier: ThreadPoolExecutor, threads: int) -> None:
    courier.shutdown(wait=False, cancel_futures=True)
    process.kill()  # it has nothing to lose
    process.join()
    torch.set_num_threads(threads)


def _exchange(connection: Connection, inputs: tuple[Tensor, ...]) -> Tensor | str | None:
    """The teacher's logits, or how it failed; None where its process ended without a word."""
    with suppress(OSError):  # one that has ended may have left its reason
        connection.send([_sent(tensor) for tensor in inputs])
    try:
        answer = connection.recv()
    except (EOFError, OSError):
        return None
    return answer if isinstance(answer, str) else _received(answer)


def give_answers(load: Load, threads: int, connection: Connection) -> None:
    """The teacher's process: the logits of the inputs that come, until nobody asks any more."""
    torch.set_num_threads(threads)
    with suppress(ConnectionError):  # the training has ended
        try:
            with quiet(), deterministic(), torch.no_grad():
                network = load()
                for inputs in _questions(connection):
                    connection.send(_sent(network(*inputs).float()))
        except USER_ERRORS as error:
            connection.send(f"failed: {error}")
        except ConnectionError:
            raise
        except Exception as error:
            connection.send(f"failed: {type(error).__name__}: {' '.join(str(error).split())}")


def _questions(connection: Connection) -> Iterator[tuple[Tensor, ...]]:
    while True:
        try:
            sent = connection.recv()
        except EOFError:
            return
        yield tuple(_received(part) for part in sent)


def _sent(tensor: Tensor) -> Sent:
    """As it lies in memory, so that it lies there the same way, which decides the kernels that a network takes."""
    order = sorted(range(tensor.ndim), key=tensor.stride, reverse=True)
    return np.ascontiguousarray(tensor.permute(order).numpy()), order


def _received(sent: Sent) -> Tensor:
    values, order = sent
    return torch.from_numpy(values).permute([order.index(dimension) for dimension in range(len(order))])


class StreamTeacher(AheadTeacher):
    """On a GPU: on a device that no student of this machine is trained on where there is one, else beside the student
    on a stream of its own. What waits for what is told by events; the CPU goes on."""

    def __init__(self, load: Load, student: torch.device) -> None:
        super().__init__()
        self.student = student
        self.device = _spare_device(student)
        self.network = load().to(self.device)
        self.stream = torch.cuda.Stream(self.device)
        self.stream.wait_stream(torch.cuda.current_stream(self.device))  # which copies the weights

    def start(self) -> None:
        """It has been ready since it was made."""

    def _begin(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, torch.cuda.Event]:
        pinned = [tensor.cpu().pin_memory() for tensor in inputs]  # other memory is copied while the CPU waits
        with torch.cuda.stream(self.stream), torch.no_grad():
            own = [tensor.to(self.device, non_blocking=True) for tensor in pinned]
            return self.network(*own).float(), self.stream.record_event()

    def _finish(self, begun: tuple[Tensor, torch.cuda.Event]) -> Tensor:
        logits, ready = begun
        reader = torch.cuda.current_stream(self.device)
        reader.wait_event(ready)
        logits.record_stream(reader)  # its memory is not given away while it is read
        return logits.to(self.student)


def _spare_device(student: torch.device) -> torch.device:
    own = torch.cuda.current_device() if student.index is None else student.index
    spare = own + int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # the processes that a launcher started here
    return torch.device("cuda", spare if spare < torch.cuda.device_count() else own)
