"""The runtimes' own benchmark tools: how they are called, and what they write, read strictly.

`benchmark_model` is TensorFlow Lite's, `onnxruntime_perf_test` onnxruntime's; docs/devices.md says which versions write
what. Neither is in a package: the user builds or downloads them.
"""

import math
import re
from dataclasses import dataclass
from pathlib import Path

from targets.errors import TargetError
from targets.profile import RuntimeName
from targets.runtimes.base import RuntimeOptions

TOOLS: dict[RuntimeName, str] = {"litert": "benchmark_model", "onnxruntime": "onnxruntime_perf_test"}

# The profile's delegate -> what the tool is told.
_LITERT_DELEGATES = {
    None: (), "cpu": (), "xnnpack": ("--use_xnnpack=true",), "gpu": ("--use_gpu=true",), "nnapi": ("--use_nnapi=true",),
}  # fmt: skip
_ORT_PROVIDERS = {None: "cpu", "cpu": "cpu", "xnnpack": "xnnpack", "nnapi": "nnapi", "qnn": "qnn"}

_NUMBER = r"([0-9][0-9.e+-]*)"
_TIMINGS = rf"Init: {_NUMBER}, First inference: {_NUMBER},.*Inference \(avg\): {_NUMBER}"
_GROWTH = (  # the second is of older versions
    rf"(?:Memory footprint delta from the start of the tool|Peak memory footprint) \(MB\): init=\S+ overall={_NUMBER}"
)
_PEAK = rf"Overall peak memory footprint \(MB\) via periodic monitoring: {_NUMBER}"

MIB = 1.048576  # MB (10**6 bytes) of one


@dataclass(frozen=True)
class Told:
    """What one run of a tool wrote. `samples_ms`: single inferences in the order made, `runs` in all; a tool may tell
    only some of them. MB are 10**6 bytes; None is what this version does not tell."""

    samples_ms: tuple[float, ...]
    runs: int
    cold_start_ms: float | None = None
    peak_mem_mb: float | None = None
    process_mem_mb: float | None = None
    model: str | None = None  # the file's name, as the tool was given it


def benchmark_model_arguments(
    model: str, options: RuntimeOptions, inputs: list[tuple[str, str]], warmup: int, runs: int
) -> list[str]:
    """Of `benchmark_model`, for exactly `runs` inferences after `warmup`. `inputs`: shape as "1,224,224,3" and file of
    each input in the graph's order; the tool goes by order, and only warns of a name that differs."""
    if options.delegate not in _LITERT_DELEGATES:
        raise TargetError(_unknown_delegate(options, _LITERT_DELEGATES))
    names = [f"input{place}" for place in range(len(inputs))]
    files = ",".join(f"{name}:{file}" for name, (_, file) in zip(names, inputs, strict=True))
    return [
        f"--graph={model}",
        f"--num_threads={options.threads}",
        f"--warmup_runs={max(1, warmup)}",
        "--warmup_min_secs=0",
        f"--num_runs={runs}",
        "--min_secs=0",
        f"--input_layer={','.join(names)}",
        f"--input_layer_shape={':'.join(shape for shape, _ in inputs)}",
        f"--input_layer_value_files={files}",
        *_LITERT_DELEGATES[options.delegate],
    ]


def perf_test_arguments(model: str, options: RuntimeOptions, runs: int, result: str) -> list[str]:
    """Of `onnxruntime_perf_test`, for `runs` inferences; inputs are the test_data_set folders beside the model."""
    if options.delegate not in _ORT_PROVIDERS:
        raise TargetError(_unknown_delegate(options, _ORT_PROVIDERS))
    provider = _ORT_PROVIDERS[options.delegate]
    counts = ["-m", "times", "-r", str(runs), "-x", str(options.threads), "-y", "1"]
    return ["-e", provider, *counts, "-o", "99", model, result]


def _unknown_delegate(options: RuntimeOptions, known: dict) -> str:
    names = ", ".join(name for name in known if name)
    return f"delegate '{options.delegate}': {TOOLS[options.runtime]} can't be told to use it; it takes {names}"


