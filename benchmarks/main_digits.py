"""The digits recipe from nothing, as `make demo` runs it: time, memory, accuracy, agreement, size."""

from benchmarks.recipes import int8_agreements, int8_files, run_recipe
from benchmarks.record import Bar, asked, write_result

SHORT = ("data.limit=500", "teacher.epochs=1", "distill.epochs=1")


def main() -> None:
    options = asked()
    found = run_recipe("digits-mobilenet", SHORT if options.quick else (), options.keep)
    files = int8_files(found)
    lost = max(file["points_lost_to_teacher"] for file in files)
    smaller = min(file["times_smaller"] for file in files)
    bars = [
        Bar("digits: minutes for `make demo` after set-up", found["seconds"] / 60, "<=", 8),
        Bar("digits: peak memory, MB", found["peak_memory_mb"], "<=", 4000),
        Bar("digits: held-out samples", found["networks"]["teacher"]["accuracy"]["total"], ">=", 1000),
        Bar("digits: most points that an INT8 file loses to the teacher", lost, "<=", 1.5),
        Bar("digits: least agreement of ONNX and TFLite INT8", min(int8_agreements(found)), ">=", 0.98),
        Bar("digits: least times that an INT8 file is smaller than the teacher's float32 ONNX", smaller, ">=", 8),
    ]
    write_result("main-digits", found, bars, options.quick)


main()
