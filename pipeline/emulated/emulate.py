"""A file that ships on the emulated cores of its target, as a stored stage: what it computes there beside this host,
how many instructions an inference takes, and the latency that these predict."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from pipeline.context import RunContext
from pipeline.emulated.emulation import host_outputs, side_by_side
from pipeline.emulated.outputs import compare
from pipeline.emulated.prediction import predict_from
from pipeline.emulated.results import CoreFigures, EmulatedFile, EmulatedResult, PredictedLatency
from pipeline.errors import InputError
from pipeline.feeds import feeds
from pipeline.golden import golden_positions
from pipeline.progress import Meter
from pipeline.results import ExportedFile, PreparedData
from pipeline.store import file_sha256
from targets.emulator.cores import EmulatedCore, profile_cores
from targets.emulator.counts import InstructionCounts
from targets.emulator.place import installed
from targets.emulator.plugin import SOURCE as PLUGIN
from targets.emulator.plugin import compiler
from targets.emulator.qemu import find_qemu
from targets.errors import TargetError
from targets.machine import describe_machine
from targets.profile import Profile
from targets.runners.emulated import EmulatedRunner
from targets.runtimes.base import RuntimeOptions, open_model

NOT_ALLOWED = "the profile lets no verdict rest on a prediction (measure.allow_prediction)"


def refuse_unready() -> None:
    """Raises TargetError, before anything is trained, if what a target is emulated with is not all here: QEMU that can
    count, a C compiler, and the installation."""
    find_qemu().refuse_counting()
    compiler()
    installed()


def emulate(
    file: ExportedFile, data: PreparedData, options: RuntimeOptions, profile: Profile, context: RunContext
) -> EmulatedFile:
    """`file` on the golden inputs of `data`, on each kind of core of `profile`: its outputs held against this host's,
    with the session options that ship, and its instructions, in one thread.

    Raises TargetError if a core can't be emulated, the emulator is not whole, or the file fails on it.
    """
    cores = profile_cores(profile)
    machine = describe_machine()
    inputs = {
        "file": file.fingerprint,
        "data": data.fingerprint,
        "options": options,
        "cores": [EmulatedRunner(core).identity(options) for core in cores],
        "plugin": file_sha256(PLUGIN),
        "processor": [machine.cpu, machine.isa],
    }

    def make(folder: Path, key: str, meter: Meter) -> EmulatedFile:
        rows = data.rows("test")[golden_positions(data)]
        specs = open_model(file.file, options).inputs
        samples = [feeds(specs, data, int(row)) for row in rows]
        expected = host_outputs(file.file, options, samples)

        def outputs(core: EmulatedCore) -> EmulatedResult:
            found = EmulatedRunner(core).run(file.file, options, samples)
            return compare(file.file.name, core.name, file.scheme, found, expected)

        def counts(core: EmulatedCore) -> InstructionCounts:
            return EmulatedRunner(core).count(file.file, options, samples)

        jobs: list[tuple[str, Callable[[], EmulatedResult | InstructionCounts]]] = [
            (core.name, partial(work, core)) for core in cores for work in (outputs, counts)
        ]
        told = side_by_side(jobs, lambda core: meter.advance(note=core))
        results = [one for one in told if isinstance(one, EmulatedResult)]
        counted = [one for one in told if isinstance(one, InstructionCounts)]
        return EmulatedFile(key, tuple(map(CoreFigures, results, counted)))

    title = f"emulate {file.label}.{file.format}"
    return context.stage("emulate", inputs, EmulatedFile, make, total=2 * len(cores), unit="runs", title=title)


def predicted_latency(file: ExportedFile, found: EmulatedFile, profile: Profile, confidence: float) -> PredictedLatency:
    """The latency of `file` on the profile's device, predicted from the instructions that were counted; it is at most
    the interval's upper end with `confidence`. Where there is none, the reason why."""
    if not profile.measure.allow_prediction:
        return PredictedLatency(None, NOT_ALLOWED)
    counted = {core.counts.core: core.counts for core in found.cores}
    try:
        prediction = predict_from(
            file.file, profile, lambda core: counted[core.name], confidence=2 * confidence - 1
        ).prediction
    except (InputError, TargetError) as error:
        return PredictedLatency(None, str(error).replace(str(file.file), file.file.name))
    return PredictedLatency(prediction)
