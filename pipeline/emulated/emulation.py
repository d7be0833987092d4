"""A bundle's files on emulated cores of its device: the outputs held against the host's, and instructions counted."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from pipeline.bench import made_up_feeds, options_for
from pipeline.emulated.outputs import Outputs, compare
from pipeline.emulated.results import EmulatedResult
from pipeline.errors import InputError
from pipeline.gating.instructions import compare_counts
from pipeline.gating.verdict import Check
from pipeline.golden import GOLDEN_FILES, golden_feeds, named_files
from pipeline.integrity import REPORT, read_json, verify_bundle
from pipeline.progress import SILENT, Reporter
from targets.emulator.cores import CORES, EmulatedCore, named_cores
from targets.emulator.counts import InstructionCounts
from targets.machine import available_cores
from targets.profile import Scheme, load_profile
from targets.runners.emulated import EmulatedRunner, Feeds
from targets.runtimes.base import RuntimeOptions, open_model

T = TypeVar("T")


@dataclass(frozen=True)
class _Shipped:
    """A file of a bundle with its golden inputs and how it was judged."""

    name: str
    file: Path
    options: RuntimeOptions
    feeds: Feeds
    scheme: Scheme


def validate_emulated(
    folder: Path, names: Sequence[str], reporter: Reporter = SILENT, chosen: Sequence[str] = ()
) -> list[EmulatedResult]:
    """Every shipped file of the bundle in `folder`, or those `chosen`, on its golden inputs, by every core that `names`
    (targets, or cores themselves) stand for, held against this host's outputs by `compare`.

    Raises InputError if the bundle is changed or incomplete, TargetError if a core can't be emulated or a file fails.
    """
    cores, files = _cores(names), _shipped(folder, chosen)
    expected = {file.name: host_outputs(file.file, file.options, file.feeds) for file in files}

    def check(file: _Shipped, core: EmulatedCore) -> EmulatedResult:
        found = EmulatedRunner(core).run(file.file, file.options, file.feeds)
        return compare(file.name, core.name, file.scheme, found, expected[file.name])

    jobs = [(core.name, partial(check, file, core)) for file in files for core in cores]
    return _all("emulated outputs", jobs, reporter)


def host_outputs(file: Path, options: RuntimeOptions, feeds: Feeds) -> Outputs:
    """What this machine computes, that a core is held against."""
    model = open_model(file, options)
    return [model.run(feed) for feed in feeds]


def count_instructions(file: Path, target: str, reporter: Reporter = SILENT) -> list[InstructionCounts]:
    """Instructions of one inference of a .onnx or .tflite file on each kind of core of `target`, or on the core that it
    names, on made-up inputs.

    Raises InputError or TargetError for a file that is no model, and for cores that can't be emulated.
    """
    cores = _cores((target,))
    options = options_for(file, load_profile("host" if target.strip().lower() in CORES else target))
    feeds = made_up_feeds(file, options)
    jobs = [(core.name, partial(EmulatedRunner(core).count, file, options, feeds)) for core in cores]
    return _all("instructions", jobs, reporter)


def instruction_checks(
    folder: Path, baseline: Path, names: Sequence[str], reporter: Reporter = SILENT
) -> tuple[Check, ...]:
    """One check for each file that both bundles ship, on each core that `names` stand for: the instructions of an
    inference against the baseline's, both counted here on golden inputs.

    Raises InputError if a bundle is changed or incomplete, TargetError if a core can't be emulated.
    """
    cores = _cores(names)
    before = {file.name: file for file in _shipped(baseline)}
    pairs = [(file, before[file.name]) for file in _shipped(folder) if file.name in before]

    def check(pair: tuple[_Shipped, _Shipped], core: EmulatedCore) -> Check:
        now, then = (EmulatedRunner(core).count(file.file, file.options, file.feeds) for file in pair)
        return compare_counts(pair[0].name, now, then)

    jobs = [(core.name, partial(check, pair, core)) for pair in pairs for core in cores]
    return tuple(_all("instructions", jobs, reporter))


def _cores(names: Iterable[str]) -> list[EmulatedCore]:
    return list(dict.fromkeys(core for name in names for core in named_cores(name)))


def _shipped(folder: Path, chosen: Sequence[str] = ()) -> list[_Shipped]:
    verify_bundle(folder)
    try:
        schemes = {file["name"]: file["scheme"] for file in read_json(folder / REPORT)["files"]}
        golden = read_json(folder / GOLDEN_FILES)["files"]
        return [
            _Shipped(name, folder / name, *golden_feeds(folder, golden[name]), schemes[name])
            for name in named_files(golden, chosen)
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{folder}: its golden samples are incomplete ({error!r}); make the bundle again") from None


def _all(title: str, jobs: Sequence[tuple[str, Callable[[], T]]], reporter: Reporter) -> list[T]:
    with reporter.stage(title, len(jobs), "runs") as meter:
        return side_by_side(jobs, lambda core: meter.advance(note=core))


def side_by_side(jobs: Sequence[tuple[str, Callable[[], T]]], done: Callable[[str], object]) -> list[T]:
    """What the jobs give, in their order, as many of them at once as this machine has cores to use; `done` hears of
    each by its name. The first error ends it, and what has not begun is left."""
    with ThreadPoolExecutor(available_cores()) as pool:
        running = [pool.submit(job) for _, job in jobs]
        found = []
        try:
            for (name, _), future in zip(jobs, running, strict=True):
                found.append(future.result())
                done(name)
        finally:
            for future in running:
                future.cancel()
    return found
