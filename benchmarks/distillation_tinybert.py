"""TinyBERTs on Rotten Tomatoes: narrow and full-width students, by labels alone, by answers, by layers; and what a
trimmed vocabulary costs and saves. MiniLM is trained to its strength first.

All students of one width have the same start and the same epochs on the labelled data.
"""

import json
import statistics
from dataclasses import replace
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
TEACHER = ("teacher.epochs=2", "teacher.learning_rate=0.00007", "teacher.regularization.ema=0.99")
FULL = ("student.layers=4", "distill.epochs=4")
NARROW = (
    *FULL, "student.hidden=312", "student.heads=12", "student.feed_forward=1200", "distill.learning_rate=0.0003",
)  # fmt: skip
EMBEDDINGS = (*NARROW, "student.start=embeddings")
LAYERS = "distill.layers={method: tinybert, epochs: 5, weight: 0, learning_rate: 0.0007}"
# By what the student starts from. The first start is held against its twin on labels alone, the others against MiniLM.
ALONE = "labels alone"
WAYS: dict[str, dict[str, tuple[str, ...]]] = {
    "narrow, embeddings projected": {
        ALONE: EMBEDDINGS,
        "answers": EMBEDDINGS,
        "layers": (*EMBEDDINGS, LAYERS),
    },
    "narrow, layers projected": {"answers": NARROW},
    "full width, four of its layers": {"answers": FULL},
}
SEEDS = 3  # of the best way of the first start and of its twin; one of every other
SHORT = ("data.limit=300", "teacher.epochs=1", "distill.epochs=1")
# Every word piece of the training split stays: reviews are short, and rare words tell much. The feed-forward layers of
# a narrow student pay for it.
TRIM = ("text.vocabulary=task", "text.least_count=1", "student.feed_forward=384")


def student_of(sets: tuple[str, ...], naive: bool, seed: int, folder: Path) -> tuple[NetworkResult, NetworkResult]:
    """The teacher and a student; what they share is found in the store."""
    recipe = load_recipe(RECIPE, (*TEACHER, *sets))
    shared = RunContext(Store(folder), seed=recipe.seed, compute=recipe.compute)
    data = prepare(recipe.data, recipe.task, recipe.image, recipe.text, teacher_tokenizer(recipe.teacher), shared)
    teacher = teach(data, recipe.teacher, shared)
    seeded = replace(shared, seed=seed)
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
    short = SHORT if options.quick else ()
    tests: dict[str, dict[str, list[float]]] = {start: {} for start in WAYS}
    judged: dict[str, dict[str, float]] = {start: {} for start in WAYS}  # on the validation split, of seed 0
    with kept_or_scratch(options.keep) as folder:

        def learn(start: str, way: str, seed: int) -> NetworkResult:
            sets = (*WAYS[start][way], *short)
            teacher, student = student_of(sets, way == ALONE, seed, folder / "store")
            tests[start].setdefault(way, []).append(100 * student.accuracy.value)
            judged[start].setdefault(way, 100 * student.validation_accuracy)
            print(f"{start}, {way}, seed {seed}: {tests[start][way][-1]:.2f}", flush=True)
            return teacher

        for start, ways in WAYS.items():
            for way in ways:
                teacher = learn(start, way, 0)
        best = {
            start: max((way for way in ways if way != ALONE), key=judged[start].__getitem__)
            for start, ways in WAYS.items()
        }
        twins, narrow, full = WAYS
        for seed in range(1, 1 if options.quick else SEEDS):
            learn(twins, ALONE, seed)
            learn(twins, best[twins], seed)
        smaller = trimmed((*NARROW, "distill.compare_naive=false", *short), folder / "trimmed")
    top = 100 * teacher.accuracy.value
    points, noise = gain(tests[twins][best[twins]], tests[twins][ALONE])
    kept = {start: statistics.mean(tests[start][best[start]]) / top for start in WAYS}
    narrower = max((twins, narrow), key=lambda start: judged[start][best[start]])
    figures: dict[str, Any] = {
        "recipe": RECIPE.stem, "settings": {start: {way: list(sets) for way, sets in ways.items()}
                                            for start, ways in WAYS.items()},
        "teacher": {"settings": list(TEACHER), "accuracy": top}, "accuracy": tests, "validation_accuracy": judged,
        "best": best, "kept": kept, "gain": {"start": twins, "points": points, "noise": noise},
        "trimmed": {"settings": [*NARROW, *TRIM], **smaller},
    }  # fmt: skip
    bars = [
        Bar(f"texts: points that the teacher brings a student, {twins} ({best[twins]})", points, ">=", 2.5),
        Bar(f"texts: share of MiniLM's accuracy kept, {narrower}", kept[narrower], ">=", 0.97),
        Bar(f"texts: share of MiniLM's accuracy kept, {full}", kept[full], ">=", 0.99),
        Bar("texts: times that the trimmed INT8 file is smaller than MiniLM", smaller["times_smaller"], ">=", 12),
        Bar("texts: points lost by trimming the vocabulary", smaller["points_lost"], "<=", 0.5),
    ]
    write_result("distillation-tinybert", figures, bars, options.quick)


if __name__ == "__main__":
    main()
