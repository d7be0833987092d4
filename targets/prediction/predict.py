"""A latency predicted for a target: whose costs it rests on, its interval, and what a reader must know of it."""

from dataclasses import dataclass

from targets.emulator.cores import EmulatedCore, emulated_core
from targets.errors import TargetError
from targets.prediction.coefficients import (
    Coefficients,
    CoreCosts,
    borrow,
    decode_widths,
    nearest,
    read_coefficients,
    work_in_range,
)
from targets.prediction.measurements import Work
from targets.prediction.model import FORM, interval, milliseconds
from targets.prediction.prediction import Prediction
from targets.profile import Core, Profile, Runtime

CONFIDENCE = 0.9  # of the interval: each end is passed once in twenty
CPU = ("cpu", "xnnpack", None)  # delegates whose kernels are the processor's


@dataclass(frozen=True)
class Basis:
    """What a prediction for a target rests on: its `core`, on which work is counted as `emulated`, and the costs of
    `fitted`, the same core or its sibling."""

    core: Core
    emulated: EmulatedCore
    ghz: float
    threads: int
    fitted: CoreCosts
    coefficients: Coefficients
    widths: dict[str, int]

    @property
    def borrowed(self) -> bool:
        return (self.fitted.uarch, self.fitted.ghz) != (self.emulated.name, self.ghz)


def basis_for(profile: Profile, runtime: Runtime, coefficients: Coefficients | None = None) -> Basis:
    """What a prediction for files of `runtime` on the profile's device rests on, found before anything is counted.

    Raises TargetError if there is nothing: no core that can be emulated, no clock, another accelerator, or a runtime
    whose kernels were not measured.
    """
    known = coefficients or read_coefficients()
    if runtime.delegate not in CPU:
        raise TargetError(
            f"target {profile.id} runs {runtime.name} files by {runtime.delegate}, predictions are of the processor's "
            "cores alone: measure on the device (measure.where), or import its log"
        )
    core = _core(profile)
    emulated = emulated_core(core.uarch)
    if core.ghz is None:
        raise TargetError(f"target {profile.id}: its {core.uarch} has no ghz, which a prediction needs: give it")
    fits = [one for one in known.cores if one.runtime == runtime.name]
    widths = decode_widths()
    fitted = nearest(fits, emulated.name, core.ghz, widths)
    if fitted is None:
        runtimes = ", ".join(sorted({one.runtime for one in known.cores}))
        raise TargetError(
            f"no latency of {runtime.name} was measured to predict from, there are those of {runtimes}: its kernels "
            "take other times for their instructions; measure on the device, or predict the file of the other runtime"
        )
    basis = Basis(core, emulated, core.ghz, runtime.threads, fitted, known, widths)
    if basis.borrowed and known.borrowed_deviation is None:
        raise TargetError(f"no latency on a {core.uarch} at {core.ghz:g} GHz was measured, and how far a sibling's "
                          "costs err is not known: measure on the device")  # fmt: skip
    return basis


def _core(profile: Profile) -> Core:
    """The core that an inference runs on: the big ones where there are several kinds."""
    if not profile.cores:
        raise TargetError(
            f"target {profile.id} names no cores, so there is nothing to predict: add cores (uarch, count, ghz) to the "
            "profile, or name another target"
        )
    return max(profile.cores, key=lambda core: (core.big, core.ghz or 0.0))


def predict(basis: Basis, work: Work, confidence: float = CONFIDENCE) -> Prediction:
    """The latency of `work`, which was counted on the core of `basis`.

    Where the target runs other threads than were measured, the interval reaches from no gain by threads to a gain as
    large as their number, and the figure is the geometric mean of both. Raises TargetError for a dtype or core that
    `basis` does not hold.
    """
    if work.core != basis.emulated.name:
        raise TargetError(f"instructions were counted on a {work.core}, the target's core is a {basis.emulated.name}")
    fitted, known = basis.fitted, basis.coefficients
    costs = borrow(fitted, basis.emulated.name, basis.ghz, basis.widths)
    ms = milliseconds(work, costs)
    if basis.borrowed:
        assert known.borrowed_deviation is not None
        assert known.borrowed_cores is not None
        deviation = max(known.borrowed_deviation, fitted.deviation)
        freedom = known.borrowed_cores
    else:
        deviation, freedom = fitted.deviation, fitted.measured
    low, high = interval(ms, deviation, freedom, confidence)
    slower = fitted.threads / basis.threads  # if threads gain as much as their number; below 1 where more run
    low, high, middle = low * min(1.0, slower), high * max(1.0, slower), slower**0.5
    extrapolated = not work_in_range(fitted, work)
    parts = {term.name: middle * milliseconds(work, costs, (term,)) for term in FORM}
    return Prediction(
        core=basis.core.uarch,
        threads=basis.threads,
        ms=ms * middle,
        low=low,
        high=high,
        confidence=confidence,
        fitted_on=fitted.device,
        fitted_threads=fitted.threads,
        borrowed=basis.borrowed,
        extrapolated=extrapolated,
        parts=parts,
        sources=fitted.sources,
        notes=_notes(basis, work, extrapolated),
    )


def _notes(basis: Basis, work: Work, extrapolated: bool) -> tuple[str, ...]:
    """What a reader must know of a prediction, a sentence each."""
    fitted, notes = basis.fitted, []
    if basis.borrowed:
        same = fitted.uarch == basis.emulated.name
        how = "by clock" if same else "by clock and decode width"
        notes.append(
            f"no latency on a {basis.core.uarch} at {basis.ghz:g} GHz was measured: costs are borrowed from the "
            f"{fitted.uarch} of {fitted.device} at {fitted.ghz:g} GHz, {how}, with the wider interval of such loans"
        )
    if basis.threads != fitted.threads:
        notes.append(
            f"latencies were measured with {fitted.threads} threads, the target runs {basis.threads}: the interval "
            "reaches from no gain by threads to a gain as large as their number"
        )
    if extrapolated:
        low, high = fitted.instructions_millions[work.dtype]
        notes.append(
            f"{work.instructions / 1e6:.3g} million instructions are far from what was measured, {low:.3g} to "
            f"{high:.3g} million: the interval does not cover that"
        )
    return tuple(notes)