def read_benchmark_model(text: str) -> list[Told]:
    """What `benchmark_model` printed; several if it was run several times into one log.

    Each run has two lines of statistics in microseconds, of the warm-up and of the inferences:
    `count=50 first=4512 curr=4498 min=4471 max=4630 avg=4502.3 std=23`, newer versions with `p5= median= p95=` behind,
    `count=2 curr=4498(all same)` where all took as long. Of the inferences it tells the first and the last (`curr`), so
    that two are told in full. Raises ValueError for text that is none of this.
    """
    parts = re.split(r"(?=^.*\bRunning benchmark for at least .*$)", text, flags=re.MULTILINE)
    if len(parts) == 1 or len(parts) % 2 == 0:
        raise ValueError("no pair of 'Running benchmark for at least' lines, for warm-up and inferences")
    told = []
    heads = [parts[0], *parts[2:-1:2]]  # a later call's first lines stand behind the inferences of the one before
    for head, warmup, regular in zip(heads, parts[1::2], parts[2::2], strict=True):
        first, samples = _statistics(warmup), _statistics(regular)
        model = re.findall(r"^.*\bGraph: \[(.*)\]", head, flags=re.MULTILINE)
        timings = re.search(_TIMINGS, regular)
        cold = (float(timings[1]) + float(timings[2])) / 1e3 if timings else None
        if timings and not math.isclose(float(timings[3]), samples["avg"], rel_tol=1e-4, abs_tol=1):
            raise ValueError(f"two averages: {timings[3]} and {samples['avg']}")
        if timings and not math.isclose(float(timings[2]), first["first"], rel_tol=1e-4, abs_tol=1):
            raise ValueError(f"two first inferences: {timings[2]} and {first['first']}")
        runs = int(samples["count"])
        if samples["min"] == samples["max"]:
            ends = [samples["min"]] * runs
        else:
            ends = [samples["first"], samples["curr"]] if runs == 2 else []
        told.append(
            Told(
                samples_ms=tuple(us / 1e3 for us in ends),
                runs=runs,
                cold_start_ms=cold,
                peak_mem_mb=_megabytes(_GROWTH, regular),
                process_mem_mb=_megabytes(_PEAK, regular),
                model=Path(model[-1].replace("\\", "/")).name if model else None,
            )
        )
    return told


def _statistics(part: str) -> dict[str, float]:
    """The line of statistics that follows a "Running benchmark" line, in microseconds."""
    line = re.search(r"^.*\bcount=\d+.*$", part, flags=re.MULTILINE)
    if line is None:
        raise ValueError("no line of statistics behind 'Running benchmark'")
    found = {key: float(value) for key, value in re.findall(r"\b(\w+)=([0-9][0-9.e+]*)", line[0])}
    if found["count"] >= 1 and "curr" in found and "first" not in found:  # one run, or all the same
        found |= dict.fromkeys(("first", "min", "max", "avg"), found["curr"])
    wanted = ("count", "first", "curr", "min", "max", "avg")
    if any(key not in found for key in wanted) or found["count"] < 1:
        raise ValueError(f"statistics without {', '.join(key for key in wanted if key not in found) or 'runs'}")
    low, high = found["min"], found["max"]
    between = all(low <= found[key] <= high for key in ("first", "curr"))
    if not (0 < low <= high and between and low * (1 - 1e-4) <= found["avg"] <= high * (1 + 1e-4)):
        raise ValueError(f"statistics that contradict each other: {line[0].strip()}")
    return found


def _megabytes(pattern: str, text: str) -> float | None:
    found = re.search(pattern, text)
    return float(found[1]) * MIB if found and float(found[1]) > 0 else None


def read_perf_test_results(text: str) -> Told:
    """The result file of `onnxruntime_perf_test`: a line for each inference, `model,seconds,peak bytes,CPU %,number`
    counted from 0; behind an empty line, statistics where -s was given. Raises ValueError for anything else.
    """
    samples = list[float]()
    peak, name = 0, None
    for line in text.split("\n\n", 1)[0].splitlines():
        parts = line.rsplit(",", 4)
        if len(parts) != 5 or not re.fullmatch(r"[0-9.e+-]+", parts[1]) or not parts[2].isdigit():
            raise ValueError(f"expected model,seconds,bytes,percent,number, found {line[:80]!r}")
        if int(parts[4]) != len(samples):
            raise ValueError(f"inference {len(samples)} is missing, found {parts[4]}: was the file written twice?")
        seconds = float(parts[1])
        if not (math.isfinite(seconds) and seconds > 0):
            raise ValueError(f"an inference of {parts[1]} seconds")
        samples.append(seconds * 1e3)
        name, peak = parts[0], max(peak, int(parts[2]))
    if not samples:
        raise ValueError("no inference in it")
    return Told(tuple(samples), len(samples), process_mem_mb=peak / 1e6 or None, model=name)


def perf_test_cold_start(text: str) -> float | None:
    """Milliseconds of opening the file and the first inference, from what `onnxruntime_perf_test` prints; None from
    versions that do not tell. The first inference is told in whole milliseconds."""
    session = re.search(r"Session creation time cost: ?([0-9.e+-]+) s", text)
    first = re.search(r"First inference time cost: ?([0-9.e+-]+) ms", text)
    return float(session[1]) * 1e3 + float(first[1]) if session and first else None


# ELF's e_machine (System V ABI and its supplements) and Android's name of the ABI.
_ABIS = {183: "arm64-v8a", 40: "armeabi-v7a", 62: "x86_64", 3: "x86", 243: "riscv64"}


def program_abi(file: Path) -> str:
    """The Android ABI that a program is built for, from its ELF header. Raises TargetError if it is none."""
    try:
        with file.open("rb") as stream:
            head = stream.read(20)
    except OSError as error:
        raise TargetError(f"{file}: can't be read: {error.strerror}; expected a program for the device") from None
    if len(head) < 20 or head[:4] != b"\x7fELF":
        raise TargetError(f"{file}: not a program for Android: it begins with {head[:4]!r}, expected an ELF file")
    machine = int.from_bytes(head[18:20], "little" if head[5] == 1 else "big")
    return _ABIS.get(machine, f"machine {machine} of ELF")
