"""What MiniLM brings a TinyBERT of 4 layers, 312 wide, that starts from its embeddings alone: labels, answers, layers,
at equal epochs on the labelled data, over seeds."""

import statistics
from typing import Any

from benchmarks.modes import gain
from benchmarks.record import Bar, asked, kept_or_scratch, write_result
from benchmarks.sentiment import NARROW, RECIPE, SHORT, TEACHER, student_of

ALONE = "labels alone"
START = (*NARROW, "student.start=embeddings")
LAYERS = "distill.layers={method: tinybert, epochs: 5, weight: 0, learning_rate: 0.0007}"
WAYS: dict[str, tuple[str, ...]] = {ALONE: START, "answers": START, "layers": (*START, LAYERS)}
SEEDS = 3  # of the way that is best on the validation split, and of labels alone; one of the other


def main() -> None:
    options = asked()
    short = SHORT if options.quick else ()
    tests: dict[str, list[float]] = {way: [] for way in WAYS}
    judged: dict[str, float] = {}  # on the validation split, of seed 0
    with kept_or_scratch(options.keep) as folder:

        def learn(way: str, seed: int) -> float:
            teacher, student = student_of((*WAYS[way], *short), way == ALONE, seed, folder / ".store")
            tests[way].append(100 * student.accuracy.value)
            judged.setdefault(way, 100 * student.validation_accuracy)
            print(f"{way}, seed {seed}: {tests[way][-1]:.2f}", flush=True)
            return 100 * teacher.accuracy.value

        for way in WAYS:
            top = learn(way, 0)
        best = max((way for way in WAYS if way != ALONE), key=judged.__getitem__)
        for seed in range(1, 1 if options.quick else SEEDS):
            learn(ALONE, seed)
            learn(best, seed)
    points, noise = gain(tests[best], tests[ALONE])
    figures: dict[str, Any] = {
        "recipe": RECIPE.stem, "settings": {way: list(sets) for way, sets in WAYS.items()},
        "teacher": {"settings": list(TEACHER), "accuracy": top}, "accuracy": tests, "validation_accuracy": judged,
        "mean_accuracy": {way: statistics.mean(values) for way, values in tests.items()},
        "best": best, "gain": {"points": points, "noise": noise},
    }  # fmt: skip
    bars = [
        Bar(f"texts: points that the teacher brings a narrow student ({best}), mean of the seeds", points, ">=", 2.5)
    ]
    write_result("distillation-tinybert", figures, bars, options.quick)


if __name__ == "__main__":
    main()
