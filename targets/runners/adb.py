"""An Android device at the other end of adb: measured by its runtime's own benchmark tool, which the user gives."""

import hashlib
import json
import secrets
import shlex
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from targets.errors import TargetError
from targets.measuring import Tools
from targets.profile import Budgets, Measure
from targets.runners import android, tools
from targets.runners.base import Feeds, Measured
from targets.runners.bridge import CommandFailed, Device, DeviceLost, find_device
from targets.runners.kept import Kept, kept_in, measure_in_parts, stopping
from targets.runtimes.base import RuntimeOptions, TensorSpec, open_model

PLACE = "/data/local/tmp"  # where Android lets adb's shell run programs
BESIDE = {"litert": (), "onnxruntime": ("libonnxruntime.so",)}  # libraries that a tool may need from its own folder
TOLD = 2  # runs of one process of benchmark_model: it tells the first and the last, and no other
PART = 20  # runs that a lost device costs at most, of benchmark_model


@dataclass(frozen=True)
class Installed:
    """A tool, a model file and `samples` inputs of it in the folder `place` of a device, and what the device told."""

    device: Device
    place: str
    told: dict[str, str]
    model: str
    options: RuntimeOptions
    inputs: tuple[TensorSpec, ...]
    samples: int

    def benchmark_model(self, sample: int, warmup: int, runs: int) -> list[str]:
        """A call of that tool on one of the samples."""
        inputs = [(",".join(map(str, spec.shape)), _input(sample, place)) for place, spec in enumerate(self.inputs)]
        return ["./tool", *tools.benchmark_model_arguments(self.model, self.options, inputs, warmup, runs)]

    def call(self, calls: list[list[str]]) -> str:
        """What `calls` write, the first that fails being the last. Raises TargetError for a tool that fails or
        crashes, DeviceLost for a device that does."""
        lines = [f"cd {shlex.quote(self.place)} || exit 1", "export LD_LIBRARY_PATH=."]
        lines += [f"{shlex.join(call)} || exit $?" for call in calls]
        with tempfile.NamedTemporaryFile("w", suffix=".sh") as script:  # too long for old devices' command lines
            script.write("\n".join(lines) + "\n")
            script.flush()
            self.device.push(Path(script.name), f"{self.place}/calls.sh")
        try:
            return self.device.shell(["sh", f"{self.place}/calls.sh"])
        except CommandFailed as failed:
            name, code = tools.TOOLS[self.options.runtime], failed.code
            ending = f"crashed (signal {code - 128})" if code > 128 else f"failed (exit code {code})"
            said = [line.strip() for line in failed.text.splitlines() if line.strip()]
            raise TargetError(
                f"{self.device.serial}: {name} {ending} on the device: {said[-1] if said else 'it said nothing'}; "
                "see that it is built for this Android and has the operators of the model"
            ) from None


