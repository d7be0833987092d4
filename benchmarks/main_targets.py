"""What three targets that share a student cost against one target, latency left out."""

import statistics

from benchmarks.recipes import Refused, words
from benchmarks.record import Bar, edgepress, quick_asked, scratch, write_result

ROUNDS = 3
TARGETS = ("pixel8", "rpi4", "coral_dev")
# Less training than the recipe has makes what targets share cheaper, so the ratio is higher than the recipe's own.
LIGHT = ("teacher.epochs=2", "distill.epochs=4", "distill.compare_naive=false")
SHORT = ("teacher.epochs=1", "distill.epochs=1", "distill.compare_naive=false", "data.limit=500")


def seconds_for(targets: tuple[str, ...], quick: bool) -> float:
    """A run from nothing, in a store of its own."""
    with scratch() as out:
        chosen = (*words("--target", targets), *words("--set", SHORT if quick else LIGHT))
        ended = edgepress("run", "recipes/digits-mobilenet.yaml", *chosen, "--no-latency", "--out", str(out))
    if ended.code not in (0, 1):
        raise Refused(ended.output)
    return ended.seconds


def main() -> None:
    quick = quick_asked()
    one, three = [], []
    for turn in range(1 if quick else ROUNDS):  # in turn, and the other way round in the next round
        for targets, seconds in ((TARGETS[:1], one), (TARGETS, three))[:: 1 if turn % 2 == 0 else -1]:
            seconds.append(seconds_for(targets, quick))
    figures = {
        "targets": list(TARGETS),
        "one_target_seconds": one,
        "three_targets_seconds": three,
        "settings": list(LIGHT),
    }
    ratio = statistics.median(three) / statistics.median(one)
    bar = Bar("three targets against one: ratio of total time, latency left out", ratio, "<=", 1.3)
    write_result("main-targets", figures, [bar], quick)


main()
