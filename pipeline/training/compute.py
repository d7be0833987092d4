"""In what numbers a training computes, and whether its network is compiled: `compute` of a recipe, carried out."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.errors import InputError
from pipeline.settings.training import ComputeSettings

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
# Of a size for which torch takes the processor's matrix unit. In a process of its own: it may be killed.
PRODUCT = "import torch; values = torch.ones(64, 64, dtype=torch.bfloat16); values @ values"
COMPILERS = ("g++", "clang++", "c++")  # one of which torch.compile calls, where CXX names no other


def refuse_unfit(compute: ComputeSettings) -> None:
    """Raises InputError for what this machine, or the launcher of this process, does not allow."""
    if compute.precision == "fp16" and not torch.cuda.is_available():
        raise InputError(
            "compute.precision fp16 needs a CUDA device, and there is none here: use bf16, whose range needs no "
            "scaling of gradients, or float32"
        )
    asked = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if asked not in ("no", compute.precision):
        raise InputError(
            f"launched with mixed precision {asked}, but the recipe decides, and its compute.precision is "
            f"{compute.precision}: launch with --mixed_precision no, or --set compute.precision={asked}"
        )
    if compute.precision == "bf16" and not torch.cuda.is_available() and not computes_bf16():
        raise InputError(
            "compute.precision bf16: a matrix product in bf16 kills the process here, as on virtual machines that show "
            "AMX but do not let it run: set ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16 in the environment, or use float32"
        )
    if compute.compile and not any(shutil.which(name) for name in (os.environ.get("CXX"), *COMPILERS) if name):
        raise InputError("compute.compile needs a C++ compiler, and none was found: install g++, or set CXX")


@cache
def computes_bf16() -> bool:
    """Whether this processor survives a matrix product in bf16."""
    return subprocess.run([sys.executable, "-c", PRODUCT], capture_output=True, check=False).returncode == 0


@contextmanager
def as_told(network: nn.Module, compute: ComputeSettings) -> Iterator[nn.Module]:
    """`network` as a training is to call it: compiled where asked for, and its answers float32, so that no loss is
    computed in less. Its weights and their names are those of `network`, which stays as it was."""
    called: nn.Module = torch.compile(network) if compute.compile else network  # type: ignore[assignment]
    handle = None
    if compute.precision != "float32":
        handle = called.register_forward_hook(_exact)
    try:
        yield called
    finally:
        if handle is not None:
            handle.remove()


def _exact(module: nn.Module, inputs: Any, logits: Tensor) -> Tensor:
    return logits.float()


def autocast(compute: ComputeSettings, device: torch.device) -> AbstractContextManager[None]:
    """Convolutions and matrix products of the block in `compute.precision`: the student's, and those of a teacher that
    is asked as it goes. Weights, sums of losses and steps stay float32 (Micikevicius et al. 2018)."""
    if compute.precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, dtype=DTYPES[compute.precision])


def gradient_scaler(compute: ComputeSettings, device: torch.device) -> torch.amp.GradScaler:
    """Keeps float16's small gradients from becoming 0 (Micikevicius et al. 2018, section 3.2); for other precisions it
    does nothing."""
    return torch.amp.GradScaler(device.type, enabled=compute.precision == "fp16")
