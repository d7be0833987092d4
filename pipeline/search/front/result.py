"""What a search over the front found, for people and for programs: a table, a JSON file, a recipe for each student."""

import dataclasses
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.search.front.goals import best_of, costs_of, front_of, knee_of
from pipeline.search.front.pace import Reference
from pipeline.search.front.space import RuledOut
from pipeline.search.result import RATIO, Trial, closest_trial, count_states, describe, name, trials_of, write_recipe
from pipeline.settings.search import Goal
from pipeline.store import write_atomic
from pipeline.words import short

HEADS = {"latency_ms.p50": "latency ms", "size_mb": "size MB", RATIO: "of reference"}


@dataclass(frozen=True)
class FoundFront:
    """What a search over the front came to. `limits`: budgets of costs by their keys. `least_accuracy`: the budget in
    [0, 1], which a run holds against the test split."""

    target: str
    over: tuple[Goal, ...]
    trials: tuple[Trial, ...]
    limits: dict[str, float]
    ruled_out: tuple[RuledOut, ...]
    references: dict[str, Reference]
    folder: Path
    least_accuracy: float | None = None

    @property
    def front(self) -> list[Trial]:
        return front_of(self.trials, self.over)

    @property
    def best(self) -> Trial | None:
        """The most accurate of the front within the budgets."""
        return best_of(self.front)

    @property
    def knee(self) -> Trial | None:
        return knee_of(self.front, self.over)

    def lines(self) -> list[str]:
        """For people: the front as a table, why trials did not come to an end, and the files."""
        counts = ", ".join(f"{count} {state}" for state, count in count_states(self.trials).items())
        if self.front:
            lines = [f"front of {trials_of(self.trials)} for {self.target} ({counts}):", *self._table()]
        else:
            lines = [f"no student was worth its training for {self.target} ({counts}):"]
        for reason, count in why_not(self.trials, self.ruled_out).items():
            lines.append(f"  {count}: {reason}")
        closest = closest_trial(self.trials)
        if self.best is None and closest is not None:
            missed = " and ".join(name(key) for key in closest.missed)
            lines.append(
                f"none keeps to the budgets of {self.target}; closest is trial {closest.number}, which misses "
                f"{missed}: {describe(closest, self.limits)}"
            )
        if self.references:
            paces = ", ".join(f"{runtime} {short(reference.p50)} ms" for runtime, reference in self.references.items())
            lines.append(f"latency on this host, beside the recipe's own student ({paces})")
        if self.front:
            lines.append(f"{self.folder / 'front'}: a recipe for each (front.json, front.svg and front.csv beside)")
        return lines

    def _table(self) -> list[str]:
        front = self.front
        settings = list(dict.fromkeys(key for trial in front for key in trial.values))
        figures = [key for key in (*costs_of(self.over), RATIO) if any(key in trial.figures for trial in front)]
        head = ["trial", "accuracy", *(HEADS[key] for key in figures), *settings, ""]
        rows = [
            [
                str(trial.number),
                f"{trial.accuracy or 0:.2%}",
                *(short(trial.figures[key]) for key in figures),
                *("-" if key in trial.unset else str(trial.values.get(key, "")) for key in settings),
                ", ".join(self.marks(trial)),
            ]
            for trial in front
        ]
        widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
        return [
            "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in (head, *rows)
        ]

    def marks(self, trial: Trial) -> list[str]:
        """What there is to say of a trial of the front: best, knee, the budgets that it is over."""
        marks = [word for word, chosen in (("best", self.best), ("knee", self.knee)) if chosen == trial]
        return marks + [f"over {name(key)}" for key in trial.missed]

    def as_json(self) -> dict[str, Any]:
        """Figures by the keys of their budgets, in MB and ms; latencies at the pace of the references."""
        best, knee = self.best, self.knee
        return {
            "target": self.target,
            "over": list(self.over),
            "budgets": self.limits,
            "references": {
                runtime: {
                    "file": f"{reference.file.label}.{reference.file.format}", "p50_ms": reference.p50,
                    "source": "host", "machine": reference.machine,
                }
                for runtime, reference in self.references.items()
            },
            "counts": count_states(self.trials),
            "not_done": why_not(self.trials, self.ruled_out),
            "best": best.number if best else None,
            "knee": knee.number if knee else None,
            "front": [
                {**_as_json(trial), "recipe": str(Path("front") / recipe_name(trial))} for trial in self.front
            ],
            "trials": [_as_json(trial) for trial in self.trials],
        }  # fmt: skip

    def write(self, recipe_file: Path, overrides: tuple[str, ...], target: str) -> None:
        """`front.json` and, in `front/`, a recipe for each of the front; those of trials that left it go."""
        folder = self.folder / "front"
        folder.mkdir(exist_ok=True)
        for trial in self.front:
            marked = ", ".join(self.marks(trial))
            title = f"Trial {trial.number} of the front of {trials_of(self.trials)} for {self.target}" + (
                f" ({marked})." if marked else "."
            )
            write_recipe(trial, title, self.limits, recipe_file, overrides, target, folder / recipe_name(trial))
        for file in set(folder.glob("trial-*.yaml")) - {folder / recipe_name(trial) for trial in self.front}:
            file.unlink(missing_ok=True)
        write_atomic(self.folder / "front.json", json.dumps(self.as_json(), indent=1, ensure_ascii=False) + "\n")


def recipe_name(trial: Trial) -> str:
    return f"trial-{trial.number:03d}.yaml"


def why_not(trials: Sequence[Trial], ruled_out: Sequence[RuledOut]) -> dict[str, int]:
    """Why trials did not come to an end, and how many did not for that reason; choices that a target rules out by
    themselves, which no trial drew, with 0."""
    reasons = Counter[str]()
    for found in ruled_out:
        reasons[f"{found.key} {found.choice} left out: {found.reason}"] = 0
    for trial in trials:
        if trial.state == "failed":
            reasons[f"failed: {trial.message}"] += 1
        elif trial.state == "skipped":
            reasons[f"skipped before training: over the budget of {' and '.join(map(name, trial.missed))}"] += 1
        elif trial.state == "pruned":
            reasons["given up: others that cost no more learned faster"] += 1
    return dict(reasons)


def _as_json(trial: Trial) -> dict[str, Any]:
    return {**dataclasses.asdict(trial), "feasible": trial.feasible}
