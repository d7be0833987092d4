"""One run over several processes, here and on other machines: who is who, who waits for whom, who speaks.

Everything is as in one process until a launcher (`accelerate launch`, torchrun) has started several and `join` was
called. Even then a process works alone, but for the stages in which all work `together`: only there do
`pipeline.training.collectives` reach the others.
"""

import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from pipeline.errors import InputError

R = TypeVar("R")

STEP_LIMIT = timedelta(minutes=30)  # that all may take to come to one step of a training; then a process is lost
LOOK_EVERY = 0.05  # seconds between two looks at what process 0 has said
SEEN_WITHIN = 60.0  # seconds after which a file that another machine wrote must be seen on a shared folder
TELLING = 10.0  # seconds that a process which has nothing to say leaves to the one that speaks


class ProcessLost(InputError):
    """Another process of this run ended before its time."""


@dataclass
class _Run:
    """This process's place among all: its number, how many there are, the key-value store that they share."""

    number: int = 0
    count: int = 1
    device: str | None = None
    store: Any = None
    said: int = 0  # messages of process 0 so far
    together: bool = False
    apart: bool = False


_run = _Run()


def launched() -> bool:
    """Whether a launcher started this process as one of several."""
    return os.environ.get("WORLD_SIZE", "1") not in ("", "1")


def several() -> bool:
    """Whether this run has other processes that go through the same stages now."""
    return _run.count > 1 and not _run.apart


def first() -> bool:
    """Whether this is process 0, or the only one: the one that writes and speaks."""
    return _run.number == 0


def number() -> int:
    """This process's number among those that work together now: 0 for one that works alone."""
    return _run.number if _run.together else 0


def processes() -> int:
    """How many work together now: 1 outside the stages of all."""
    return _run.count if _run.together else 1


def device_name() -> str | None:
    """The device that the launcher's place gives this process; None in a run of one."""
    return _run.device


def part(count: int) -> slice:
    """This process's contiguous part of `count` things, sizes differing by one at most; all of them where it works
    alone. Of fewer things than processes some parts are empty."""
    return slice(count * number() // processes(), count * (number() + 1) // processes())


def join() -> None:
    """Meets the other processes that the launcher started; does nothing without one.

    On GPUs by NCCL, one GPU for each process of a machine, else by gloo. Raises InputError for what can't work.
    """
    if not launched() or several():
        return
    import torch
    from accelerate import PartialState

    on_gpu, threads = torch.cuda.is_available(), torch.get_num_threads()
    try:
        store, number, count = next(torch.distributed.rendezvous("env://", timeout=STEP_LIMIT))
        _run.number, _run.count, _run.store = number, count, torch.distributed.PrefixStore("edgepress", store)
        _refuse_launches(torch.cuda.device_count() if on_gpu else None)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of threads, which are settled below
            state = PartialState(
                cpu=not on_gpu,
                backend="cuda:nccl,cpu:gloo" if on_gpu else "gloo",
                timeout=STEP_LIMIT,
                store=store,
                rank=number,
                world_size=count,
            )
    except (RuntimeError, ValueError) as error:
        raise InputError(f"the processes of this run did not meet: {str(error).splitlines()[0]}") from None
    torch.set_num_threads(threads)  # which is the recipe's or torch's to choose
    _run.device = str(state.device)


def _refuse_launches(gpus: int | None) -> None:
    """What the launcher did that can't work; `gpus` of this machine, None where it computes on its CPU."""
    for kind in ("DEEPSPEED", "FSDP"):
        if os.environ.get(f"ACCELERATE_USE_{kind}", "false").lower() == "true":
            raise InputError(f"launched with {kind}: every process holds the whole network here; launch without it")
    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if gpus is not None and local > gpus:
        raise InputError(f"{local} processes were launched on a machine with {gpus} GPU(s): launch one for each")


def leave() -> None:
    """Parts from the others, which all must do."""
    global _run
    if several():
        meet()
        import torch

        torch.distributed.destroy_process_group()
        _run = _Run()


def meet() -> None:
    """Waits until all processes of the run are here."""
    if several():
        import torch

        with lost_processes():
            torch.distributed.barrier()


@contextmanager
def lost_processes() -> Iterator[None]:
    """Says what an error of the block, in which the processes talk to each other, means."""
    try:
        yield
    except RuntimeError as error:
        raise ProcessLost(
            f"another process of this run was lost ({str(error).splitlines()[0].split('. ')[0]}); what was made is "
            "kept, the same command goes on from there"
        ) from None


@contextmanager
def together() -> Iterator[None]:
    """All processes run this block, each with its part of the work: they meet before it and after it."""
    meet()
    before, _run.together = _run.together, several()
    try:
        yield
    finally:
        _run.together = before
    meet()


@contextmanager
def apart() -> Iterator[None]:
    """Process 0 goes through this block by itself."""
    before, _run.apart = _run.apart, True
    try:
        yield
    finally:
        _run.apart = before


def from_first(value: Any) -> Any:
    """Process 0's `value`, plain JSON, for all: it goes on at once, the others wait for it as long as it takes.

    All processes must ask in the same order. Raises ProcessLost where one of them ended meanwhile.
    """
    if not several():
        return value
    key = f"said/{_run.said}"
    _run.said += 1
    with lost_processes():
        if first():
            _run.store.set(key, json.dumps(value))
            return value
        while not _run.store.check([key]):
            if _run.store.check(["failed"]):
                raise ProcessLost("another process of this run has failed")
            time.sleep(LOOK_EVERY)
        return json.loads(_run.store.get(key))


def complain(message: str) -> None:
    """Prints to stderr why the run ends; of several processes the one that is first to know, for all."""
    if _run.count > 1:
        try:
            if _run.store.add("failed", 1) > 1:
                _run.store.wait(["told"], timedelta(seconds=TELLING))
                return
        except RuntimeError:  # the store went with the process that held it
            return
    print(message, file=sys.stderr, flush=True)
    if _run.count > 1:
        _run.store.set("told", "")


def seen(look: Callable[[], R | None], what: str) -> R:
    """What `look` finds, as soon as it finds something: a shared folder may show what another machine wrote a little
    later. Raises InputError where it does not."""
    deadline = time.monotonic() + SEEN_WITHIN
    while (found := look()) is None:
        if time.monotonic() > deadline:
            raise InputError(f"{what}: process 0 wrote it, process {_run.number} does not see it; {_SHARED}")
        time.sleep(LOOK_EVERY)
    return found


_SHARED = "give --out a folder that all processes and machines share"


def check_shared(folder: Path) -> None:
    """Raises InputError where `folder`, which exists for process 0, is not the same folder for the others."""
    if not several():
        return
    token = folder / f".shared-{from_first(uuid4().hex)}"
    if first():
        token.touch()
    from_first(None)
    try:
        seen(lambda: token.exists() or None, str(folder))
        meet()
    finally:
        if first():
            token.unlink(missing_ok=True)
