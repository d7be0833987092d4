"""Several processes of one run on this machine, forked from a server that has imported what they need."""

import multiprocessing
import os
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from pipeline import scale
from pipeline.errors import USER_ERRORS

_server = multiprocessing.get_context("forkserver")
# What a training imports on its way, too, so that no process needs to.
_server.set_forkserver_preload(
    ["accelerate", "safetensors.torch", "torch._dynamo", "torch.utils.flop_counter", "tests.pipeline.shared_work"]
)

Job = Callable[..., Any]
LONGEST = 300.0  # seconds that processes may take


def start(count: int, folder: Path, job: Job, *given: Any) -> list[Any]:
    """`job(*given)` in each of `count` processes; process n writes what it says on stderr to `folder/<n>.err`, and its
    answer for `answers`."""
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [_server.Process(target=_enter, args=(n, count, port, folder, job, given)) for n in range(count)]
    for process in processes:
        process.start()
    return processes


def ended(processes: list[Any], folder: Path) -> tuple[list[int], str]:
    """The exit codes of `processes`, and what they said."""
    for process in processes:
        process.join(LONGEST)
    return [process.exitcode for process in processes], "".join(
        (folder / f"{n}.err").read_text() for n in range(len(processes))
    )


def answers(count: int, folder: Path, job: Job, *given: Any) -> list[Any]:
    """What `job(*given)` gives in each of `count` processes."""
    codes, told = ended(start(count, folder, job, *given), folder)
    assert codes == [0] * count, told
    return [torch.load(folder / f"{n}.pt", weights_only=True) for n in range(count)]


def _enter(number: int, count: int, port: int, folder: Path, job: Job, given: tuple[Any, ...]) -> None:
    """As the command does: one message for what is the input's fault, and 2."""
    places = {"RANK": number, "LOCAL_RANK": number, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
    os.environ |= {name: str(value) for name, value in places.items()}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    sys.stderr = (folder / f"{number}.err").open("w")
    torch.set_num_threads(1)
    code = 0
    try:
        scale.join()
        torch.save(job(*given), folder / f"{number}.pt")
        scale.leave()
    except USER_ERRORS as error:
        scale.complain(str(error))
        code = 2
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stderr.flush()
    os._exit(code)
