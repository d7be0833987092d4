"""What a trimmed vocabulary costs and saves: releases of TinyBERTs of 4 layers, 312 wide, for a phone, with the word
pieces that the task's texts hold."""

from pathlib import Path
from typing import Any

from benchmarks.recipes import report_of
from benchmarks.record import Bar, asked, kept_or_scratch, write_result
from benchmarks.sentiment import NARROW, RECIPE, SHORT, TEACHER

SETTINGS = (*TEACHER, *NARROW, "distill.compare_naive=false", "text.vocabulary=task")
# Rare words tell much in short reviews: with every word piece of the training split kept, smaller feed-forward layers
# pay for them.
WAYS = {
    "pieces that stand twice or more": ("text.least_count=2",),
    "every piece, feed-forward layers of 384": ("text.least_count=1", "student.feed_forward=384"),
}
HELD = "every piece, feed-forward layers of 384"  # which of them the bars are about


def release(sets: tuple[str, ...], out: Path) -> dict[str, Any]:
    """The smallest shipped file's size against the teacher's, and accuracy before and after trimming."""
    report = report_of(RECIPE, "pixel8", sets, out, "--no-latency")
    shipped = [file for file in report["files"] if file["shipped"]]
    accuracies = {
        role: 100 * report["networks"][role]["accuracy"]["value"] for role in ("teacher", "student", "trimmed")
    }
    return {
        "accuracy": accuracies,
        "points_lost": accuracies["student"] - accuracies["trimmed"],
        "files": {
            file["name"]: {
                "bytes": file["size"]["value"],
                "times_smaller": file["times_smaller_than_teacher"]["value"],
                "accuracy": file["accuracy"]["value"],
            }
            for file in shipped
        },
        "times_smaller": min(file["times_smaller_than_teacher"]["value"] for file in shipped),
    }


def main() -> None:
    options = asked()
    short = SHORT if options.quick else ()
    with kept_or_scratch(options.keep) as folder:
        ways = {}
        for name, sets in WAYS.items():
            ways[name] = release((*SETTINGS, *sets, *short), folder)
            print(name, ways[name], flush=True)
    held = ways[HELD]
    figures = {
        "recipe": RECIPE.stem, "settings": list(SETTINGS),
        "ways": {name: {"settings": list(sets), **ways[name]} for name, sets in WAYS.items()}, "bars_are_about": HELD,
    }  # fmt: skip
    bars = [
        Bar(
            "texts: times that the trimmed INT8 files are smaller than MiniLM in float32",
            held["times_smaller"],
            ">=",
            12,
        ),
        Bar("texts: points lost by trimming the vocabulary", held["points_lost"], "<=", 0.5),
    ]
    write_result("distillation-vocabulary", figures, bars, options.quick)


if __name__ == "__main__":
    main()
