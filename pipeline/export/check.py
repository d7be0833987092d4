"""An exported file is held against the PyTorch network it came from, on real samples, before anyone takes it."""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from torch import nn

from pipeline.errors import InputError
from pipeline.feeds import feeds
from pipeline.quiet import quiet
from pipeline.results import NetworkResult, PreparedData
from targets.profile import RuntimeName
from targets.runtimes.base import RuntimeOptions, open_model

SAMPLES = 8  # of the validation split: enough to meet every operator with real values, cheap beside a conversion
ROUNDINGS = 30  # a runtime sums in another order than PyTorch; a network was seen to differ by 8 times its own rounding
WRONG = 5e-3  # half of what a wrong operator was seen to do at the least
TEXT_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


@contextmanager
def conversion(network: NetworkResult, format_name: str) -> Iterator[None]:
    """Silences a converter, and tells its failure as what it is: a network that this format can't take."""
    try:
        with quiet():
            yield
    except (InputError, OSError, MemoryError):  # told already, or the machine's fault, not the network's
        raise
    except Exception as error:
        reason = next(iter(str(error).strip().splitlines()), "")
        raise InputError(
            f"{network.role} '{network.name}' can't be converted to {format_name}: {type(error).__name__}: "
            f"{reason[:300]}; choose a network without the operator named, or a target without this runtime"
        ) from error


def check_scores(
    file: Path, runtime: RuntimeName, module: nn.Module, network: NetworkResult, data: PreparedData, tolerance: float
) -> None:
    """Compares `file`'s scores (softmax probabilities) with `module`'s on up to `SAMPLES` validation samples.

    Raises InputError if any score is off by more than `tolerance`, or is no number. A network that magnifies rounding,
    as its own scores in float32 and float64 show, is allowed `ROUNDINGS` times their difference, up to `WRONG`.
    """
    model = open_model(file, RuntimeOptions(runtime))
    exact = deepcopy(module).double()
    rows = [int(row) for row in data.rows("validation")[:SAMPLES]]
    errors, roundings = [], []
    for row in rows:
        fed = feeds(model.inputs, data, row)
        found = model.run(fed)[0]
        with torch.inference_mode():
            inputs = _tensors(fed)
            expected = module(*inputs).softmax(-1).numpy()
            wide = (tensor.double() if tensor.is_floating_point() else tensor for tensor in inputs)
            roundings.append(float(np.abs(exact(*wide).softmax(-1).numpy() - expected).max()))
        errors.append(float(np.abs(found - expected).max()) if found.shape == expected.shape else np.inf)
    allowed = max(tolerance, min(ROUNDINGS * max(roundings), WRONG))
    for row, error in zip(rows, errors, strict=True):
        if not error <= allowed:  # also where it is NaN
            raise InputError(
                f"the {file.suffix[1:]} file of {network.role} '{network.name}' disagrees with PyTorch by {error:.2g} "
                f"on sample {row} (allowed {allowed:.2g}): the converter changed what it computes; nothing is "
                "shipped; choose another network or another opset"
            )


def _tensors(fed: dict[str, np.ndarray]) -> tuple[torch.Tensor, ...]:
    """One sample as `feeds` gives it to a file, as the PyTorch network takes it."""
    ids = next((value for name, value in fed.items() if "input_ids" in name), None)
    if ids is None:
        (image,) = (torch.from_numpy(value) for value in fed.values())
        return (image if image.shape[1] == 3 else image.permute(0, 3, 1, 2),)
    absent = {"attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    arrays = {**absent, **{part: value for part in TEXT_INPUTS for name, value in fed.items() if part in name}}
    return tuple(torch.from_numpy(arrays[part]).long() for part in TEXT_INPUTS)
