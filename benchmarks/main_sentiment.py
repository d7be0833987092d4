"""The sentiment recipe from nothing: time, accuracy kept, size."""

from benchmarks.recipes import int8_files, run_recipe
from benchmarks.record import Bar, asked, write_result

SHORT = ("data.limit=300", "teacher.epochs=1", "distill.epochs=1")


def main() -> None:
    options = asked()
    found = run_recipe("sentiment-tinybert", SHORT if options.quick else (), options.keep)
    files = int8_files(found)
    teacher = found["networks"]["teacher"]["accuracy"]["value"]
    kept = min(file["accuracy"]["value"] for file in files) / teacher
    smaller = min(file["times_smaller"] for file in files)
    bars = [
        Bar("sentiment: minutes for the recipe", found["seconds"] / 60, "<=", 25),
        Bar("sentiment: least share of the teacher's accuracy that an INT8 file keeps", kept, ">=", 0.95),
        Bar("sentiment: least times that an INT8 file is smaller than the teacher's float32 ONNX", smaller, ">=", 4),
    ]
    write_result("main-sentiment", found, bars, options.quick)


main()
