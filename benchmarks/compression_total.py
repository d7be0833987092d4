"""How small and how fast a student of Fashion-MNIST may be that loses at most one point against its teacher: in 8 bits
for this computer, from all 60,000 training images: the teacher itself, thinned."""

from pathlib import Path
from typing import Any

from benchmarks.fashion import RECIPE, STRONG
from benchmarks.judging import against, rotated, turns
from benchmarks.record import Bar, asked, kept_or_scratch, write_result
from pipeline.context import RunContext
from pipeline.export.onnx import export_onnx
from pipeline.files import make_files, static_scheme
from pipeline.plan import make_plan
from pipeline.recipe import load_recipe
from pipeline.run import train
from pipeline.store import Store
from pipeline.teacher import teach
from pipeline.validate import validate
from targets.runtimes.base import RuntimeOptions

SETTINGS = (
    *STRONG, "image.size=64", "distill.batch_size=64", "distill.views=2", "distill.compare_naive=false",
    "quantize.aware={epochs: 1}",
)  # fmt: skip
STUDENTS: dict[str, tuple[str, ...]] = {
    "the teacher itself, thinned": (
        "student.family=efficientnet_lite0", "student.width=1", "student.start=layers", "prune.when=before",
        "prune.size_mb=0.39", "distill.epochs=10", "distill.learning_rate=0.003",
    ),
}  # fmt: skip
SHORT = ("data.limit=400", "teacher.epochs=1", "distill.epochs=1")
LOSS = 1.0  # points that the files may lose
ROUNDS, RUNS = 15, 30


def shipped(sets: tuple[str, ...], rounds: int, folder: Path) -> dict[str, Any]:
    """The teacher, and of each file that ships what it lost, how many times smaller it is than the teacher's float32
    ONNX file, and how many times faster it runs, on one thread each."""
    recipe = load_recipe(RECIPE, sets)
    context = RunContext(Store(folder), seed=recipe.seed)
    plan = make_plan(recipe, ("host",))
    (target,) = plan.targets
    networks = train(recipe, context, plan.targets)
    data, best = networks.data, networks.teacher.accuracy.value
    made = make_files(recipe, target, networks, static_scheme(recipe, target, networks, context), context)
    teacher = export_onnx(data, teach(data, recipe.teacher, context), target.profile.export.opset, None, context)
    running = {"teacher": ("onnxruntime", teacher)}
    running |= {
        chosen.format: (chosen.runtime.name, group[-1]) for chosen, group in zip(target.files, made, strict=True)
    }
    times: dict[str, list[float]] = {name: [] for name in running}
    for turn in range(rounds):
        for name in rotated(list(running), turn):
            runtime, file = running[name]
            times[name] += turns({name: file.file}, RuntimeOptions(runtime, 1), data, 1, RUNS)[name]
    files = {}
    for chosen, group in zip(target.files, made, strict=True):
        judged = validate(group[-1], data, networks.student, chosen.options, context)
        files[chosen.format] = {
            "accuracy": 100 * judged.accuracy.value,
            "points_lost": 100 * (best - judged.accuracy.value),
            "bytes": group[-1].bytes,
            "times_smaller": teacher.bytes / group[-1].bytes,
            "times_faster": against(times, chosen.format)["teacher"],
        }
    return {
        "teacher": {"accuracy": 100 * best, "onnx_bytes": teacher.bytes, "ms": times["teacher"]},
        "student": {"parameters": networks.student.parameters, "accuracy": 100 * networks.student.accuracy.value},
        "files": files,
    }  # fmt: skip


def main() -> None:
    options = asked()
    short, rounds = (SHORT, 1) if options.quick else ((), ROUNDS)
    students: dict[str, Any] = {}
    with kept_or_scratch(options.keep) as folder:
        for name, sets in STUDENTS.items():
            found = shipped((*SETTINGS, *sets, *short), rounds, folder)
            students[name] = found
            print(name, found["student"], found["files"], flush=True)
    fit = [
        file for found in students.values() for file in found["files"].values() if file["points_lost"] <= LOSS
    ]  # fmt: skip
    best = max(fit, key=lambda file: file["times_smaller"], default=None)
    figures = {"recipe": RECIPE.stem, "settings": list(SETTINGS), "target": "host", "students": students, "best": best}
    smaller = best["times_smaller"] if best else 0
    bar = Bar(
        f"times that the best file is smaller than the teacher's, at most {LOSS:g} points lost", smaller, ">=", 35
    )
    write_result("compression-total", figures, [bar], options.quick)


if __name__ == "__main__":
    main()
