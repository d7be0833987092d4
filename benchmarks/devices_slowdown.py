"""How often an artificial slow-down of 2% is caught: by counted instructions, and by this host's clock.

A MobileNetV2 of half its width at 64 pixels, as the digits recipe's student is, gets one more convolution:
the one of `LAYERS` that adds most nearly 2% to the instructions of an emulated Cortex-A72. Both files, with random
weights and in 8 bits, are then judged again and again: by `gate --emulate`'s rule on fresh counts, by `gate
--baseline`'s rule on fresh latencies, and by the ratio of the two timed in turn. The unchanged file against itself says
how often each is a false alarm. Needs what `edgepress targets install-emulator` gets.
"""

import argparse
import dataclasses
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.record import Bar, kept_or_scratch, remembered, scratch, write_result
from pipeline.bench import made_up_feeds
from pipeline.gating.baseline import LATENCY_TOLERANCE
from pipeline.gating.instructions import compare_counts
from pipeline.quiet import quiet
from targets.emulator.cores import CORES
from targets.emulator.counts import InstructionCounts
from targets.emulator.place import installed
from targets.errors import TargetError
from targets.profile import Measure
from targets.runners.emulated import EmulatedRunner
from targets.runners.host import measure
from targets.runners.paired import Contender, measure_paired
from targets.runtimes.base import RuntimeOptions, open_model
from targets.statistics.correlation import correlation_time
from targets.statistics.order import percentile, percentile_interval

CORE = "cortex-a72"
NETWORK, SIZE, CLASSES = "mobilenetv2_050", 64, 10
# 3 x 3 convolutions that keep the channels: the group of blocks behind which each stands, and whether it is depthwise.
LAYERS = ((0, True), (2, False), (3, False))
SHARE, OFF = 0.02, 0.01  # of the instructions that the layer adds, and how far from that it may be
REPEATS = 20
CALIBRATION = 8
OPTIONS = RuntimeOptions("litert", 2, "xnnpack")
PLAN = Measure()


def export(layer: int | None, folder: Path) -> Path:
    """The INT8 .tflite file of the network, with one more of `LAYERS`."""
    file = folder / f"student-{layer}.int8.tflite"
    if file.exists():
        return file
    import litert_torch
    import timm
    import torch
    from ai_edge_quantizer import quantizer, recipe

    torch.manual_seed(0)
    module = timm.create_model(NETWORK, num_classes=CLASSES).eval()
    if layer is not None:
        behind, depthwise = LAYERS[layer]
        channels = _channels(module, behind)
        more = torch.nn.Conv2d(channels, channels, 3, padding=1, groups=channels if depthwise else 1)
        module.blocks[behind] = torch.nn.Sequential(module.blocks[behind], more).eval()
    channels_last = litert_torch.to_channel_last_io(module, args=[0])
    float32 = folder / f"student-{layer}.float32.tflite"
    litert_torch.convert(channels_last, (torch.zeros(1, SIZE, SIZE, 3),)).export(str(float32))
    random = np.random.default_rng(0)
    (spec,) = open_model(float32, OPTIONS).inputs
    samples = [{spec.name: random.random(spec.shape, dtype=np.float32)} for _ in range(CALIBRATION)]
    made = quantizer.Quantizer(str(float32), recipe.static_wi8_ai8())
    file.write_bytes(made.quantize(made.calibrate({"serving_default": samples})).quantized_model)
    return file


def _channels(module: Any, behind: int) -> int:
    """That a group of blocks gives."""
    import torch

    with torch.no_grad():
        return int(module.blocks[: behind + 1](module.bn1(module.conv_stem(torch.zeros(1, 3, SIZE, SIZE)))).shape[1])


def counted(file: Path) -> InstructionCounts:
    return EmulatedRunner(CORES[CORE]).count(file, OPTIONS, made_up_feeds(file, OPTIONS))


