"""What three targets that share a student cost against one target, latency left out."""

from benchmarks.record import Bar, edgepress, quick_asked, scratch, write_result

TARGETS = ("pixel8", "rpi4", "coral_dev")
SHORT = (
    "teacher.epochs=1",
    "distill.epochs=1",
    "prune.macs=1",
    "distill.compare_naive=false",
    "data.limit=500",
)


def seconds_for(targets: tuple[str, ...], quick: bool) -> float:
    """A run from nothing, in a store of its own."""
    with scratch() as out:
        names = [word for name in targets for word in ("--target", name)]
        sets = [word for setting in SHORT if quick for word in ("--set", setting)]
        ended = edgepress("run", "recipes/digits-mobilenet.yaml", *names, *sets, "--no-latency", "--out", str(out))
    if ended.code not in (0, 1):
        raise SystemExit(ended.output)
    return ended.seconds


def main() -> None:
    quick = quick_asked()
    rounds = 1 if quick else 2
    one, three = [], []
    for _ in range(rounds):  # in turn, so that both see the same machine
        one.append(seconds_for(TARGETS[:1], quick))
        three.append(seconds_for(TARGETS, quick))
    ratios = [b / a for a, b in zip(one, three, strict=True)]
    figures = {
        "targets": list(TARGETS),
        "one_target_seconds": one,
        "three_targets_seconds": three,
        "ratios": ratios,
    }
    worst = Bar("three targets against one, worst ratio of total time", max(ratios), "<=", 1.3)
    write_result("main-targets", figures, [worst], quick)


main()
