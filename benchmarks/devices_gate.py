"""How often the latency gate errs: on simulated devices whose latency is known, and on this host, where the verdicts on
one bundle must agree.

Of a device that is exactly on its budget as many runs are over it as the percentile allows: it must not pass. One that
is clearly within must, one clearly beyond must not, and how many runs that takes is told. A bundle may be given; else
the digits recipe makes one.
"""

import argparse
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy.signal import lfilter
from scipy.stats import beta, norm

from benchmarks.record import Bar, edgepress, kept_or_scratch, remembered, scratch, write_result
from pipeline.gate import decide
from pipeline.gating.predicted_budget import LATENCY
from pipeline.golden import GOLDEN_FILES, golden_feeds
from pipeline.integrity import REPORT, read_json
from targets.latency import PERCENTILES, early_stopping, stop_rule, summarise
from targets.machine import available_cores
from targets.profile import Budgets, Measure
from targets.runners.host import measure

TRIALS, REPEATS = 1000, 20
SEED = 0
TOGETHER = 25  # trials that one process makes at a time
SHARE = 0.90
CONFIDENCE = Budgets().confidence
PLAN = Measure()
WITHIN, BEYOND = 0.02, 0.25  # shares of runs over the budget of a device clearly within it, and clearly beyond it
HOT = 100  # runs until the drifting device has slowed down to the latency that counts
ALIKE = 0.9  # correlation of each run with the next
NEAR = (0.8, 1.25)  # budgets, as shares of a file's p90: closer than those that a profile sets
TOLD = {True: "pass", False: "fail", None: "undecided"}

# Standard normal numbers, float64 [runs], as latencies in ms.
Device = Callable[[np.ndarray], np.ndarray]


def normal(z: np.ndarray) -> np.ndarray:
    return 10 + 0.5 * z


def lognormal(z: np.ndarray) -> np.ndarray:
    return 10 * np.exp(0.3 * z)


def bimodal(z: np.ndarray) -> np.ndarray:
    """Two clocks: one run in five takes half as long again. Rises with `z`, so that a share of `z` is one of runs."""
    return 10 + 0.2 * z + 5.0 * (z > norm.isf(0.2))


def drifting(z: np.ndarray) -> np.ndarray:
    """A fifth quicker until it is hot."""
    return lognormal(z / 3) * (0.8 + 0.2 * np.minimum(np.arange(len(z)) / HOT, 1.0))


def wandering(numbers: np.ndarray) -> np.ndarray:
    """Independent standard normal numbers as a first-order autoregressive series, each again standard normal."""
    steps = numbers * np.sqrt(1 - ALIKE**2)
    steps[0] = numbers[0]
    return np.asarray(lfilter([1.0], [1.0, -ALIKE], steps))


DEVICES: dict[str, tuple[Device, Device | None]] = {
    "normal": (normal, None),
    "lognormal": (lognormal, None),
    "bimodal": (bimodal, None),
    "autocorrelated": (lognormal, wandering),
    "drifting": (drifting, None),
}
PLACES = {"on the budget": 1 - SHARE, "within": WITHIN, "beyond": BEYOND}  # shares of runs that are over the budget


def trial(device: str, place: str, number: int) -> tuple[str, int]:
    """The gate's verdict on a device of whose latencies the share of `place` is over the budget, and the runs it took.
    Every trial of every device has random numbers of its own: none repeats the luck of another."""
    over = PLACES[place]
    random = np.random.default_rng([SEED, list(DEVICES).index(device), list(PLACES).index(place), number])
    latency, series = DEVICES[device]
    numbers = random.standard_normal(PLAN.max_runs)
    samples = latency(numbers if series is None else series(numbers))
    budget = float(latency(np.full(HOT + 1, norm.isf(over)))[-1])  # of the hot device, where it drifts
    rule = stop_rule([(SHARE, budget)], CONFIDENCE, PLAN.min_runs, PLAN.max_runs)
    runs = next((runs for runs in rule.schedule if rule.ends(samples[:runs])), PLAN.max_runs)
    return early_stopping(samples[:runs], budget, SHARE, CONFIDENCE, rule.looks).outcome, runs


def simulate(device: str, trials: int, processes: int = 1) -> dict[str, Any]:
    """How often which verdict was given, and after how many runs in the mean. `pass_at_most`: of which share of passes
    so few would be seen once in twenty (Clopper and Pearson)."""
    found = {}
    for place, over in PLACES.items():
        if processes == 1:
            tried = [trial(device, place, number) for number in range(trials)]
        else:
            with ProcessPoolExecutor(processes) as pool:
                tried = list(pool.map(partial(trial, device, place), range(trials), chunksize=TOGETHER))
        verdicts = Counter(outcome for outcome, _ in tried)
        found[place] = {
            "over": over,
            **{outcome: verdicts[outcome] / trials for outcome in ("pass", "fail", "undecided")},
            "pass_at_most": 1.0
            if verdicts["pass"] == trials
            else float(beta.ppf(0.95, verdicts["pass"] + 1, trials - verdicts["pass"])),
            "mean_runs": float(np.mean([runs for _, runs in tried])),
        }
    return found


