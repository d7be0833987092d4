"""A bundle's files on emulated cores of its device: the outputs held against the host's, and instructions counted."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from pipeline.bench import made_up_feeds, options_for
from pipeline.coverage import coverage
from pipeline.errors import InputError
from pipeline.golden import GOLDEN_FILES, SCORE_TOLERANCES, golden_feeds
from pipeline.integrity import REPORT, read_json, verify_bundle
from pipeline.progress import SILENT, Reporter
from pipeline.results import Check
from targets.emulator.cores import EmulatedCore, named_cores, profile_cores
from targets.machine import available_cores
from targets.profile import Scheme, load_profile
from targets.runners.emulated import EmulatedRunner, Feeds, InstructionCounts
from targets.runtimes.base import RuntimeOptions, open_model

T = TypeVar("T")

FLOAT_TOLERANCE = 1e-5  # relative: kernels of two instruction sets add up in another order
SMALLEST = float(np.finfo(np.float32).tiny)  # what a float score is held against at the least
MORE_INSTRUCTIONS = 0.01  # share of the baseline's; counts repeat to a tenth of that


@dataclass(frozen=True)
class EmulatedResult:
    """One file of a bundle run on an emulated core: `largest` difference of an output from the host's, in `unit`.

    `step`: of an 8-bit output. `of itself`: relative to the score itself. `of the largest`: relative to the largest
    score of the same sample. `score`: absolute.
    """

    file: str
    core: str
    samples: int
    identical: bool
    largest: float
    tolerance: float
    unit: str
    passed: bool
    explanation: str


@dataclass(frozen=True)
class _Shipped:
    """A file of a bundle with its golden inputs and how it was judged."""

    name: str
    file: Path
    options: RuntimeOptions
    feeds: Feeds
    scheme: Scheme


def validate_emulated(folder: Path, names: Sequence[str], reporter: Reporter = SILENT) -> list[EmulatedResult]:
    """Every shipped file of the bundle in `folder` on its golden inputs, by every core that `names` (targets, or cores
    themselves) stand for, held against this host's outputs by `compare`.

    Raises InputError if the bundle is changed or incomplete, TargetError if a core can't be emulated or a file fails.
    """
    cores, files = _cores(names), _shipped(folder)
    host = {}
    for file in files:
        model = open_model(file.file, file.options)
        exact = _integers_alone(file) if file.scheme == "int8-static" else False
        host[file.name] = ([model.run(feed) for feed in file.feeds], exact)

    def check(file: _Shipped, core: EmulatedCore) -> EmulatedResult:
        found = EmulatedRunner(core).run(file.file, file.options, file.feeds)
        expected, exact = host[file.name]
        return compare(file.name, core.name, file.scheme, found, expected, integers_alone=exact)

    return _on_all(check, files, cores, "emulated outputs", reporter)


def compare(
    name: str,
    core: str,
    scheme: Scheme,
    found: Sequence[Sequence[np.ndarray]],
    expected: Sequence[Sequence[np.ndarray]],
    *,
    integers_alone: bool,
) -> EmulatedResult:
    """Holds the outputs of a core against the host's, sample by sample.

    A static INT8 file that computes in `integers_alone` has to come out the same: 8-bit outputs equal, float ones
    (a softmax at the end) within `FLOAT_TOLERANCE` of themselves, since one step of a logit would move them by far
    more. float32: within `FLOAT_TOLERANCE` of the sample's largest score. Other schemes round what float arithmetic
    gave, which may fall to either side of a step: as far as the golden outputs may.
    """
    pairs = [pair for mine, theirs in zip(found, expected, strict=True) for pair in zip(mine, theirs, strict=True)]
    identical = all(np.array_equal(mine, theirs) for mine, theirs in pairs)
    exact = scheme == "int8-static" and integers_alone
    if all(np.issubdtype(theirs.dtype, np.integer) for _, theirs in pairs):
        unit, tolerance = "step", 0.0 if exact else 1.0
    elif exact:
        unit, tolerance = "of itself", FLOAT_TOLERANCE
    elif scheme == "float32":
        unit, tolerance = "of the largest", FLOAT_TOLERANCE
    else:
        unit, tolerance = "score", SCORE_TOLERANCES[scheme]
    largest = max(_difference(mine.astype(np.float64), theirs.astype(np.float64), unit) for mine, theirs in pairs)
    passed = largest <= tolerance  # a NaN is not
    samples = len(expected)
    if identical:
        text = f"bit-identical to the host on {samples} samples"
    else:
        text = f"largest difference from the host {largest:.2g} {unit} on {samples} samples, {tolerance:g} allowed"
    if not passed:
        text += f"; the runtime computes otherwise on a {core}: don't ship the file to such devices"
    return EmulatedResult(name, core, samples, identical, largest, tolerance, unit, passed, text)


def _difference(found: np.ndarray, expected: np.ndarray, unit: str) -> float:
    distance = np.abs(found - expected)
    if unit == "of itself":
        distance = distance / np.maximum(np.abs(expected), SMALLEST)
    elif unit == "of the largest":
        distance = distance / max(float(np.abs(expected).max(initial=0.0)), SMALLEST)
    return float(distance.max(initial=0.0))


def count_instructions(file: Path, target: str, reporter: Reporter = SILENT) -> list[InstructionCounts]:
    """Instructions of one inference of a .onnx or .tflite file on each kind of core of `target`, on made-up inputs.

    Raises InputError or TargetError for a file that is no model, and for cores that can't be emulated.
    """
    profile = load_profile(target)
    options = options_for(file, profile)
    feeds = made_up_feeds(open_model(file, options).inputs)

    def count(file: Path, core: EmulatedCore) -> InstructionCounts:
        return EmulatedRunner(core).count(file, options, feeds)

    return _on_all(count, [file], profile_cores(profile), "instructions", reporter)


def instruction_checks(
    folder: Path, baseline: Path, names: Sequence[str], reporter: Reporter = SILENT
) -> tuple[Check, ...]:
    """One check for each file that both bundles ship, on each core that `names` stand for: an inference may take at
    most `MORE_INSTRUCTIONS` more instructions than the baseline's file does, both counted here on golden inputs.

    Raises InputError if a bundle is changed or incomplete, TargetError if a core can't be emulated.
    """
    cores = _cores(names)
    before = {file.name: file for file in _shipped(baseline)}
    pairs = [(file, before[file.name]) for file in _shipped(folder) if file.name in before]

    def check(pair: tuple[_Shipped, _Shipped], core: EmulatedCore) -> Check:
        now, then = (EmulatedRunner(core).count(file.file, file.options, file.feeds) for file in pair)
        return compare_counts(pair[0].name, now, then)

    return tuple(_on_all(check, pairs, cores, "instructions", reporter))


def compare_counts(file: str, now: InstructionCounts, before: InstructionCounts) -> Check:
    """The check of one file's instructions against the baseline's on the same core."""
    limit = before.total * (1 + MORE_INSTRUCTIONS)
    passed = now.total <= limit
    text = (
        f"{now.total / 1e6:.3f} million instructions on {now.core}, baseline {before.total / 1e6:.3f} "
        f"({now.total / before.total - 1:+.2%}, {MORE_INSTRUCTIONS:.0%} allowed)"
    )
    if not passed:
        grown = {name: count - before.by_class()[name] for name, count in now.by_class().items()}
        most = max(grown, key=lambda name: grown[name])
        text += f"; most of it {most.replace('_', ' ')}: {grown[most] / 1e6:+.3f} million"
    return Check("baseline.instructions", file, now.total, "<=", limit, "instructions", "emulated", passed, None, text)


def _cores(names: Iterable[str]) -> list[EmulatedCore]:
    return list(dict.fromkeys(core for name in names for core in named_cores(name)))


def _shipped(folder: Path) -> list[_Shipped]:
    verify_bundle(folder)
    try:
        schemes = {file["name"]: file["scheme"] for file in read_json(folder / REPORT)["files"]}
        return [
            _Shipped(name, folder / name, *golden_feeds(folder, entry), schemes[name])
            for name, entry in sorted(read_json(folder / GOLDEN_FILES)["files"].items())
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{folder}: its golden samples are incomplete ({error!r}); make the bundle again") from None


def _integers_alone(file: _Shipped) -> bool:
    """Whether nothing computes in float but a softmax at the end."""
    found = coverage(file.file, file.options, file.scheme)
    return not found.left_out and found.in_float in ({}, {"softmax": 1})


def _on_all(
    work: Callable[[Any, EmulatedCore], T],
    files: Sequence[Any],
    cores: Sequence[EmulatedCore],
    title: str,
    reporter: Reporter,
) -> list[T]:
    """`work` of every file on every core, on as many of this machine's cores at once as it may use."""
    jobs = [(file, core) for file in files for core in cores]
    with reporter.stage(title, len(jobs), "runs") as meter, ThreadPoolExecutor(available_cores()) as pool:
        done = []
        running = [pool.submit(work, *job) for job in jobs]
        try:
            for (_, core), future in zip(jobs, running, strict=True):
                done.append(future.result())
                meter.advance(note=core.name)
        finally:
            for future in running:
                future.cancel()
    return done
