"""How soon `edgepress --help` answers."""

import statistics

from benchmarks.record import Bar, edgepress, quick_asked, write_result


def main() -> None:
    quick = quick_asked()
    runs = [edgepress("--help") for _ in range(3 if quick else 21)]
    assert all(run.code == 0 for run in runs)
    seconds = [run.seconds for run in runs[1:]]  # the first reads the disk
    figures = {"help_seconds": seconds}
    write_result(
        "main-startup",
        figures,
        [Bar("edgepress --help, median seconds", statistics.median(seconds), "<=", 0.4)],
        quick,
    )


main()
