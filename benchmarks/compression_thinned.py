"""What of the latency is left with what is left of the multiply-accumulates: a MobileNetV2, 128 px, pruned to a half, a
quarter and a tenth of them, in multiples of 8 channels, in float32 and INT8; and which multiples kernels like: half of
them in multiples of 1, 4, 8 and 16. On this host by the clock, in turns, one thread; on ARM cores, emulated, by the
instructions of one inference in LiteRT (needs what `edgepress targets install-emulator` gets).

Time does not depend on what a network has learned, so the weights are drawn.
"""

import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.compression_speed import RECIPE, SETTINGS, TARGET
from benchmarks.judging import CORES, instructions, turns
from benchmarks.record import Bar, quick_asked, scratch, write_result
from pipeline.context import RunContext
from pipeline.files import Networks, make_files, static_scheme
from pipeline.networks import load_network
from pipeline.plan import TargetPlan, make_plan
from pipeline.pruning.candidate import candidate
from pipeline.pruning.ladder import down_to_goal, ladder
from pipeline.recipe import Recipe, load_recipe
from pipeline.results import PreparedData
from pipeline.run import train
from pipeline.settings.prune import PruneSettings
from pipeline.store import Store
from targets.runtimes.base import RuntimeOptions

STUDENT = ("student.family=mobilenetv2", "image.size=128")
SHARES = (0.5, 0.25, 0.1)
MULTIPLES = (1, 4, 8, 16)
SCHEMES = {"float32": 0, "int8": -1}  # where a scheme's file stands among those of a runtime
ROUNDS, RUNS = 15, 30

Thinned = tuple[float, int]  # the share that is left, and the multiples


def thinned(recipe: Recipe, networks: Networks, thin: Thinned, folder: Path) -> tuple[Networks, int]:
    """The networks with a student of that share of the multiply-accumulates, and how many these are."""
    student = networks.student
    assert student.macs is not None
    settings = PruneSettings(macs=thin[0], importance="magnitude_l2", round_to=thin[1])
    rungs = ladder(load_network(student).eval(), networks.data, student.architecture, settings, recipe.seed)
    rung = down_to_goal(rungs, student.macs, student.parameters, settings)[-1]
    made = candidate(student, rung.architecture, folder, recipe.seed)
    return replace(networks, students=(*networks.students[:-1], made)), rung.macs


def files_of(
    recipe: Recipe, target: TargetPlan, networks: Networks, context: RunContext
) -> dict[tuple[str, str], Path]:
    """By runtime and scheme."""
    static = static_scheme(recipe, target, networks, context)
    made = make_files(recipe, target, networks, static, context)
    groups = {plan.runtime.name: group for plan, group in zip(target.files, made, strict=True)}
    return {
        (runtime, scheme): group[place].file for runtime, group in groups.items() for scheme, place in SCHEMES.items()
    }


def costs_of(files: dict[Thinned, dict[tuple[str, str], Path]], data: PreparedData, quick: bool) -> dict[str, Any]:
    """What each network costs, by where and in which scheme: milliseconds or instructions."""
    costs: dict[str, dict[Thinned, float]] = {}
    (first, *_) = files.values()
    for runtime, scheme in first:
        chosen = {str(thin): made[runtime, scheme] for thin, made in files.items()}
        found = turns(chosen, RuntimeOptions(runtime, 1), data, *((1, 5) if quick else (ROUNDS, RUNS)))
        costs[f"{runtime}, {scheme}, this host"] = {thin: statistics.median(found[str(thin)]) for thin in files}
    for core in CORES[: 1 if quick else None]:
        for scheme in SCHEMES:
            counted = instructions(core, {str(thin): made["litert", scheme] for thin, made in files.items()})
            costs[f"litert, {scheme}, {core}"] = {thin: counted[str(thin)] for thin in files}
    return costs


def main() -> None:
    quick = quick_asked()
    shares, multiples = (SHARES[:1], (1, 8)) if quick else (SHARES, MULTIPLES)
    networks_wanted = [*((share, 8) for share in shares), *((SHARES[0], each) for each in multiples if each != 8)]
    recipe = load_recipe(RECIPE, (*SETTINGS, *STUDENT))
    plan = make_plan(recipe, (TARGET,))
    recipe, (target,) = plan.recipe, plan.targets
    whole = (1.0, 8)
    with scratch() as folder:
        context = RunContext(Store(folder), seed=recipe.seed)
        networks = train(recipe, context, plan.targets)
        assert networks.student.macs is not None
        macs, files = {whole: networks.student.macs}, {whole: files_of(recipe, target, networks, context)}
        for wanted in networks_wanted:
            thin, macs[wanted] = thinned(recipe, networks, wanted, folder / "thin")
            files[wanted] = files_of(recipe, target, thin, context)
        costs = costs_of(files, networks.data, quick)
    left = {
        place: {share: cost[share, 8] / cost[whole] for share in shares} for place, cost in costs.items()
    }  # fmt: skip
    per_mac = {
        place: {each: cost[SHARES[0], each] / macs[SHARES[0], each] for each in multiples}
        for place, cost in costs.items()
    }
    against = {place: {each: of[each] / of[1] for each in multiples} for place, of in per_mac.items()}
    figures: dict[str, Any] = {
        "student": list(STUDENT), "macs": {f"{share:g} in {each}": count for (share, each), count in macs.items()},
        "costs": {
            place: {f"{share:g} in {each}": value for (share, each), value in cost.items()}
            for place, cost in costs.items()
        },
        "left": left, "per_mac_against_multiples_of_1": against,
    }  # fmt: skip
    print(left, against)
    bars = [
        Bar(f"{place}: a multiply-accumulate in multiples of 8, against multiples of 1", of[8], "<=", 1)
        for place, of in against.items()
        if "int8" in place
    ]
    write_result("compression-thinned", figures, bars, quick)


if __name__ == "__main__":
    main()
