"""Where one inference's time goes, layer by layer: by onnxruntime's profiler, or by prefixes of a TFLite graph."""

import copy
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.bench import made_up_feeds, options_for
from pipeline.errors import InputError
from pipeline.flatbuffer import read_model, write_model
from targets.machine import describe_machine
from targets.profile import Measure, load_profile
from targets.runners.layers import RUNS, SWEEPS, time_prefixes
from targets.runtimes.base import RuntimeOptions, operator_name

PROFILED_RUNS = 50  # of onnxruntime, of which each layer's median counts
PREFIXES = (
    f"differences of neighbouring prefixes of the graph, the fastest of {SWEEPS} sweeps of {RUNS} inferences each"
)
PROFILER = f"onnxruntime's profiler, median of {PROFILED_RUNS} inferences; it takes time itself and counts microseconds"


@dataclass(frozen=True)
class LayerTime:
    """One operator as run. `ms` of one inference; of a TFLite graph a difference of two times, below zero where the
    operator costs less than they scatter."""

    name: str
    kind: str
    ms: float


@dataclass(frozen=True)
class Prefix:
    """A TFLite file that ends after one operator, `name` the tensor that this makes."""

    file: Path
    name: str
    kind: str


def bench_layers(file: Path, target: str, tell: Callable[[str], None] = lambda text: None) -> dict[str, Any]:
    """Milliseconds of every layer of a .onnx or .tflite file on this host, with the threads of `target`'s profile, in
    the order of computation. Raises InputError or TargetError for a file that is no model."""
    profile = load_profile(target)
    options = options_for(file, profile)
    feeds = made_up_feeds(file, options)
    with tempfile.TemporaryDirectory() as folder:
        if options.runtime == "onnxruntime":
            from targets.runtimes.ort import node_times

            times = node_times(file, options, feeds, PROFILED_RUNS, Path(folder))
            layers = [LayerTime(name, kind, ms) for name, kind, ms in times]
        else:
            layers = _by_prefixes(file, options, feeds[0], profile.measure, Path(folder), tell)
    total = sum(layer.ms for layer in layers)
    return {
        "file": file.name,
        "source": "host",
        "machine": describe_machine().label,
        "runtime": options.runtime,
        "threads": options.threads,
        "method": PROFILER if options.runtime == "onnxruntime" else PREFIXES,
        "total_ms": round(total, 4),
        "layers": [
            {
                "name": layer.name,
                "kind": layer.kind,
                "ms": round(layer.ms, 4),
                "share": round(layer.ms / total, 4) if total > 0 else None,
            }
            for layer in layers
        ],
    }


def _by_prefixes(
    file: Path,
    options: RuntimeOptions,
    feed: dict[str, np.ndarray],
    plan: Measure,
    folder: Path,
    tell: Callable[[str], None],
) -> list[LayerTime]:
    prefixes = cut_after_each(file, folder)
    tell(f"{file.name}: {len(prefixes)} prefixes, {SWEEPS} sweeps")
    sweeps = time_prefixes(
        file, [prefix.file for prefix in prefixes], options, feed, plan, folder,
        lambda sweep: tell(f"sweep {sweep} of {SWEEPS}"),
    )  # fmt: skip
    added = np.diff(sweeps.min(axis=0), prepend=0.0)
    return [LayerTime(prefix.name, prefix.kind, float(ms)) for prefix, ms in zip(prefixes, added, strict=True)]


def cut_after_each(file: Path, folder: Path) -> list[Prefix]:
    """A TFLite file for each operator of the main graph, which ends after it: all that the rest of the graph would take
    is an output, so that nothing before is left out. Operators on constants alone are cut with the next one.

    Raises InputError where `folder` has no room for them.
    """
    from ai_edge_litert import schema_py_generated as schema

    kinds = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
    whole = read_model(file.read_bytes())
    graph = whole.subgraphs[0]
    needed, free = len(graph.operators) * file.stat().st_size, shutil.disk_usage(folder).free
    if needed > free:
        raise InputError(
            f"{file}: its {len(graph.operators)} prefixes may take {needed / 1e6:,.0f} MB, {free / 1e6:,.0f} MB are "
            "free where temporary files go; make room, or set TMPDIR"
        )
    computed = set(map(int, graph.inputs))
    prefixes = []
    for place, operator in enumerate(graph.operators):
        if computed.isdisjoint(map(int, operator.inputs)):
            continue
        computed.update(map(int, operator.outputs))
        code = whole.operatorCodes[operator.opcodeIndex]
        custom = code.customCode
        kind = custom.decode() if custom else kinds[max(code.builtinCode, code.deprecatedBuiltinCode)]
        cut = folder / f"prefix-{place}.tflite"
        cut.write_bytes(write_model(_prefix(whole, place)))
        prefixes.append(Prefix(cut, graph.tensors[operator.outputs[0]].name.decode(), operator_name(kind)))
    return prefixes


def _prefix(whole: Any, place: int) -> Any:
    """`whole` up to the operator at `place` of its main graph, without the weights of the others."""
    model, graph = copy.copy(whole), copy.copy(whole.subgraphs[0])
    before, after = graph.operators[: place + 1], graph.operators[place + 1 :]
    wanted = {int(tensor) for operator in after for tensor in operator.inputs} | set(map(int, graph.outputs))
    made = [int(tensor) for operator in before for tensor in operator.outputs]
    graph.operators = before
    graph.outputs = [tensor for tensor in made if tensor in wanted] or [int(before[-1].outputs[0])]
    model.subgraphs = [graph, *whole.subgraphs[1:]]
    model.signatureDefs, model.metadata = None, None  # they name outputs that are none any more
    used = {int(tensor) for operator in before for tensor in operator.inputs}
    kept = {graph.tensors[tensor].buffer for tensor in used if tensor >= 0}
    kept |= {tensor.buffer for other in whole.subgraphs[1:] for tensor in other.tensors}
    empty = type(whole.buffers[0])()
    model.buffers = [buffer if number in kept else empty for number, buffer in enumerate(whole.buffers)]
    return model
