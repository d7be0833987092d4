"""The one training loop: teacher, students and recovery after pruning are trained by it.

Everything random comes from (seed, epoch), so a run that was killed after an epoch and resumed ends with the
same bytes as one that was not.
"""

import io
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.context import RunContext
from pipeline.data.batches import Batch, training_batches
from pipeline.errors import InputError
from pipeline.evaluate import predict
from pipeline.metrics import accuracy
from pipeline.networks import count_macs, count_parameters, example_inputs, save_network
from pipeline.progress import Meter
from pipeline.recipe import Augmentation
from pipeline.results import EpochRecord, NetworkResult, PreparedData
from pipeline.store import write_atomic

SETTLING = 1024  # training samples that batch normalisation's statistics are measured on
WARM_UP = 0.1  # share of training during which the learning rate rises
Loss = Callable[[Tensor, Batch, int], Tensor]  # (logits [B, classes], batch on their device, view) -> mean loss


@dataclass(frozen=True)
class Schedule:
    """AdamW (Loshchilov and Hutter 2019) with a linear warm-up and a cosine decay to zero. Epoch e sees view
    e mod `views` of `augmentation`; `seed` decides shuffles, views and dropout."""

    epochs: int
    learning_rate: float
    weight_decay: float
    batch_size: int
    seed: int
    augmentation: Augmentation | None = None
    views: int = 1


@dataclass(frozen=True)
class Fit:
    """How a training went; the network holds the weights of `best_epoch`."""

    curve: tuple[EpochRecord, ...]
    best_epoch: int | None
    validation_accuracy: float


def prepare_torch(context: RunContext) -> torch.device:
    """Sets the number of training threads and the seed; the device to train on."""
    if context.threads is not None:
        torch.set_num_threads(context.threads)
    torch.manual_seed(context.seed)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def learning_rate(schedule: Schedule, share: float) -> float:
    """At `share` in [0, 1] of the training."""
    if share < WARM_UP:
        return schedule.learning_rate * share / WARM_UP
    return schedule.learning_rate * 0.5 * (1 + math.cos(math.pi * (share - WARM_UP) / (1 - WARM_UP)))


def samples_of(data: PreparedData, epochs: int) -> int:
    """Samples that a training and its evaluations pass through the network: the total of its progress
    line."""
    train, validation, test = len(data.rows("train")), len(data.rows("validation")), len(data.rows("test"))
    return epochs * (train + validation) + validation * (epochs == 0) + test


def fit(network: nn.Module, data: PreparedData, loss: Loss, schedule: Schedule, meter: Meter, folder: Path) -> Fit:
    """Trains `network` in place on the train split and leaves it with the weights of the epoch that was
    best on the validation split (the later of equals), in evaluation mode. Parameters that need no gradient
    stay.

    After each epoch `folder/resume/` gets a checkpoint, from which a later call goes on. Raises InputError if
    the loss is not a number.
    """
    device = next(network.parameters()).device
    optimizer = _optimizer(network, schedule)
    validation = data.rows("validation")
    state = _resume(folder, network, optimizer)
    curve: list[EpochRecord] = [EpochRecord(**record) for record in state["curve"]]
    best: dict[str, Any] = state["best"]
    meter.advance(len(curve) * (len(data.rows("train")) + len(validation)))
    with deterministic():
        for epoch in range(len(curve), schedule.epochs):
            train_loss = _train_epoch(network, data, loss, schedule, epoch, optimizer, device, meter)
            _settle_statistics(network, data, schedule, epoch, device)
            scores = predict(network, data, validation, meter=meter)
            value = accuracy(scores, data.targets[validation]).value
            curve.append(EpochRecord(epoch, train_loss, value))
            meter.advance(0, f"epoch {epoch + 1}: loss {train_loss:.3f}, validation {100 * value:.1f}%")
            if value >= best["validation_accuracy"]:
                weights = {name: tensor.clone() for name, tensor in _changing(network).items()}
                best = {"epoch": epoch, "validation_accuracy": value, "weights": weights}
            _save(folder, network, optimizer, curve, best)
        if not curve:
            value = accuracy(predict(network, data, validation, meter=meter), data.targets[validation]).value
            return Fit((), None, value)
    network.load_state_dict(best["weights"], strict=False)
    network.eval()
    return Fit(tuple(curve), best["epoch"], best["validation_accuracy"])


