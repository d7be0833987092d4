"""What MiniLM brings a TinyBERT of 4 layers, 312 wide, that starts from its embeddings alone: labels, answers, layers,
over seeds. Learning from layers takes a phase of its own before the labelled one; so labels alone are given as many
epochs as both phases too. Of the ways with a teacher the one that is best on the validation split is compared, with
whichever way without does better in the end."""

import statistics
from typing import Any

from benchmarks.modes import gain
from benchmarks.record import Bar, asked, kept_or_scratch, write_result
from benchmarks.sentiment import NARROW, RECIPE, SHORT, TEACHER, student_of

ALONE, LONGER = "labels alone", "labels alone, as many epochs as both phases"
START = (*NARROW, "student.start=embeddings")
LAYERS = "distill.layers={method: tinybert, epochs: 5, weight: 0, learning_rate: 0.0007}"
WAYS: dict[str, tuple[str, ...]] = {
    ALONE: START, LONGER: (*START, "distill.epochs=9"), "answers": START, "layers": (*START, LAYERS)
}  # fmt: skip
UNTAUGHT = (ALONE, LONGER)
SEEDS = 3  # of the ways that are compared; one of the others


def main() -> None:
    options = asked()
    short = SHORT if options.quick else ()
    tests: dict[str, list[float]] = {way: [] for way in WAYS}
    judged: dict[str, float] = {}  # on the validation split, of seed 0
    with kept_or_scratch(options.keep) as folder:

        def learn(way: str, seed: int) -> float:
            teacher, student = student_of((*WAYS[way], *short), way in UNTAUGHT, seed, folder / ".store")
            tests[way].append(100 * student.accuracy.value)
            judged.setdefault(way, 100 * student.validation_accuracy)
            print(f"{way}, seed {seed}: {tests[way][-1]:.2f}", flush=True)
            return 100 * teacher.accuracy.value

        for way in WAYS:
            top = learn(way, 0)
        best = max((way for way in WAYS if way not in UNTAUGHT), key=judged.__getitem__)
        for seed in range(1, 1 if options.quick else SEEDS):
            for way in (*UNTAUGHT, best):
                learn(way, seed)
    alone = max(UNTAUGHT, key=lambda way: statistics.mean(tests[way]))
    points, noise = gain(tests[best], tests[alone])
    figures: dict[str, Any] = {
        "recipe": RECIPE.stem, "settings": {way: list(sets) for way, sets in WAYS.items()},
        "teacher": {"settings": list(TEACHER), "accuracy": top}, "accuracy": tests, "validation_accuracy": judged,
        "mean_accuracy": {way: statistics.mean(values) for way, values in tests.items()},
        "best": best, "against": alone, "gain": {"points": points, "noise": noise},
    }  # fmt: skip
    bars = [
        Bar(f"texts: points that the teacher ({best}) brings a narrow student, mean of the seeds", points, ">=", 2.5)
    ]
    write_result("distillation-tinybert", figures, bars, options.quick)


if __name__ == "__main__":
    main()
