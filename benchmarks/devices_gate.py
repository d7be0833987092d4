"""How often the latency gate errs: on simulated devices whose latency is known, and on this host, where the verdicts on
one bundle must agree.

Of a device that is exactly on its budget as many runs are over it as the percentile allows: it must not pass. One that
is clearly within must, one clearly beyond must not, and how many runs that takes is told. A bundle may be given; else
the digits recipe makes one.
"""

import argparse
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from scipy.signal import lfilter
from scipy.stats import norm

from benchmarks.record import Bar, edgepress, scratch, write_result
from pipeline.gate import decide
from pipeline.golden import GOLDEN_FILES
from pipeline.integrity import REPORT, read_json
from targets.latency import early_stopping, stop_rule, summarise
from targets.profile import Budgets, Measure
from targets.runners.host import measure
from targets.runtimes.base import RuntimeOptions

TRIALS, REPEATS = 1000, 20
SHARE = 0.90
CONFIDENCE = Budgets().confidence
PLAN = Measure()
WITHIN, BEYOND = 0.02, 0.25  # shares of runs over the budget of a device clearly within it, and clearly beyond it
HOT = 100  # runs until the drifting device has slowed down to the latency that counts
ALIKE = 0.9  # correlation of each run with the next

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


def trial(random: np.random.Generator, device: str, over: float) -> tuple[str, int]:
    """The gate's verdict on a device of whose latencies the share `over` is over the budget, and the runs it took."""
    latency, series = DEVICES[device]
    numbers = random.standard_normal(PLAN.max_runs)
    samples = latency(numbers if series is None else series(numbers))
    budget = float(latency(np.full(HOT + 1, norm.isf(over)))[-1])  # of the hot device, where it drifts
    rule = stop_rule([(SHARE, budget)], CONFIDENCE, PLAN.min_runs, PLAN.max_runs)
    runs = next((runs for runs in rule.schedule if rule.ends(samples[:runs])), PLAN.max_runs)
    return early_stopping(samples[:runs], budget, SHARE, CONFIDENCE, rule.looks).outcome, runs


def simulate(device: str, trials: int) -> dict[str, Any]:
    """How often which verdict was given, and after how many runs in the mean."""
    found = {}
    for place, over in PLACES.items():
        random = np.random.default_rng(0)
        tried = [trial(random, device, over) for _ in range(trials)]
        verdicts = Counter(outcome for outcome, _ in tried)
        found[place] = {
            "over": over,
            **{outcome: verdicts[outcome] / trials for outcome in ("pass", "fail", "undecided")},
            "mean_runs": float(np.mean([runs for _, runs in tried])),
        }
    return found


def gate_again(bundle: Path) -> dict[str, Any]:
    """The latency checks of a bundle's gate, each file measured anew on its golden inputs."""
    report = read_json(bundle / REPORT)
    golden = read_json(bundle / GOLDEN_FILES)["files"]
    budgets = Budgets.model_validate(report["budgets"])
    plan = Measure.model_validate(report["provenance"]["profile"]["measure"])
    noise = {}
    for file in report["files"]:
        if not file["shipped"]:
            continue
        inputs = {name: np.load(bundle / place) for name, place in golden[file["name"]]["inputs"].items()}
        count = len(next(iter(inputs.values())))
        feeds = [{name: values[row] for name, values in inputs.items()} for row in range(count)]
        runtime = file["runtime"]
        options = RuntimeOptions(runtime["name"], runtime["threads"], runtime["delegate"])
        with scratch() as folder:
            found = measure(bundle / file["name"], options, feeds, plan, folder, budget=budgets)
        figures = asdict(summarise(found.samples_ms))
        file["measured"] |= {
            "looks": found.looks,
            "runs": len(found.samples_ms),
            "latency": {name: {"value": ms, "unit": "ms", "source": "host"} for name, ms in figures.items()},
            "samples": {"values": found.samples_ms.tolist(), "unit": "ms", "source": "host"},
        }
        noise[file["name"]] = {"runs": len(found.samples_ms), **figures, "quiet": found.quiet and asdict(found.quiet)}
    verdicts = {
        f"{check.file} {check.name}": {True: "pass", False: "fail", None: "undecided"}[check.passed]
        for check in decide(report).checks
        if check.name.startswith("latency_ms")
    }
    return {"verdicts": verdicts, "files": noise}


def agreement(repeats: list[dict[str, Any]]) -> float:
    """Share of the repeats whose verdicts are those of most."""
    told = Counter(tuple(sorted(repeat["verdicts"].items())) for repeat in repeats)
    return max(told.values()) / len(repeats)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("bundle", type=Path, nargs="?", help="A bundle with latencies; without it, one is made.")
    parser.add_argument("--simulated", action="store_true", help="the simulated devices alone; writes no result")
    parser.add_argument("--quick", action="store_true", help="a short form, to see that it runs; writes no result")
    options = parser.parse_args()
    trials, repeats = (20, 2) if options.quick else (TRIALS, REPEATS)
    devices = {}
    for device in DEVICES:
        devices[device] = simulate(device, trials)
        print(device, devices[device], flush=True)
    bars = [
        Bar(f"{device} latency, on its budget: share of wrong passes", found["on the budget"]["pass"], "<=", 0.01)
        for device, found in devices.items()
    ]
    figures: dict[str, Any] = {
        "trials": trials, "percentile": SHARE, "confidence": CONFIDENCE, "plan": PLAN.model_dump(mode="json"),
        "devices": devices,
    }  # fmt: skip
    if not options.simulated:
        with scratch() as folder:
            bundle = options.bundle or made(folder)
            figures["repeats"] = [gate_again(bundle) for _ in range(repeats)]
        share = agreement(figures["repeats"])
        bars.append(Bar("share of repeats of the gate that agree, one bundle on this host", share, ">=", 1.0))
    write_result("devices-gate", figures, bars, options.quick or options.simulated)


def made(folder: Path) -> Path:
    ended = edgepress("run", "recipes/digits-mobilenet.yaml", "--target", "host", "--out", str(folder))
    if ended.code not in (0, 1):
        raise SystemExit(ended.output)
    return folder / "digits-mobilenet" / "host"


if __name__ == "__main__":
    main()
