"""A file's latency on a device that is not at hand, predicted from what it has to do on the device's emulated core."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.bench import made_up_feeds, options_for
from pipeline.coverage import PRODUCTS, multiply_accumulates
from pipeline.errors import InputError
from pipeline.progress import SILENT, Reporter
from pipeline.quantize.graph import FOUR_BITS, NUMBERS, Graph, Operator, read_graph
from targets.emulator.cores import EmulatedCore
from targets.emulator.counts import InstructionCounts
from targets.prediction.measurements import Work
from targets.prediction.predict import CONFIDENCE, Basis, Prediction, basis_for, predict
from targets.profile import Profile
from targets.runners.emulated import EmulatedRunner
from targets.runtimes.base import open_model

LOOKUPS = frozenset({"gather", "embedding-lookup"})  # read the rows that they give, not the whole table
EIGHT_BITS = ("int8", "uint8", *FOUR_BITS)  # of weights that are multiplied as integers


@dataclass(frozen=True)
class PredictedFile:
    """A prediction for a file, with the work and the instruction counts that it was made from."""

    file: Path
    prediction: Prediction
    work: Work
    counts: InstructionCounts


def predict_file(
    file: Path, profile: Profile, reporter: Reporter = SILENT, confidence: float = CONFIDENCE
) -> PredictedFile:
    """The latency of a .onnx or .tflite file on the profile's device, whose core is emulated here, on made-up inputs;
    the interval holds with `confidence`.

    Raises InputError or TargetError for a file that is no model, for a target or dtype without anything to predict
    from, and where the emulator is missing.
    """
    options = options_for(file, profile)

    def count(core: EmulatedCore) -> InstructionCounts:
        feeds = made_up_feeds(file, options)
        with reporter.stage("instructions", 1, "runs") as meter:
            counts = EmulatedRunner(core).count(file, options, feeds)
            meter.advance(note=counts.core)
        return counts

    return predict_from(file, profile, count, confidence)


def predict_from(
    file: Path, profile: Profile, count: Callable[[EmulatedCore], InstructionCounts], confidence: float = CONFIDENCE
) -> PredictedFile:
    """As `predict_file`, with instructions that `count` tells of the core that they are needed of."""
    options = options_for(file, profile)
    basis = basis_for(profile, next(one for one in profile.runtimes if one.name == options.runtime))
    open_model(file, options)  # says so if it is none
    graph = read_graph(file, "tflite" if options.runtime == "litert" else "onnx")
    dtype = computed_dtype(graph)
    _refuse_unmeasured(file, dtype, basis, profile)
    counts = count(basis.emulated)
    work = work_of(graph, counts, dtype)
    return PredictedFile(file, predict(basis, work, confidence), work, counts)


def _refuse_unmeasured(file: Path, dtype: str, basis: Basis, profile: Profile) -> None:
    """Raises InputError before anything is counted if `dtype` has no costs."""
    known = sorted(basis.fitted.ms_per_million_instructions)
    if dtype not in known:
        raise InputError(
            f"{file}: computes in {dtype}, and a prediction for {profile.id} knows latencies of {', '.join(known)} "
            "alone: measure on the device, or predict another file"
        )


def computed_dtype(graph: Graph) -> str:
    """What most multiply-accumulates are computed in: int8 where their weights are multiplied as integers, int16 where
    their activations have 16 bits, else float32. Weights that are made float first, when a file is opened, are float.
    """
    shares: dict[str, int] = {}
    for operator in graph.operators:
        if operator.kind in PRODUCTS:
            # Where a shape is not known the operator counts as one.
            cost = multiply_accumulates(graph, operator) or 1
            dtype = _multiplied_in(graph, operator)
            shares[dtype] = shares.get(dtype, 0) + cost
    return max(sorted(shares), key=lambda dtype: shares[dtype]) if shares else "float32"


def _multiplied_in(graph: Graph, operator: Operator) -> str:
    dtypes = {name: graph.dtypes.get(name, "") for name in operator.inputs}
    if any(dtype == "int16" and name not in graph.fixed for name, dtype in dtypes.items()):
        return "int16"
    factors = [dtype for name, dtype in dtypes.items() if len(graph.shapes.get(name, ())) >= 2]
    return "int8" if any(dtype in EIGHT_BITS for dtype in factors) else "float32"


def work_of(graph: Graph, counts: InstructionCounts, dtype: str) -> Work:
    """What one inference of a model does on the core on which `counts` were taken. What is computed of constants alone
    is made when the file is opened: it is no part of an inference, and weights count as it leaves them."""
    operators = [operator for operator in graph.operators if not graph.fixed.issuperset(operator.outputs)]
    weights = {name for operator in operators if operator.kind not in LOOKUPS for name in operator.inputs}
    return Work(
        core=counts.core,
        runtime=counts.runtime,
        dtype=dtype,
        **counts.by_class(),
        weight_bytes=sum(_bytes(graph, name) for name in weights & graph.fixed),
        activation_bytes=sum(_bytes(graph, name) for operator in operators for name in operator.outputs),
        operators=len(operators),
    )


def _bytes(graph: Graph, name: str) -> int:
    """Of a tensor; 0 if its shape or dtype isn't known."""
    shape, dtype = graph.shapes.get(name), graph.dtypes.get(name, "")
    if shape is None or dtype not in (*NUMBERS, *FOUR_BITS, "bool"):
        return 0
    size = 0.5 if dtype in FOUR_BITS else np.dtype(dtype).itemsize
    return math.ceil(math.prod(shape) * size)
