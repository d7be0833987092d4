"""Counts what one inference of the published networks takes on emulated cores: instructions by class, bytes, operators.

Every network that a profile's `baselines` give a latency of, at its size and dtype, with random weights: what an
instruction costs does not depend on them. Writes `targets/prediction/counts.json`, from which coefficients are fitted
(`benchmarks/devices_prediction.py`). Needs what `edgepress targets install-emulator` gets.
"""

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.record import kept_or_scratch
from pipeline.bench import made_up_feeds
from pipeline.emulated.prediction import computed_dtype, work_of
from pipeline.quantize.graph import read_graph
from pipeline.quiet import quiet
from pipeline.store import write_atomic
from targets.emulator.cores import emulated_core
from targets.prediction.measurements import COUNTS
from targets.profile import load_profile, profile_names
from targets.runners.emulated import EmulatedRunner
from targets.runtimes.base import RuntimeOptions, open_model

NETWORKS = {  # the published name, and timm's
    "mobilenet_v1_1.0_224": "mobilenetv1_100",
    "mobilenet_v2_1.0_224": "mobilenetv2_100",
    "mobilenet_v3_large_224": "mobilenetv3_large_100",
    "mobilenet_v3_small_224": "mobilenetv3_small_100",
}
SIZE = 224
CALIBRATION = 8  # random images: what an instruction costs does not depend on ranges either


def published() -> list[tuple[str, str, str]]:
    """(core, network, dtype) of every baseline of a profile whose cores are all of one kind, each once."""
    found = set()
    for profile in map(load_profile, profile_names()):
        cores = {core.uarch.lower() for core in profile.cores}
        if profile.baselines and len(cores) == 1:
            found |= {(*cores, baseline.model, baseline.dtype) for baseline in profile.baselines}
    return sorted(found)


def export(network: str, dtype: str, folder: Path) -> Path:
    """The .tflite file of `network`: input float32 [1, 224, 224, 3], 1,000 classes."""
    file = folder / f"{network}.{dtype}.tflite"
    if file.exists():
        return file
    if dtype == "int8":
        from ai_edge_quantizer import quantizer, recipe

        random = np.random.default_rng(0)
        float32 = export(network, "float32", folder)
        (spec,) = open_model(float32, RuntimeOptions("litert", 1, "xnnpack")).inputs
        samples = [{spec.name: random.random(spec.shape, dtype=np.float32)} for _ in range(CALIBRATION)]
        made = quantizer.Quantizer(str(float32), recipe.static_wi8_ai8())
        ranges = made.calibrate({"serving_default": samples})
        file.write_bytes(made.quantize(ranges).quantized_model)
        return file
    import litert_torch
    import timm
    import torch

    torch.manual_seed(0)
    module = timm.create_model(NETWORKS[network]).eval()
    channels_last = litert_torch.to_channel_last_io(module, args=[0])
    litert_torch.convert(channels_last, (torch.zeros(1, SIZE, SIZE, 3),)).export(str(file))
    return file


def count(core: str, network: str, dtype: str, folder: Path) -> dict[str, Any]:
    with quiet():
        file = export(network, dtype, folder)
    options = RuntimeOptions("litert", 1, "xnnpack")
    feeds = made_up_feeds(file, options)
    counted = EmulatedRunner(emulated_core(core)).count(file, options, feeds)
    graph = read_graph(file, "tflite")
    if computed_dtype(graph) != dtype:
        raise SystemExit(f"{file}: computes in {computed_dtype(graph)}, {dtype} was asked for")
    work = work_of(graph, counted, dtype)
    row = {"network": network, **dataclasses.asdict(work), "spread": round(counted.spread, 6)}
    return row | {"inferences": counted.inferences, "version": counted.version, "qemu": counted.qemu}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", type=Path, help="leaves the model files in this folder, and takes them from there")
    rows = []
    with kept_or_scratch(parser.parse_args().keep) as folder:
        folder.mkdir(parents=True, exist_ok=True)
        for core, network, dtype in published():
            rows.append(count(core, network, dtype, folder))
            print(json.dumps(rows[-1]), flush=True)
    lines = ",\n ".join(json.dumps(row) for row in rows)
    write_atomic(COUNTS, f"[\n {lines}\n]\n")


if __name__ == "__main__":
    main()