def gate_again(bundle: Path) -> dict[str, Any]:
    """The latency checks of a bundle's gate, each file measured anew on its golden inputs; and what early stopping
    makes of the same runs against budgets closer to them than the profile's."""
    report = read_json(bundle / REPORT)
    golden = read_json(bundle / GOLDEN_FILES)["files"]
    budgets = Budgets.model_validate(report["budgets"])
    plan = Measure.model_validate(report["provenance"]["profile"]["measure"])
    noise = {}
    for file in report["files"]:
        if not file["shipped"]:
            continue
        options, feeds = golden_feeds(bundle, golden[file["name"]])
        with scratch() as folder:
            found = measure(bundle / file["name"], options, feeds, plan, folder, budget=budgets)
        figures = asdict(summarise(found.samples_ms))
        file["released_p90"] = file["measured"]["latency"]["p90"]["value"]
        file["measured"] |= {
            "looks": found.looks,
            "runs": len(found.samples_ms),
            "latency": {name: {"value": ms, "unit": "ms", "source": "host"} for name, ms in figures.items()},
            "samples": {"values": found.samples_ms.tolist(), "unit": "ms", "source": "host"},
        }
        noise[file["name"]] = {"runs": len(found.samples_ms), **figures, "quiet": found.quiet and asdict(found.quiet)}
    checks = [check for check in decide(report).checks if check.name.startswith(LATENCY)]
    verdicts = {f"{check.file} {check.name}": TOLD[check.passed] for check in checks}
    return {"verdicts": verdicts, "near": near(report), "files": noise}


def near(report: dict[str, Any]) -> dict[str, str]:
    """Verdicts on the runs of a report, `NEAR` shares of the p90 that its bundle was released with being the budget."""
    verdicts = {}
    for file in report["files"]:
        for share in NEAR if file["shipped"] else ():
            samples = np.array(file["measured"]["samples"]["values"])
            budget = share * file["released_p90"]
            rule = early_stopping(samples, budget, PERCENTILES["p90"], CONFIDENCE, file["measured"]["looks"])
            verdicts[f"{file['name']} {share:g} of its p90"] = rule.outcome
    return verdicts


def agreement(repeats: list[dict[str, Any]], of: str = "verdicts") -> float:
    """Share of the repeats whose verdicts are those of most."""
    told = Counter(tuple(sorted(repeat[of].items())) for repeat in repeats)
    return max(told.values()) / len(repeats)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path, nargs="?", help="A bundle with latencies; without it, one is made.")
    parser.add_argument("--simulated", action="store_true", help="the simulated devices alone; writes no result")
    parser.add_argument("--keep", type=Path, help="leaves what was made in this folder, from where a later run goes on")
    parser.add_argument("--quick", action="store_true", help="a short form, to see that it runs; writes no result")
    options = parser.parse_args()
    trials, repeats = (20, 2) if options.quick else (TRIALS, REPEATS)
    with kept_or_scratch(options.keep) as folder:
        folder.mkdir(parents=True, exist_ok=True)
        figures, bars = simulated(folder, trials)
        if not options.simulated:
            bundle = options.bundle or made(folder)
            of = bundle.absolute().name
            figures["repeats"] = [
                remembered(folder, f"repeat-{of}-{number}", partial(gate_again, bundle)) for number in range(repeats)
            ]
            figures["agreement_near"] = agreement(figures["repeats"], "near")
            share = agreement(figures["repeats"])
            bars.append(Bar("share of repeats of the gate that agree, one bundle on this host", share, ">=", 1.0))
    write_result("devices-gate", figures, bars, options.quick or options.simulated)


def simulated(folder: Path, trials: int) -> tuple[dict[str, Any], list[Bar]]:
    """Figures and bars of all devices."""
    devices = {}
    for device in DEVICES:
        devices[device] = remembered(
            folder, f"simulated-{device}-{trials}", partial(simulate, device, trials, available_cores())
        )
        print(device, devices[device], flush=True)
    bars = [
        Bar(f"{device} latency, on its budget: share of wrong passes", found["on the budget"]["pass"], "<=", 0.01)
        for device, found in devices.items()
    ]
    figures: dict[str, Any] = {
        "trials": trials, "seed": SEED, "percentile": SHARE, "confidence": CONFIDENCE,
        "plan": PLAN.model_dump(mode="json"), "devices": devices,
    }  # fmt: skip
    return figures, bars


def made(folder: Path) -> Path:
    ended = edgepress("run", "recipes/digits-mobilenet.yaml", "--target", "host", "--out", str(folder))
    if ended.code not in (0, 1):
        raise SystemExit(ended.output)
    return folder / "digits-mobilenet" / "host"


if __name__ == "__main__":
    main()
