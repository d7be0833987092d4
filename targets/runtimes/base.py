"""What every runtime gives: a model file opened for single inferences, its inputs and outputs described.

Light on purpose: the worker that measures latency imports this, numpy and one runtime, and nothing else.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from targets.profile import RuntimeName


@dataclass(frozen=True)
class TensorSpec:
    """One input or output. Real value = (stored - zero_point) * scale where `scale` is given; None: not
    quantized. Inputs are static; an output's dimension that only a run tells is -1."""

    name: str
    shape: tuple[int, ...]
    dtype: str  # numpy's name: float32, int8, int64 ...
    scale: float | None = None
    zero_point: int = 0

    def quantize(self, values: np.ndarray) -> np.ndarray:
        """Real float values in this tensor's own dtype, rounded to nearest even and saturated."""
        if self.scale is None:
            return values.astype(self.dtype)
        limits = np.iinfo(self.dtype)
        stored = np.rint(values / self.scale) + self.zero_point
        return np.clip(stored, limits.min, limits.max).astype(self.dtype)

    def dequantize(self, stored: np.ndarray) -> np.ndarray:
        """Stored values as float32 real values."""
        if self.scale is None:
            return stored.astype(np.float32)
        return ((stored.astype(np.float32) - self.zero_point) * self.scale).astype(np.float32)


@dataclass(frozen=True)
class RuntimeOptions:
    """The session options that ship. `delegate` is the profile's word; on this host only CPU kernels run."""

    runtime: "RuntimeName"
    threads: int = 1
    delegate: str | None = None


class Model(Protocol):
    """A model file opened by its runtime."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def run(self, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """One inference. `feeds` by input name, in the inputs' own shapes and dtypes; returns the outputs in
        their own dtypes, in the order of `outputs`."""
        ...

    def prepare(self, feeds: Mapping[str, np.ndarray]) -> Callable[[], object]:
        """Hands `feeds` over once; each call of what it returns is an inference alone, its outputs left where they
        are."""
        ...


def open_model(file: Path, options: RuntimeOptions) -> Model:
    """`file` in `options.runtime`. Raises TargetError if it is no model of that runtime."""
    if options.runtime == "onnxruntime":
        from targets.runtimes.ort import OnnxModel

        return OnnxModel(file, options)
    if options.runtime == "executorch":
        from targets.runtimes.executorch import ExecuTorchModel

        return ExecuTorchModel(file, options)
    from targets.runtimes.litert import LiteRtModel

    return LiteRtModel(file, options)


def operators(file: Path, runtime: "RuntimeName") -> Counter[str]:
    """How often each operator stands in a model file, subgraphs included, before any runtime fuses them.

    Names are normalised by `operator_name`. Raises TargetError if `file` is no model of that runtime.
    """
    if runtime == "onnxruntime":
        from targets.runtimes.ort import onnx_operators

        return onnx_operators(file)
    from targets.runtimes.litert import tflite_operators

    return tflite_operators(file)


def operator_name(name: str) -> str:
    """An operator's name in lower case with dashes, the same for both formats: HardSwish and HARD_SWISH give
    hard-swish, CONV_2D gives conv-2d."""
    if not name.isupper():
        name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", name)
    return re.sub(r"[\s_]+", "-", name).lower()


def runtime_version(name: "RuntimeName") -> str:
    """The version of a runtime, which is imported to be sure. Raises TargetError if it can't be used here."""
    if name == "onnxruntime":
        from targets.runtimes.ort import version
    elif name == "executorch":
        from targets.runtimes.executorch import version
    else:
        from targets.runtimes.litert import version
    return version()


def session_settings(options: RuntimeOptions) -> str:
    """The session options that ship, in words, for reports: an app that sets others may measure otherwise."""
    if options.runtime == "onnxruntime":
        from targets.runtimes.ort import settings
    elif options.runtime == "executorch":
        from targets.runtimes.executorch import settings
    else:
        from targets.runtimes.litert import settings
    return settings(options)