def _train_epoch(
    network: nn.Module,
    data: PreparedData,
    loss: Loss,
    schedule: Schedule,
    epoch: int,
    optimizer: torch.optim.Optimizer,
    device: torch.device,
    meter: Meter,
) -> float:
    """The mean loss of the epoch."""
    rows = data.rows("train")
    torch.manual_seed(int(np.random.SeedSequence([schedule.seed, epoch]).generate_state(1)[0]))
    network.train()
    for module in network.modules():  # a frozen layer keeps its statistics too
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and not module.weight.requires_grad:
            module.eval()
    view = epoch % schedule.views
    seen, total = 0, 0.0
    batches = training_batches(data, rows, schedule.batch_size, schedule.seed, epoch, schedule.augmentation, view)
    for step, batch in enumerate(batches):
        count = len(batch.rows)
        share = (epoch * len(rows) + seen + count / 2) / (schedule.epochs * len(rows))
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(schedule, share)
        batch = to_device(batch, device)
        value = loss(network(*batch.inputs), batch, view)
        if not torch.isfinite(value):
            raise InputError(
                f"training diverged: the loss became {value.item()} in epoch {epoch + 1}, step {step + 1}; "
                f"lower learning_rate (it is {schedule.learning_rate:g})"
            )
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        optimizer.step()
        seen += count
        total += value.item() * count
        meter.advance(count)
    return total / seen


def _settle_statistics(
    network: nn.Module, data: PreparedData, schedule: Schedule, epoch: int, device: torch.device
) -> None:
    """Measures batch normalisation's statistics anew, on some training samples: the running averages lag behind
    the weights, in short trainings by tens of points of accuracy (Wu and Johnson 2021, section 3)."""
    layers = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training]
    if not layers:
        return
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # a plain average over the batches
    rows = data.rows("train")
    batches = training_batches(
        data, rows, schedule.batch_size, schedule.seed, epoch, schedule.augmentation, epoch % schedule.views
    )
    with torch.no_grad():
        for batch in islice(batches, math.ceil(SETTLING / schedule.batch_size)):
            network(*to_device(batch, device).inputs)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum


def to_device(batch: Batch, device: torch.device) -> Batch:
    if device.type == "cpu":
        return batch
    inputs = tuple(tensor.to(device, non_blocking=True) for tensor in batch.inputs)
    return replace(batch, inputs=inputs, labels=batch.labels.to(device, non_blocking=True))


def _optimizer(network: nn.Module, schedule: Schedule) -> torch.optim.Optimizer:
    """Biases and the weights of normalisation do not decay."""
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": schedule.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=schedule.learning_rate, fused=True)


def _changing(network: nn.Module) -> dict[str, Tensor]:
    """The tensors that training changes: trainable parameters and buffers."""
    frozen = {name for name, parameter in network.named_parameters() if not parameter.requires_grad}
    return {name: tensor for name, tensor in network.state_dict().items() if name not in frozen}


def _checkpoint(folder: Path) -> Path:
    return folder / "resume" / "checkpoint.pt"


def _save(
    folder: Path,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    curve: list[EpochRecord],
    best: dict[str, Any],
) -> None:
    state = {
        "network": _changing(network),
        "optimizer": optimizer.state_dict(),
        "curve": [asdict(record) for record in curve],
        "best": best,
    }
    file = _checkpoint(folder)
    file.parent.mkdir(parents=True, exist_ok=True)
    content = io.BytesIO()  # so that a full disk is an OSError, as everywhere, not one of torch's own
    torch.save(state, content)
    write_atomic(file, content.getvalue())


def _resume(folder: Path, network: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The state after the last whole epoch, loaded into network and optimizer; a fresh one if there is
    none."""
    file = _checkpoint(folder)
    if not file.exists():
        return {"curve": [], "best": {"epoch": None, "validation_accuracy": -1.0, "weights": {}}}
    state = torch.load(file, map_location=next(network.parameters()).device, weights_only=True)
    network.load_state_dict(state["network"], strict=False)
    optimizer.load_state_dict(state["optimizer"])
    return state


@contextmanager
def deterministic() -> Iterator[None]:
    """Torch's deterministic algorithms, where there are such."""
    settings: Any = torch.utils.deterministic
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before, filled = (
        torch.are_deterministic_algorithms_enabled(),
        settings.fill_uninitialized_memory,
    )
    torch.use_deterministic_algorithms(True, warn_only=True)
    settings.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        settings.fill_uninitialized_memory = filled


def network_result(
    network: nn.Module,
    data: PreparedData,
    outcome: Fit,
    *,
    folder: Path,
    key: str,
    role: Literal["teacher", "naive", "student", "pruned"],
    name: str,
    architecture: dict[str, object],
    meter: Meter,
    notes: tuple[str, ...] = (),
) -> NetworkResult:
    """Writes the weights and the logits of the test split into `folder` and describes them."""
    network.eval()
    rows = data.rows("test")
    with deterministic():
        logits = predict(network, data, rows, meter=meter)
    np.save(folder / "test_logits.npy", logits)
    save_network(network, folder / "model.safetensors")
    return NetworkResult(
        fingerprint=key,
        role=role,
        name=name,
        checkpoint_file=folder / "model.safetensors",
        architecture=architecture,
        parameters=count_parameters(network),
        macs=count_macs(network, example_inputs(data)),
        accuracy=accuracy(logits, data.targets[rows]),
        test_logits_file=folder / "test_logits.npy",
        validation_accuracy=outcome.validation_accuracy,
        curve=outcome.curve,
        best_epoch=outcome.best_epoch,
        notes=notes,
    )
