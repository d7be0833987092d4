"""What a search found: the trials, the best of those that keep to the budgets, and the files that tell of them."""

import csv
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from pipeline.recipe import read_recipe, set_setting
from pipeline.search.space import remove_setting
from pipeline.settings.teacher import FILE_FORMATS
from pipeline.store import write_atomic
from pipeline.words import short

State = Literal["done", "pruned", "skipped", "failed", "running"]

# Of the figures by their budgets' keys; the others are in ms.
UNITS = {"size_mb": "MB", "peak_mem_mb": "MB", "instructions_m": "million"}
RATIO = "latency_ratio"  # the figure that has no unit, and no budget: in a search over the front


@dataclass(frozen=True)
class Trial:
    """One try. `accuracy` in [0, 1] is that of the validation split: of a trial that is done, the worst of the files
    that ship; of a pruned one, the student's when it was given up; a skipped one, whose costs alone ruled it out, was
    never trained. `figures` are the costs of the worst file, by the keys of their budgets; `excess` is by which share
    of a budget each is over it, not above 0 where it is kept. `unset`: settings that were left to their defaults."""

    number: int
    state: State
    values: dict[str, Any]
    accuracy: float | None = None
    figures: dict[str, float] = field(default_factory=dict)
    excess: dict[str, float] = field(default_factory=dict)
    message: str = ""
    unset: tuple[str, ...] = ()

    @property
    def feasible(self) -> bool:
        return self.state == "done" and all(over <= 0 for over in self.excess.values())

    @property
    def missed(self) -> tuple[str, ...]:
        """The budgets that it is over."""
        return tuple(key for key, over in self.excess.items() if over > 0)


def best_trial(trials: Sequence[Trial]) -> Trial | None:
    """The most accurate of those that keep to the budgets; of equals the smallest, then the first."""
    fitting = [trial for trial in trials if trial.feasible]
    return max(fitting, key=lambda t: (t.accuracy or 0.0, -t.figures["size_mb"], -t.number), default=None)


def closest_trial(trials: Sequence[Trial]) -> Trial | None:
    """The trial that is over its budgets by least, trained or not."""
    done = [trial for trial in trials if trial.state in ("done", "skipped")]
    return min(done, key=lambda t: (sum(max(over, 0) for over in t.excess.values()), t.number), default=None)


def describe(trial: Trial, limits: Mapping[str, float]) -> str:
    """Accuracy and costs on one line, with the budgets that are missed."""
    if trial.state == "failed":
        return f"failed: {trial.message}"
    accuracy = "no accuracy" if trial.accuracy is None else f"{trial.accuracy:.2%} on the validation split"
    if trial.state == "skipped":
        accuracy = "skipped before training"
    elif trial.state != "done":
        return f"{trial.state} at {accuracy}"
    typical = "latency_ms.p50" if RATIO in trial.figures else "latency_ms.p90"
    shown = {key: trial.figures[key] for key in trial.figures if key in ("size_mb", typical, *limits)}
    costs = [f"{name(key)} {short(value)} {UNITS.get(key, 'ms')}" for key, value in shown.items()]
    over = [f"over the {name(key)} budget of {limits[key]:g} {UNITS.get(key, 'ms')}" for key in trial.missed]
    return ", ".join([accuracy, *costs, *over])


def name(key: str) -> str:
    """A budget's key in words: `size`, `latency p90`, `cold start`, `peak memory`, `instructions`."""
    words = {
        "size_mb": "size", "cold_start_ms": "cold start", "peak_mem_mb": "peak memory", "instructions_m": "instructions"
    }  # fmt: skip
    return words.get(key, key.replace("latency_ms.", "latency "))


def write_best(
    trials: Sequence[Trial],
    limits: Mapping[str, float],
    recipe_file: Path,
    overrides: tuple[str, ...],
    target: str,
    folder: Path,
) -> Path | None:
    """`best.yaml` in `folder`, which is named for the target: the best trial's recipe (`write_recipe`). None, and no
    such file, while no trial keeps to the budgets."""
    file, best = folder / "best.yaml", best_trial(trials)
    if best is None:
        file.unlink(missing_ok=True)
        return None
    counts = ", ".join(f"{count} {state}" for state, count in count_states(trials).items())
    title = f"The best of {trials_of(trials)} for {folder.name} ({counts}): trial {best.number}."
    write_recipe(best, title, limits, recipe_file, overrides, target, file)
    return file


def write_recipe(
    trial: Trial,
    title: str,
    limits: Mapping[str, float],
    recipe_file: Path,
    overrides: tuple[str, ...],
    target: str,
    file: Path,
) -> None:
    """`file`: the recipe as its author wrote it with the trial's values, for `target` alone; paths in it lead from its
    own folder to where they led."""
    content = _relative(*read_recipe(recipe_file, overrides), file.parent.resolve())
    content.pop("search", None)
    for key in trial.unset:
        remove_setting(content, key)
    for key, value in trial.values.items():
        set_setting(content, key, value)
    content["targets"] = [target]
    head = [
        title,
        "Accuracy is the shipped file's, the worst where several ship; the test split had no part in the choice.",
        f"{describe(trial, limits)}.",
        *(f"Budget: {name(key)} at most {limit:g} {UNITS.get(key, 'ms')}." for key, limit in limits.items()),
        "Paths are relative to this file.",
    ]
    comments = "".join(f"# {line}\n" for line in head)
    write_atomic(file, comments + yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120))


def trials_of(trials: Sequence[Trial]) -> str:
    return "1 trial" if len(trials) == 1 else f"{len(trials)} trials"


def count_states(trials: Sequence[Trial]) -> dict[str, int]:
    """How many trials ended how; those that are done but over a budget count apart."""
    names = [f"{t.state}" if t.state != "done" or t.feasible else "over budget" for t in trials]
    return {state: names.count(state) for state in dict.fromkeys(names)}


def _relative(written: Any, resolved: Any, folder: Path) -> Any:
    """`resolved` with each string that resolving changed, so that it is a path, made relative to `folder`."""
    if isinstance(resolved, dict):
        return {key: _relative(written[key], value, folder) for key, value in resolved.items()}
    if isinstance(resolved, list):
        return [_relative(before, value, folder) for before, value in zip(written, resolved, strict=True)]
    if resolved == written:
        return resolved
    start, colon, path = resolved.partition(":")
    if colon and start in FILE_FORMATS:
        return f"{start}:{os.path.relpath(path, folder)}"
    found = os.path.relpath(resolved, folder)
    return found if found.startswith(".") else f"./{found}"


def write_trials(trials: Sequence[Trial], folder: Path, file_name: str = "trials.csv") -> Path:
    """`trials.csv`: a line a trial, empty where there is nothing to say."""
    figures = sorted({key for trial in trials for key in trial.figures})
    settings = list(dict.fromkeys(key for trial in trials for key in trial.values))
    stream = io.StringIO()
    table = csv.writer(stream, lineterminator="\n")
    table.writerow(["trial", "state", "within_budgets", "validation_accuracy", *figures, *settings, "message"])
    for trial in trials:
        within = str(trial.feasible).lower() if trial.state == "done" else ""
        costs = [trial.figures.get(key) for key in figures]
        chosen = [trial.values.get(key) for key in settings]
        table.writerow([trial.number, trial.state, within, trial.accuracy, *costs, *chosen, trial.message])
    file = folder / file_name
    write_atomic(file, stream.getvalue())
    return file
