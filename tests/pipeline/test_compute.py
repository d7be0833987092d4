"""Precision and compilation of trainings."""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.context import RunContext
from pipeline.data.batches import Batch
from pipeline.distill.student import train_naive
from pipeline.errors import InputError
from pipeline.networks import save_network
from pipeline.progress import Meter
from pipeline.recipe import Recipe
from pipeline.results import PreparedData
from pipeline.settings.distill import DistillSettings
from pipeline.settings.student import StudentSettings
from pipeline.settings.teacher import TeacherSettings
from pipeline.settings.training import ComputeSettings, Regularization
from pipeline.store import Store
from pipeline.teacher import teach
from pipeline.training import compute
from pipeline.training.compute import computes_bf16, refuse_unfit
from pipeline.training.fit import Fit, fit
from pipeline.training.schedule import Moment, Schedule
from tests.pipeline.test_recipe import minimal

BF16 = ComputeSettings(precision="bf16")
SCHEDULE = Schedule(2, 3e-3, 0.01, 70, 0, regularization=Regularization(clip_norm=1.0))


def small() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 8, 5, stride=4), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(392, 10)
    return nn.Sequential(*layers)


def learn(network: nn.Module, batch: Batch, moment: Moment) -> Tensor:
    logits = network(*batch.inputs)
    assert logits.dtype == torch.float32, "losses are computed in float32 whatever the precision"
    return functional.cross_entropy(logits, batch.labels)


def train(data: PreparedData, folder: Path, network: nn.Module, compute: ComputeSettings) -> Fit:
    return fit(network, data, learn, replace(SCHEDULE, compute=compute), Meter("fit", "samples", 1), folder)


def test_bf16_computes_in_16_bits_and_keeps_weights_in_32(digits: PreparedData, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    if not computes_bf16():
        pytest.skip("a product in bf16 kills the process here")
    network, exact, seen = small(), small(), set()
    network[0].register_forward_hook(lambda module, inputs, output: seen.add((module.training, output.dtype)))
    outcome = train(digits, tmp_path / "bf16", network, BF16)
    expected = train(digits, tmp_path / "float32", exact, ComputeSettings())
    # Batch normalisation's statistics and what is judged are measured in float32.
    assert seen == {(True, torch.bfloat16), (True, torch.float32), (False, torch.float32)}
    losses = [[record.train_loss for record in fit.curve] for fit in (outcome, expected)]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)
    assert losses[0] != losses[1]
    save_network(network, tmp_path / "model.safetensors")
    for name, tensor in load_file(tmp_path / "model.safetensors").items():
        assert tensor.dtype in (torch.float32, torch.int64), name
        assert tensor.isfinite().all()
    assert network(torch.zeros(1, 3, 32, 32)).dtype == torch.float32


def test_a_compiled_network_has_the_same_weights_under_the_same_names(
    digits: PreparedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Traced as always, but run by PyTorch itself, which spares the test a compiler."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    plain, compiled = small(), small()
    expected = train(digits, tmp_path / "plain", plain, ComputeSettings())
    assert train(digits, tmp_path / "compiled", compiled, ComputeSettings(compile=True)) == expected
    assert list(compiled.state_dict()) == list(plain.state_dict())
    for name, tensor in plain.state_dict().items():
        assert torch.equal(compiled.state_dict()[name], tensor), name
    saved = torch.load(tmp_path / "compiled/resume/training.pt", weights_only=True)
    assert list(saved["modules"]["network"]) == list(plain.state_dict())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_fp16_is_refused_without_a_cuda_device() -> None:
    with pytest.raises(InputError, match=r"fp16 needs a CUDA device, .*use bf16"):
        refuse_unfit(ComputeSettings(precision="fp16"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_bf16_is_refused_where_it_kills_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    computes_bf16.cache_clear()
    monkeypatch.setattr(compute, "PRODUCT", "import os, signal; os.kill(os.getpid(), signal.SIGILL)")
    try:
        with pytest.raises(InputError, match=r"kills the process here, .*set ONEDNN_MAX_CPU_ISA=.*or use float32"):
            refuse_unfit(BF16)
        monkeypatch.setattr(compute, "PRODUCT", "")
        computes_bf16.cache_clear()
        refuse_unfit(BF16)
    finally:
        computes_bf16.cache_clear()


def test_compiling_is_refused_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(InputError, match=r"needs a C\+\+ compiler, .*install g\+\+"):
        refuse_unfit(ComputeSettings(compile=True))
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}" if name == "clang++" else None)
    refuse_unfit(ComputeSettings(compile=True))


def test_the_recipe_and_not_the_launcher_decides_the_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    monkeypatch.setattr(compute, "computes_bf16", lambda: True)
    refuse_unfit(BF16)
    with pytest.raises(InputError, match=r"launched with mixed precision bf16, .* compute\.precision is float32"):
        refuse_unfit(ComputeSettings())


def test_a_compiled_network_can_not_be_looked_into() -> None:
    recipe = minimal() | {"compute": {"compile": True}}
    assert Recipe.model_validate(recipe).compute.compile
    recipe["distill"] = {"features": [{"student": "blocks.1", "teacher": "blocks.1"}]}
    with pytest.raises(ValueError, match=r"compute\.compile hides the layers"):
        Recipe.model_validate(recipe)


class Inputs(RunContext):
    """Gives what a stage's fingerprint is made of."""

    def stage(self, name: str, inputs: Mapping[str, Any], *others: Any, **more: Any) -> Any:
        return inputs


@pytest.mark.parametrize("compute", [ComputeSettings(), BF16])
def test_trainings_are_known_by_how_they_compute(
    digits: PreparedData, tmp_path: Path, compute: ComputeSettings
) -> None:
    context: Any = Inputs(Store(tmp_path), compute=compute)
    teacher = TeacherSettings(model="mobilenetv3_small_050", weights="none", epochs=1)
    # A naive student that starts at random asks nothing of its teacher.
    student: Any = train_naive(digits, context, StudentSettings(family="mobilenetv2"), DistillSettings(), context)
    assert student["compute"] == compute
    asked: Any = teach(digits, teacher, context)
    assert asked["compute"] == compute
    as_it_is: Any = teach(digits, teacher.model_copy(update={"epochs": 0}), context)
    assert "compute" not in as_it_is
