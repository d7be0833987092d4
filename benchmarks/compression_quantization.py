"""INT8 on Fashion-MNIST, of two students in both formats: as it comes, repaired without training, and trained for it.

Accuracy is on the 10,000 test images over the seeds; sizes, latency and what the runtimes run in 8 bits are those of
the first seed's files, timed in turn with their float32 files.
"""

import statistics
from pathlib import Path
from typing import Any

from benchmarks.compression_speed import ratio
from benchmarks.fashion import FAMILIES, RECIPE, SETTINGS, STUDENTS, Taught, taught
from benchmarks.record import Bar, asked, kept_or_scratch, write_result
from pipeline.aware.repair import repair
from pipeline.aware.train import train_aware
from pipeline.coverage import cover
from pipeline.files import Networks, make_files, static_scheme
from pipeline.metrics import agreement
from pipeline.plan import make_plan
from pipeline.results import NetworkResult, TargetFile
from pipeline.settings.release import AwareSettings, QuantizeSettings
from pipeline.validate import validate
from targets.runtimes.base import RuntimeOptions

TARGET = "pixel8"
WAYS: dict[str, QuantizeSettings] = {
    "plain": QuantizeSettings(),
    "repaired": QuantizeSettings(equalize=True, round="adaround", correct_biases=True),
    "aware": QuantizeSettings(aware=AwareSettings()),
}
SEEDS = 3
WANTED = {"repaired": 0.2, "aware": 0.1}  # points that it may lose


def ready_for_8_bits(found: Taught, settings: QuantizeSettings) -> NetworkResult | None:
    """The student that the files of 8 bits are made of, where it is not the float student."""
    if settings.aware is not None:
        distilling = found.recipe.distill
        return train_aware(
            found.data, found.student, found.teacher, found.cache, settings.aware, distilling, found.context
        )
    return repair(found.data, found.student, settings, found.context) if settings.repairs else None


def files_of(found: Taught, settings: QuantizeSettings) -> dict[str, list[TargetFile]]:
    """Of each runtime the float32 file and that of 8 bits, judged on the test split."""
    recipe = found.recipe.model_copy(update={"quantize": settings})
    (target,) = make_plan(recipe, (TARGET,)).targets
    ready = ready_for_8_bits(found, settings)
    networks = Networks(
        found.data, found.data, found.teacher, 0, found.naive, (found.student,),
        {} if ready is None else {target.quantization.granularity: ready},
    )  # fmt: skip
    files = {}
    static = static_scheme(recipe, target, networks, found.context)
    made = make_files(recipe, target, networks, static, found.context)
    for plan, group in zip(target.files, made, strict=True):
        files[plan.runtime.name] = [
            TargetFile(file, validate(file, found.data, found.student, plan.options, found.context), None, False)
            for file in group
        ]
    return files


def agree(files: dict[str, list[TargetFile]], place: int) -> float:
    first, second = (judged[place].accuracy for judged in files.values())
    return agreement(first.scores, second.scores)


def one_family(sets: tuple[str, ...], seeds: int, rounds: int, folder: Path, quick: bool) -> dict[str, Any]:
    accuracy: dict[str, Any] = {"naive": [], "student": []}
    agreements: dict[str, list[float]] = {}
    files: dict[str, Any] = {}
    for seed in range(seeds):
        found = taught(folder, seed, *sets, quick=quick)
        accuracy["naive"].append(100 * found.naive.accuracy.value)
        accuracy["student"].append(100 * found.student.accuracy.value)
        for way, settings in WAYS.items():
            made = files_of(found, settings)
            for runtime, (float32, int8) in made.items():
                accuracy.setdefault(f"{runtime} float32", {})[seed] = 100 * float32.accuracy.accuracy.value
                accuracy.setdefault(f"{runtime} {way}", {})[seed] = 100 * int8.accuracy.accuracy.value
                if seed == 0:
                    options = RuntimeOptions(runtime, 1)  # type: ignore[arg-type]
                    both = [float32.export, int8.export]
                    files[f"{runtime} {way}"] = {
                        **ratio(found.data, both, options, rounds, folder),
                        "share_in_8_bits": cover(int8.export, options, found.context).share,
                    }
            agreements.setdefault(way, []).append(agree(made, 1))
            print(sets, f"seed {seed} {way}", {r: round(f[1].accuracy.accuracy.value, 4) for r, f in made.items()},
                  round(agreements[way][-1], 4), flush=True)  # fmt: skip
    listed = {name: list(values.values()) if isinstance(values, dict) else values for name, values in accuracy.items()}
    return {"settings": list(sets), "accuracy": listed, "agreement": agreements, "files": files}


def bars_of(family: str, found: dict[str, Any]) -> list[Bar]:
    means = {name: statistics.mean(values) for name, values in found["accuracy"].items()}
    bars = []
    for runtime in ("litert", "onnxruntime"):
        for way, points in WANTED.items():
            lost = means[f"{runtime} float32"] - means[f"{runtime} {way}"]
            bars.append(Bar(f"{family}, {runtime}, {way}: points lost to float32", lost, "<=", points))
        for way in WANTED:
            more = means[f"{runtime} {way}"] - means["naive"]
            bars.append(Bar(f"{family}, {runtime}, {way}: points above the naive float32 student", more, ">=", 0))
    for way in WANTED:
        share = statistics.mean(found["agreement"][way])
        bars.append(Bar(f"{family}, {way}: ONNX and TFLite agree", share, ">=", 0.99))
    return bars


def main() -> None:
    options = asked()
    seeds, rounds = (1, 1) if options.quick else (SEEDS, 5)
    figures: dict[str, Any] = {
        "recipe": RECIPE.stem, "settings": [*SETTINGS, *STUDENTS], "target": TARGET,
        "ways": {name: settings.model_dump(exclude_none=True) for name, settings in WAYS.items()}, "families": {},
    }  # fmt: skip
    bars = []
    with kept_or_scratch(options.keep) as folder:
        for family, sets in FAMILIES.items():
            figures["families"][family] = one_family(sets, seeds, rounds, folder, options.quick)
            bars += bars_of(family, figures["families"][family])
    write_result("compression-quantization", figures, bars, options.quick)


if __name__ == "__main__":
    main()