def slowed(folder: Path) -> tuple[int, float]:
    """(which of `LAYERS` is put in, the share of instructions that it adds)."""
    before = counted(export(None, folder)).total
    added = {layer: counted(export(layer, folder)).total / before - 1 for layer in range(len(LAYERS))}
    print(added, flush=True)
    best = min(added, key=lambda layer: abs(added[layer] - SHARE))
    if abs(added[best] - SHARE) > OFF:
        raise SystemExit(f"no layer adds {SHARE:.0%} of instructions: {added}")
    return best, added[best]


def judged(now: Path, before: Path) -> dict[str, Any]:
    """What each rule says of `now` beside `before`, all of it measured anew: whether it is slower."""
    counts = compare_counts(now.name, counted(now), counted(before))
    times = [timed(file) for file in (now, before)]
    paired = in_turn(now, before)
    return {
        "instructions": not counts.passed,
        "counted": counts.explanation,
        "clock": slower(*times),
        "p90_ms": [percentile(samples, 0.9) for samples in times],
        "in_turn": paired.outcome == "slower",
        "ratio": dataclasses.asdict(paired),
    }


def timed(file: Path) -> np.ndarray:
    with scratch() as folder:
        return measure(file, OPTIONS, made_up_feeds(file, OPTIONS), PLAN, folder).samples_ms


def slower(now: np.ndarray, before: np.ndarray) -> bool:
    """The gate's rule for latencies against a baseline: p90 over its tolerance, and intervals that do not overlap."""
    mine, theirs = (
        percentile_interval(samples, 0.9, correlation_time=correlation_time(samples, 0.9)) for samples in (now, before)
    )
    over = percentile(now, 0.9) > percentile(before, 0.9) * (1 + LATENCY_TOLERANCE)
    return bool(over and mine.low is not None and theirs.high is not None and mine.low > theirs.high)


def in_turn(now: Path, before: Path) -> Any:
    both = [Contender(file, OPTIONS, made_up_feeds(file, OPTIONS)) for file in (now, before)]
    with scratch() as folder:
        return measure_paired(*both, PLAN, folder).ratio()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", type=Path, help="leaves what was made in this folder, from where a later run goes on")
    parser.add_argument("--quick", action="store_true", help="a short form, to see that it runs; writes no result")
    given = parser.parse_args()
    try:
        installed()
    except TargetError as error:
        raise SystemExit(str(error)) from None
    repeats = 2 if given.quick else REPEATS
    with kept_or_scratch(given.keep) as folder:
        folder.mkdir(parents=True, exist_ok=True)
        with quiet():
            layer, added = remembered(folder, "slowed", lambda: list(slowed(folder)))
        plain, more = export(None, folder), export(layer, folder)
        found: dict[str, list[dict[str, Any]]] = {}
        for name, now in (("slower", more), ("unchanged", plain)):
            found[name] = []
            for number in range(repeats):
                found[name].append(remembered(folder, f"{name}-{number}", partial(judged, now, plain)))
                print(name, number, found[name][-1], flush=True)
    shares = {
        name: {rule: sum(row[rule] for row in rows) / len(rows) for rule in ("instructions", "clock", "in_turn")}
        for name, rows in found.items()
    }
    figures = {"core": CORE, "added": added, "repeats": repeats, "shares": shares, "judged": found}
    told = f"a slow-down of {added:.2%} in instructions"
    bars = [
        Bar(f"{told}: share of repeats in which counted instructions fail the gate",
            shares["slower"]["instructions"], ">=", 1.0),
        Bar("the unchanged file: share of repeats in which counted instructions fail the gate",
            shares["unchanged"]["instructions"], "<=", 0.0),
        Bar(f"{told}: share in which this host's clock fails the gate (reported)", shares["slower"]["clock"], ">=", 0),
        Bar(f"{told}: share in which this host's clock says slower, both files timed in turn (reported)",
            shares["slower"]["in_turn"], ">=", 0),
    ]  # fmt: skip
    write_result("devices-slowdown", figures, bars, given.quick)


if __name__ == "__main__":
    main()
