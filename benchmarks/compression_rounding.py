"""Which multiples of channels kernels like: a MobileNetV2 pruned to half of its multiply-accumulates in multiples of 1,
4, 8 and 16, in INT8, 128 px. On this host by the clock, in turns, one thread; on ARM cores, emulated, by the
instructions of one inference in LiteRT (needs what `edgepress targets install-emulator` gets).

Time does not depend on what a network has learned, so the weights are drawn.
"""

import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.compression_speed import RECIPE, SETTINGS, TARGET
from benchmarks.judging import turns
from benchmarks.record import Bar, quick_asked, scratch, write_result
from pipeline.bench import made_up_feeds
from pipeline.context import RunContext
from pipeline.files import Networks, make_files, static_scheme
from pipeline.networks import load_network
from pipeline.plan import TargetPlan, make_plan
from pipeline.pruning.candidate import candidate
from pipeline.pruning.ladder import down_to_goal, ladder
from pipeline.recipe import Recipe, load_recipe
from pipeline.run import train
from pipeline.settings.prune import PruneSettings
from pipeline.store import Store
from targets.emulator.cores import emulated_core
from targets.runners.emulated import EmulatedRunner
from targets.runtimes.base import RuntimeOptions

STUDENT = ("student.family=mobilenetv2", "image.size=128")
SHARE = 0.5
MULTIPLES = (1, 4, 8, 16)
CORES = ("cortex-a53", "cortex-a76")  # without dot-product instructions and with them
ROUNDS, RUNS = 15, 30


def thinned(recipe: Recipe, networks: Networks, multiple: int, folder: Path) -> tuple[Networks, int]:
    """The networks with a student of `SHARE` of the multiply-accumulates, and how many these are."""
    student = networks.student
    assert student.macs is not None
    settings = PruneSettings(macs=SHARE, importance="magnitude_l2", round_to=multiple)
    rungs = ladder(load_network(student).eval(), networks.data, student.architecture, settings, recipe.seed)
    rung = down_to_goal(rungs, student.macs, student.parameters, settings)[-1]
    thin = candidate(student, rung.architecture, folder, recipe.seed)
    return replace(networks, students=(*networks.students[:-1], thin)), rung.macs


def int8_files(
    recipe: Recipe, target: TargetPlan, networks: Networks, context: RunContext
) -> dict[str, Path]:  # by runtime
    static = static_scheme(recipe, target, networks, context)
    made = make_files(recipe, target, networks, static, context)
    return {plan.runtime.name: group[-1].file for plan, group in zip(target.files, made, strict=True)}


def instructions(core: str, files: dict[int, Path]) -> dict[int, float]:
    runner, options = EmulatedRunner(emulated_core(core)), RuntimeOptions("litert", 1, "xnnpack")
    return {each: runner.count(file, options, made_up_feeds(file, options)).total for each, file in files.items()}


def main() -> None:
    quick = quick_asked()
    multiples = (1, 8) if quick else MULTIPLES
    recipe = load_recipe(RECIPE, (*SETTINGS, *STUDENT))
    plan = make_plan(recipe, (TARGET,))
    recipe, (target,) = plan.recipe, plan.targets
    with scratch() as folder:
        context = RunContext(Store(folder), seed=recipe.seed)
        networks = train(recipe, context, plan.targets)
        macs, files = dict[int, int](), dict[int, dict[str, Path]]()
        for multiple in multiples:
            thin, macs[multiple] = thinned(recipe, networks, multiple, folder / "thin")
            files[multiple] = int8_files(recipe, target, thin, context)
        costs: dict[str, dict[int, float]] = {}
        for runtime in files[1]:
            of_runtime = {str(each): made[runtime] for each, made in files.items()}
            times = turns(of_runtime, RuntimeOptions(runtime, 1), networks.data, *((1, 5) if quick else (ROUNDS, RUNS)))
            costs[f"{runtime}, this host, ms"] = {each: statistics.median(times[str(each)]) for each in multiples}
        for core in CORES[: 1 if quick else None]:
            costs[f"litert, {core}, instructions"] = instructions(
                core, {each: made["litert"] for each, made in files.items()}
            )
    figures: dict[str, Any] = {"student": list(STUDENT), "macs": macs, "costs": costs}
    each_mac = {place: {each: cost[each] / macs[each] for each in multiples} for place, cost in costs.items()}
    figures["per_mac_against_1"] = {
        place: {each: of[each] / of[1] for each in multiples} for place, of in each_mac.items()
    }
    print(figures["per_mac_against_1"])
    bars = [
        Bar(f"{place}: a multiply-accumulate in multiples of 8, against multiples of 1", of[8], "<=", 1)
        for place, of in figures["per_mac_against_1"].items()
    ]
    write_result("compression-rounding", figures, bars, quick)


if __name__ == "__main__":
    main()
