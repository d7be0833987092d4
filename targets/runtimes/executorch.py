"""ExecuTorch programs in ExecuTorch's own runtime. Its inputs have no names: one is an image, three are a text's."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from targets.errors import TargetError
from targets.runtimes.base import RuntimeOptions, TensorSpec
from targets.runtimes.litert import quiet_stderr

NAMES = {1: ("image",), 3: ("input_ids", "attention_mask", "token_type_ids")}  # in the order of the method's inputs
METHOD = "forward"


def _runtime() -> Any:
    try:
        from executorch.runtime import Runtime
    except ImportError as error:
        raise TargetError(f"ExecuTorch can't be used here: {error}; pip install 'edgepress[executorch]'") from None
    return Runtime.get()


def version() -> str:
    """ExecuTorch's version. Raises TargetError if it is not installed."""
    from importlib.metadata import version as installed

    _runtime()
    return installed("executorch")


def settings(options: RuntimeOptions) -> str:
    """What ships, in words."""
    return "XNNPACK backend, as many threads as ExecuTorch takes by itself"


class ExecuTorchModel:
    """A .pte file opened for single inferences. Raises TargetError if `file` is no such program, or not of a model of
    images or texts."""

    def __init__(self, file: Path, options: RuntimeOptions) -> None:
        import torch

        if not file.is_file():
            raise TargetError(f"{file}: no such file; expected an ExecuTorch program")
        try:
            with quiet_stderr():  # it tells how it looked for the processor
                self._method = _runtime().load_program(file).load_method(METHOD)
        except (RuntimeError, ValueError) as error:
            raise TargetError(f"{file}: ExecuTorch can't open it: {' '.join(str(error).split())}") from None
        meta = self._method.metadata
        if meta.num_inputs() not in NAMES:
            raise TargetError(f"{file}: takes {meta.num_inputs()} inputs, expected 1 (an image) or 3 (a text)")
        given = [meta.input_tensor_meta(place) for place in range(meta.num_inputs())]
        self.inputs = tuple(
            TensorSpec(name, tuple(one.sizes()), _dtype(one))
            for name, one in zip(NAMES[len(given)], given, strict=True)
        )
        scores = meta.output_tensor_meta(0)
        self.outputs: tuple[TensorSpec, ...] = (TensorSpec("scores", tuple(scores.sizes()), _dtype(scores)),)
        self._tensor = torch.from_numpy

    def run(self, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """One inference: see `targets.runtimes.base.Model`."""
        given = [self._tensor(np.ascontiguousarray(feeds[spec.name])) for spec in self.inputs]
        return [tensor.numpy().copy() for tensor in self._method.execute(given)]

    def prepare(self, feeds: Mapping[str, np.ndarray]) -> Callable[[], object]:
        """Inferences of the same inputs: see `targets.runtimes.base.Model`."""
        given = [self._tensor(np.ascontiguousarray(feeds[spec.name])) for spec in self.inputs]
        return partial(self._method.execute, given)


# ExecuTorch's numbers of scalar types, which are PyTorch's (c10/core/ScalarType.h).
_DTYPES = {0: "uint8", 1: "int8", 3: "int32", 4: "int64", 6: "float32"}


def _dtype(meta: Any) -> str:
    number = int(meta.dtype())
    if number not in _DTYPES:
        raise TargetError(f"a tensor of an ExecuTorch program has scalar type {number}, expected numbers")
    return _DTYPES[number]
