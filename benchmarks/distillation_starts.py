"""How much of MiniLM's accuracy a TinyBERT of 4 layers keeps that starts from its layers: as they are, or projected to
312."""

from typing import Any

from benchmarks.record import Bar, asked, kept_or_scratch, write_result
from benchmarks.sentiment import FULL, NARROW, RECIPE, SHORT, TEACHER, student_of

STARTS = {"312 wide, layers projected": (NARROW, 0.97), "four of its layers": (FULL, 0.99)}  # and the share to keep


def main() -> None:
    options = asked()
    short = SHORT if options.quick else ()
    students: dict[str, Any] = {}
    bars = []
    with kept_or_scratch(options.keep) as folder:
        for start, (sets, wanted) in STARTS.items():
            teacher, student = student_of((*sets, *short), False, 0, folder / ".store")
            kept = student.accuracy.value / teacher.accuracy.value
            students[start] = {
                "settings": list(sets), "parameters": student.parameters, "accuracy": 100 * student.accuracy.value,
                "kept": kept,
            }  # fmt: skip
            print(start, students[start], flush=True)
            bars.append(
                Bar(f"texts: share of MiniLM's accuracy that a student of 4 layers keeps, {start}", kept, ">=", wanted)
            )
    about = {"settings": list(TEACHER), "parameters": teacher.parameters, "accuracy": 100 * teacher.accuracy.value}
    figures = {"recipe": RECIPE.stem, "teacher": about, "students": students}
    write_result("distillation-starts", figures, bars, options.quick)


if __name__ == "__main__":
    main()