@dataclass(frozen=True)
class AdbRunner:
    """The Android device with this `serial`, or the only one: see `targets.runners.base.Runner`. `tools` are the
    benchmark tools' paths on this computer."""

    serial: str | None
    tools: Tools

    def identity(self, options: RuntimeOptions) -> str:
        digest = hashlib.sha256(self._tool(options).read_bytes()).hexdigest()
        serial = self.serial or find_device(None).serial  # the only one there is: adb knows which
        return json.dumps({"adb": serial, "tool": digest}, sort_keys=True)

    def run(self, file: Path, options: RuntimeOptions, feeds: Feeds) -> list[list[np.ndarray]]:
        if options.runtime != "litert":
            raise TargetError(
                f"{file}: {tools.TOOLS[options.runtime]} times a file and writes none of its outputs, so they can't be "
                "compared on an Android device: name the .tflite files with --file, and compare this one on an "
                "emulated core (--emulate) or a board (--device ssh:HOST)"
            )
        outputs = open_model(file, options).outputs
        found = []
        with self._installed(file, options, feeds) as there, tempfile.TemporaryDirectory() as folder:
            for sample in range(len(feeds)):
                there.call([[*there.benchmark_model(sample, 1, 1), f"--output_filepath=output-{sample}"]])
                there.device.pull(f"{there.place}/output-{sample}", Path(folder) / str(sample))
                found.append(_arrays((Path(folder) / str(sample)).read_bytes(), outputs, file))
        return found

    def measure(
        self,
        file: Path,
        options: RuntimeOptions,
        feeds: Feeds,
        plan: Measure,
        folder: Path,
        *,
        budget: Budgets | None = None,
    ) -> Measured:
        if not feeds:
            raise TargetError(f"{file}: no sample to measure it with, expected at least one")
        self._tool(options)  # missing, it is told before the device is asked
        device = find_device(self.serial)
        told = [device.serial, options.runtime, android.properties(device)]
        kept = kept_in(folder, file, json.dumps(told, sort_keys=True))
        earlier, until = len(kept.samples_ms), stopping(plan, budget)
        try:
            with self._installed(file, options, feeds) as there:
                before = android.state(there.device)
                part = _part_of_litert if options.runtime == "litert" else _part_of_onnxruntime
                measure_in_parts(kept, until, part(there, plan, kept))
                after = android.state(there.device)
        except DeviceLost as lost:
            raise TargetError(
                f"{lost}, after {len(kept.samples_ms)} runs. They are kept: connect the device and give the same "
                "command again"
            ) from None
        kept.forget()
        return Measured(
            samples_ms=np.array(kept.samples_ms),
            cold_start_ms=kept.facts.get("cold_start_ms"),
            peak_mem_mb=kept.facts.get("peak_mem_mb"),
            process_mem_mb=kept.facts.get("process_mem_mb"),
            looks=until.looks,
            notes=(
                *_how(options, len(feeds), plan),
                *([f"the device was lost after {earlier} runs; the others were made later"] if earlier else []),
                *android.state_notes(before, after),
            ),
            source="device",
            machine=android.label(there.told),
        )

    def _tool(self, options: RuntimeOptions) -> Path:
        name, path = tools.TOOLS[options.runtime], getattr(self.tools, options.runtime)
        if path is None:
            raise TargetError(
                f"{name} is wanted to measure {options.runtime} on Android: build it for the device and name it with "
                f"measure.tools.{options.runtime} in the profile, or --tool {options.runtime}=PATH"
            )
        if not Path(path).is_file():
            raise TargetError(f"{path}: no such file; expected {name}, built for the device")
        return Path(path)

    @contextmanager
    def _installed(self, file: Path, options: RuntimeOptions, feeds: Feeds) -> Iterator[Installed]:
        """The tool, the file and its inputs on the device, in a folder that is removed in the end."""
        tool = self._tool(options)
        abi = tools.program_abi(tool)
        specs = open_model(file, options).inputs
        device = find_device(self.serial)
        told = android.properties(device)
        if abi not in android.abis(told):
            runs = ", ".join(android.abis(told))
            raise TargetError(f"{tool}: built for {abi}, the device runs {runs}; build it for one of those")
        place = f"{PLACE}/edgepress-{secrets.token_hex(6)}"
        there = Installed(device, place, told, f"model{file.suffix}", options, specs, len(feeds))
        libraries = [name for name in BESIDE[options.runtime] if (tool.parent / name).is_file()]
        with tempfile.TemporaryDirectory() as folder:
            _write_inputs(Path(folder), specs, options, feeds)
            try:
                device.shell(["mkdir", "-p", place])
                device.push(tool, f"{place}/tool")
                for name in libraries:
                    device.push(tool.parent / name, f"{place}/{name}")
                device.push(file, f"{place}/{there.model}")
                for path in sorted(Path(folder).iterdir()):
                    device.push(path, f"{place}/{path.name}")
                device.shell(["chmod", "755", f"{place}/tool"])
                yield there
            finally:
                _remove(device, place)


def _remove(device: Device, place: str) -> None:
    try:
        device.shell(["rm", "-rf", place])
    except TargetError:
        return  # the device is gone, or holds on to it


def _write_inputs(folder: Path, specs: tuple[TensorSpec, ...], options: RuntimeOptions, feeds: Feeds) -> None:
    """As the tools read them: raw bytes for benchmark_model; for onnxruntime_perf_test a folder for each sample, with
    an ONNX TensorProto for each input."""
    for sample, feed in enumerate(feeds):
        for place, spec in enumerate(specs):
            values = np.ascontiguousarray(feed[spec.name])
            if options.runtime == "litert":
                (folder / _input(sample, place)).write_bytes(values.tobytes())
                continue
            from onnx import numpy_helper

            own = folder / f"test_data_set_{sample}"
            own.mkdir(exist_ok=True)
            (own / f"input_{place}.pb").write_bytes(numpy_helper.from_array(values, spec.name).SerializeToString())


def _input(sample: int, place: int) -> str:
    return f"input-{sample}-{place}"


