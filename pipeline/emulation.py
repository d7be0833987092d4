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
ROUNDED = 0.2  # share of samples that a float sum inside a static INT8 file may have rounded otherwise
# Single operations of IEEE 754 and mere moves give the same bits everywhere; a softmax is held by `FLOAT_TOLERANCE`.
SAME_EVERYWHERE = frozenset(
    {"add", "sub", "mul", "div", "gather", "reshape", "transpose", "flatten", "pad", "slice", "concat", "relu", "clip",
     "max-pool", "max-pool-2d", "softmax"}
)  # fmt: skip
MORE_INSTRUCTIONS = 0.01  # share of the baseline's; counts repeat to a tenth of that


@dataclass(frozen=True)
class EmulatedResult:
    """One file of a bundle run on an emulated core: `largest` difference of an output from the host's, in `unit`;
    `identical` if there is none.

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

    Static INT8 has to come out the same: 8-bit outputs equal, float ones (a softmax at the end) within
    `FLOAT_TOLERANCE` of themselves, since one step of a logit would move them by far more. Where the file does not
    compute in `integers_alone`, float sums between its integer layers may round to the other side of a step: in at
    most `ROUNDED` of the samples, and no further than golden outputs may lie. float32: within `FLOAT_TOLERANCE` of the
    sample's largest score. Other schemes quantize what float arithmetic gave as they run: as far as golden outputs may.
    """
    pairs = [list(zip(mine, theirs, strict=True)) for mine, theirs in zip(found, expected, strict=True)]
    stored = all(np.issubdtype(theirs.dtype, np.integer) for sample in pairs for _, theirs in sample)
    loose = 1.0 if stored else SCORE_TOLERANCES[scheme]
    unit, tolerance, spared = "step" if stored else "score", loose, 0
    if scheme == "int8-static":
        unit, tolerance = ("step", 0.0) if stored else ("of itself", FLOAT_TOLERANCE)
        spared = 0 if integers_alone else int(ROUNDED * len(pairs))
    elif scheme == "float32" and not stored:
        unit, tolerance = "of the largest", FLOAT_TOLERANCE
    differences = [_difference(sample, unit) for sample in pairs]
    over = [sample for sample, far in zip(pairs, differences, strict=True) if not far <= tolerance]  # NaN too
    near = all(_difference(sample, "score") <= loose for sample in over)
    passed = not over or (len(over) <= spared and near)
    largest, identical = max(differences), all(np.array_equal(*pair) for sample in pairs for pair in sample)
    text = f"bit-identical to the host on {len(pairs)} samples"
    if not identical:
        text = f"largest difference from the host {largest:.2g} {unit} on {len(pairs)} samples, {tolerance:g} allowed"
    if passed and over:
        text += f"; {len(over)} rounded to the other side of a step after a float sum, {spared} may"
    if not passed:
        text += f": {len(over)} samples are over it; on a {core} the runtime computes otherwise, don't ship it there"
    return EmulatedResult(name, core, len(pairs), identical, largest, tolerance, unit, passed, text)


def _difference(sample: Sequence[tuple[np.ndarray, np.ndarray]], unit: str) -> float:
    """The largest of a sample's outputs (found, expected), in `unit`."""
    largest = 0.0
    for mine, theirs in sample:
        if mine.shape != theirs.shape:
            return float("inf")
        found, expected = mine.astype(np.float64), theirs.astype(np.float64)
        distance = np.abs(found - expected)
        if unit == "of itself":
            distance = distance / np.maximum(np.abs(expected), SMALLEST)
        elif unit == "of the largest":
            distance = distance / max(float(np.abs(expected).max(initial=0.0)), SMALLEST)
        largest = float(np.maximum(largest, distance.max(initial=0.0)))  # keeps a NaN
    return largest


def count_instructions(file: Path, target: str, reporter: Reporter = SILENT) -> list[InstructionCounts]:
    """Instructions of one inference of a .onnx or .tflite file on each kind of core of `target`, on made-up inputs.

    Raises InputError or TargetError for a file that is no model, and for cores that can't be emulated.
    """
    profile = load_profile(target)
    options = options_for(file, profile)
    feeds = made_up_feeds(file, options)

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
    """Whether all sums are of integers, but for one softmax at the most."""
    found = coverage(file.file, file.options, file.scheme)
    floats = {**found.in_float, **found.left_out}
    return set(floats) <= SAME_EVERYWHERE and floats.get("softmax", 0) <= 1


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
