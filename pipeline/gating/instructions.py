"""Instructions of one inference as a gate: held against a budget, and against those of an earlier release."""

from typing import Any

from pipeline.gating.verdict import Check
from targets.emulator.counts import InstructionCounts

MORE_INSTRUCTIONS = 0.01  # share of the baseline's; counts repeat to a tenth of that


def emulated_checks(file: dict[str, Any], limit_m: float | None) -> list[Check]:
    """The checks of a report's file on the emulated cores that it was run on: its outputs are the host's, and an
    inference takes at most `limit_m` million instructions on each core. None where neither was asked for."""
    found = file.get("emulated")
    checks = [_outputs(file["name"], core) for core in found["cores"]] if found else []
    if limit_m is None:
        return checks
    if not found:
        text = f"instructions were not counted, budget {limit_m:g} million: run without --no-latency"
        missing = Check("instructions_m", file["name"], None, "<=", limit_m, "million", "none", None, None, text)
        return [*checks, missing]
    return [*checks, *(_budget(file["name"], counts_of(core), limit_m) for core in found["cores"])]


def counts_of(core: dict[str, Any]) -> InstructionCounts:
    """The counts of one core in a report."""
    told = core["instructions"]
    return InstructionCounts(
        core["core"], core["runtime"]["name"], core["runtime"]["version"], core["qemu"], told["inferences"],
        told["spread"], **told["classes"],
    )  # fmt: skip


def compare_counts(file: str, now: InstructionCounts, before: InstructionCounts) -> Check:
    """The check of one file's instructions against the baseline's on the same core: at most `MORE_INSTRUCTIONS`
    more."""
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


def compare_reported(file: dict[str, Any], before: dict[str, Any]) -> list[Check]:
    """`compare_counts` of what two reports hold of one file, on each core that both were counted on by the same
    emulator and runtime; of other versions the counts are not compared."""
    theirs = {_counted_by(core): core for core in (before.get("emulated") or {"cores": []})["cores"]}
    mine = (file.get("emulated") or {"cores": []})["cores"]
    pairs = [(core, theirs[_counted_by(core)]) for core in mine if _counted_by(core) in theirs]
    return [compare_counts(file["name"], counts_of(now), counts_of(then)) for now, then in pairs]


def _counted_by(core: dict[str, Any]) -> tuple[str, ...]:
    return core["core"], core["qemu"], core["runtime"]["name"], core["runtime"]["version"]


def _outputs(file: str, core: dict[str, Any]) -> Check:
    found = core["outputs"]
    largest = found["largest"]["value"]
    text = f"{core['core']}: {found['explanation']}"
    return Check(
        "emulated.outputs", file, largest, "<=", found["tolerance"], found["largest"]["unit"], "emulated",
        found["passed"], None, text,
    )  # fmt: skip


def _budget(file: str, counts: InstructionCounts, limit_m: float) -> Check:
    value = counts.total / 1e6
    passed = value <= limit_m
    text = f"{value:.3f} million instructions on {counts.core}, budget {limit_m:g} million"
    if not passed:
        classes = counts.by_class()
        most = max(classes, key=lambda name: classes[name])
        text = (
            f"{value:.3f} million instructions on {counts.core} are {value - limit_m:.3f} million over the budget of "
            f"{limit_m:g} million; {classes[most] / counts.total:.0%} of them {most.replace('_', ' ')}: a smaller "
            "student, prune.macs, or 8 bits where it is float"
        )
    stage = None if passed else "distill"
    return Check("instructions_m", file, value, "<=", limit_m, "million", "emulated", passed, stage, text)