def _part_of_litert(there: Installed, plan: Measure, kept: Kept) -> Callable[[int], list[float]]:
    """Single inferences by processes of `TOLD` runs each, in turn through the samples."""

    def part(runs: int) -> list[float]:
        runs, calls = min(runs, PART), []
        for first in range(0, runs, TOLD):
            sample = ((len(kept.samples_ms) + first) // TOLD) % there.samples
            call = there.benchmark_model(sample, plan.warmup, min(TOLD, runs - first))
            calls.append([*_pinned(plan), *call])
        first_time = not kept.facts
        if first_time:  # a process of its own: the thread that looks after memory may slow the others down
            calls.append([*calls[0], "--report_peak_memory_footprint=true"])
        text = there.call(calls)
        try:
            told = tools.read_benchmark_model(text)
            if len(told) != len(calls):
                raise ValueError(f"{len(told)} results of {len(calls)} calls")
            if first_time:
                memory = told.pop()
                kept.facts = {
                    "cold_start_ms": told[0].cold_start_ms,
                    "peak_mem_mb": memory.peak_mem_mb,
                    "process_mem_mb": memory.process_mem_mb,
                }
            samples = [ms for one in told for ms in one.samples_ms]
            if len(samples) != runs:
                raise ValueError(f"{len(samples)} of {runs} inferences are told")
        except ValueError as error:
            raise _nonsense(there.options, error, text) from None
        return samples

    return part


def _part_of_onnxruntime(there: Installed, plan: Measure, kept: Kept) -> Callable[[int], list[float]]:
    """Single inferences by one process, which takes the samples in turn; its first ones are warm-up."""

    def part(runs: int) -> list[float]:
        result, made = "result.csv", plan.warmup + runs
        arguments = tools.perf_test_arguments(there.model, there.options, made, result)
        text = there.call([["rm", "-f", result], [*_pinned(plan), "./tool", *arguments]])
        with tempfile.TemporaryDirectory() as folder:
            there.device.pull(f"{there.place}/{result}", Path(folder) / result)
            written = (Path(folder) / result).read_text(encoding="utf-8", errors="replace")
        try:
            told = tools.read_perf_test_results(written)
            if told.runs != made:
                raise ValueError(f"{told.runs} of {made} inferences are told")
        except ValueError as error:
            raise _nonsense(there.options, error, written) from None
        if not kept.facts:
            cold = tools.perf_test_cold_start(text)
            kept.facts = {"cold_start_ms": cold, "process_mem_mb": told.process_mem_mb}
        return list(told.samples_ms[plan.warmup :])

    return part


def _pinned(plan: Measure) -> list[str]:
    """Android's taskset takes a mask in hexadecimal."""
    return ["taskset", f"{sum(1 << core for core in plan.pin_cores):x}"] if plan.pin_cores else []


def _nonsense(options: RuntimeOptions, error: ValueError, text: str) -> TargetError:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    shown = f"; its last line: {lines[-1][:120]!r}" if lines else "; it wrote nothing"
    return TargetError(
        f"{tools.TOOLS[options.runtime]} wrote what is no result of it: {error}{shown}. See docs/devices.md for the "
        "versions that are read"
    )


def _arrays(raw: bytes, specs: tuple[TensorSpec, ...], file: Path) -> list[np.ndarray]:
    """Outputs as benchmark_model writes them: the tensors' bytes, one behind the other."""
    sizes = [int(np.prod(spec.shape)) * np.dtype(spec.dtype).itemsize for spec in specs]
    if len(raw) != sum(sizes):
        raise TargetError(f"{file}: the device wrote {len(raw)} bytes of outputs, expected {sum(sizes)}")
    found, start = [], 0
    for spec, size in zip(specs, sizes, strict=True):
        found.append(np.frombuffer(raw[start : start + size], spec.dtype).reshape(spec.shape))
        start += size
    return found


def _how(options: RuntimeOptions, samples: int, plan: Measure) -> tuple[str, ...]:
    pinned = (f"pinned to cores {', '.join(map(str, plan.pin_cores))}",) if plan.pin_cores else ()
    if options.runtime == "litert":
        return (
            f"benchmark_model, {options.threads} threads, delegate {options.delegate or 'of its default'}; processes "
            f"of {TOLD} runs each after {max(1, plan.warmup)} warm-up runs, {samples} samples in turn; the run alone, "
            "inputs handed over and outputs fetched not included",
            "cold start: opening the file and the first inference, start of the process left out",
            "peak memory: what the process grew by from its start on",
            *pinned,
        )
    return (
        f"onnxruntime_perf_test, {options.threads} threads, provider {options.delegate or 'cpu'}; {samples} samples in "
        f"turn after {plan.warmup} warm-up runs; the run alone, preprocessing not included",
        "cold start: opening the file and the first inference, the latter told in whole milliseconds",
        *pinned,
    )
