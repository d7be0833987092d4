"""The one training loop: teacher, students and recovery after pruning are trained by it.

Everything random comes from (seed, epoch), so a run that was killed after an epoch and resumed ends with the
same bytes as one that was not.
"""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from pipeline import scale
from pipeline.context import RunContext
from pipeline.data.batches import Batch, training_batches
from pipeline.errors import InputError
from pipeline.evaluate import predict
from pipeline.metrics import accuracy
from pipeline.networks import count_macs, count_parameters, device_of, example_inputs, runs_files, save_network
from pipeline.progress import Meter
from pipeline.results import EpochRecord, NetworkResult, PreparedData, Role
from pipeline.training.checkpoint import Progress, changing, load_progress, save_progress
from pipeline.training.collectives import (
    align,
    mean_loss,
    normalises_batches,
    sum_gradients,
    weighted,
    whole_batch_statistics,
)
from pipeline.training.compute import as_told, autocast, gradient_scaler
from pipeline.training.schedule import LooksAhead, Moment, Objective, Schedule, learning_rate

SETTLING = 1024  # training samples that batch normalisation's statistics are measured on
DIVERGED = 100  # times the loss at the start: no step that is right goes there
BLAMED = 8  # sample ids that the message of a diverged training names


@dataclass(frozen=True)
class Fit:
    """How a training went; the network holds the weights of `best_epoch`."""

    curve: tuple[EpochRecord, ...]
    best_epoch: int | None
    validation_accuracy: float

    def then(self, later: "Fit") -> "Fit":
        """This training and one that went on from its weights, as one: what the `later` one kept is kept."""
        done = len(self.curve)
        curve = (*self.curve, *(replace(record, epoch=record.epoch + done) for record in later.curve))
        best = None if later.best_epoch is None else later.best_epoch + done
        return Fit(curve, best, later.validation_accuracy)


def prepare_torch(context: RunContext) -> torch.device:
    """Sets the number of training threads and the seed; the device to train on, each process's own."""
    if context.threads is not None:
        torch.set_num_threads(context.threads)
    torch.manual_seed(context.seed)
    return torch.device(scale.device_name() or ("cuda" if torch.cuda.is_available() else "cpu"))


def samples_of(data: PreparedData, epochs: int) -> int:
    """Samples that a training and its evaluations pass through the network: the total of its progress
    line."""
    train, validation, test = len(data.rows("train")), len(data.rows("validation")), len(data.rows("test"))
    return epochs * (train + validation) + validation * (epochs == 0) + test


def fit(
    network: nn.Module, data: PreparedData, objective: Objective, schedule: Schedule, meter: Meter, folder: Path
) -> Fit:
    """Trains `network` in place on the schedule's rows and leaves it with the weights that `schedule.keep` asks for, in
    evaluation mode. Parameters that need no gradient stay.

    After each epoch `folder/resume/` gets a checkpoint, from which a later call goes on. Processes that work together
    train on a slice of each batch each: `schedule.batch_size` is that of all. They hold the same weights at every step,
    and those are one process's within rounding, but for dropout, which each draws anew, and mixup and cutmix, which mix
    within a slice. Raises InputError if the loss is not a number or grows out of all proportion, and for batches
    smaller than the number of processes.
    """
    _refuse_unfit(network, schedule)
    device = device_of(network)
    validation = data.rows("validation")
    file = folder / "resume" / f"{schedule.phase}.pt"
    judged = _averaged(network, schedule)
    modules = {"network": network}
    if isinstance(objective, nn.Module):
        modules["objective"] = objective.to(device)
    if judged is not network:
        modules["average"] = judged
    optimizer = _optimizer([module for name, module in modules.items() if name != "average"], schedule)
    scaler = gradient_scaler(schedule.compute, device)
    progress = load_progress(file, modules, optimizer, scaler, device)
    align(modules.values())
    meter.advance(len(progress.curve) * (len(schedule.rows(data, 0)) + len(validation)))
    for record in progress.curve:
        meter.epoch(schedule.phase, record, earlier=True)
    with deterministic(), _ending(objective), as_told(network, schedule.compute) as called:
        while len(progress.curve) < schedule.epochs and not _exhausted(progress, schedule):
            epoch = len(progress.curve)
            train_loss = _train_epoch(called, judged, data, objective, schedule, progress, optimizer, scaler, meter)
            _settle_statistics(judged, data, schedule, schedule.begin + epoch, device)
            value = accuracy(predict(judged, data, validation, meter=meter), data.targets[validation]).value
            record = EpochRecord(epoch, train_loss, value)
            progress.curve.append(record)
            if value >= progress.best_accuracy or schedule.keep == "last":
                weights = {name: tensor.clone() for name, tensor in changing(judged).items()}
                progress.best_epoch, progress.best_accuracy, progress.best_weights = epoch, value, weights
            save_progress(file, progress, modules, optimizer, scaler)
            meter.epoch(schedule.phase, record)
        if not progress.curve:
            value = accuracy(predict(network, data, validation, meter=meter), data.targets[validation]).value
            return Fit((), None, value)
    network.load_state_dict(progress.best_weights, strict=False)
    network.eval()
    return Fit(tuple(progress.curve), progress.best_epoch, progress.best_accuracy)


@contextmanager
def _ending(objective: Objective) -> Iterator[None]:
    try:
        yield
    finally:
        if isinstance(objective, LooksAhead):
            objective.end()


def _refuse_unfit(network: nn.Module, schedule: Schedule) -> None:
    """What several processes can't do."""
    if schedule.epochs and schedule.batch_size < scale.processes():
        raise InputError(
            f"batch_size is {schedule.batch_size}, for all of the {scale.processes()} processes together: raise it, or "
            "launch fewer"
        )
    if schedule.compute.compile and scale.processes() > 1 and normalises_batches(network):
        raise InputError(
            "compute.compile and several processes: a network with batch normalisation, which talks to the other "
            "processes in every layer, can't be compiled; remove compile, or launch one process"
        )


def _exhausted(progress: Progress, schedule: Schedule) -> bool:
    """Whether the last `patience` epochs were no better than one before them."""
    patience, values = schedule.regularization.patience, [record.validation_accuracy for record in progress.curve]
    if patience is None or len(values) <= patience:
        return False
    return max(values[-patience:]) <= max(values[:-patience])


def _averaged(network: nn.Module, schedule: Schedule) -> nn.Module:
    """A copy of `network` for the moving average of its weights, or `network` itself where none is asked for."""
    return network if schedule.regularization.ema is None else deepcopy(network)


def _follow(average: nn.Module, network: nn.Module, decay: float, step: int) -> None:
    """One update of the moving average; it begins short, so that the first weights are soon forgotten."""
    share = 1 - min(decay, (1 + step) / (10 + step))
    with torch.no_grad():
        for mine, theirs in zip(average.parameters(), network.parameters(), strict=True):
            if theirs.requires_grad:
                mine.lerp_(theirs, share)


def _train_epoch(
    network: nn.Module,
    judged: nn.Module,
    data: PreparedData,
    objective: Objective,
    schedule: Schedule,
    progress: Progress,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    meter: Meter,
) -> float:
    """The mean loss of the epoch."""
    device, epoch = device_of(network), len(progress.curve)
    drawn = schedule.begin + epoch  # what is random comes from this
    rows = schedule.rows(data, drawn)
    own = [scale.number()] if scale.number() else []
    torch.manual_seed(int(np.random.SeedSequence([schedule.seed, drawn, *own]).generate_state(1)[0]))
    _train_mode(network)
    trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    regular, view = schedule.regularization, schedule.view(drawn, rows)
    seen, total = 0, 0.0
    start = progress.curve[0].train_loss if progress.curve else None
    batches = training_batches(data, rows, schedule.batch_size, schedule.seed, drawn, schedule.augmentation, view)
    if isinstance(objective, LooksAhead):
        batches = objective.ahead(batches)
    for step, batch in enumerate(batches):
        count = batch.size
        share = (epoch * len(rows) + seen + count / 2) / (schedule.epochs * len(rows))
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(schedule, share)
        batch = to_device(batch, device)
        with autocast(schedule.compute, device), whole_batch_statistics(network):
            loss = objective(network, batch, Moment(epoch, share))
        value = mean_loss(loss.item(), batch)
        start = value if start is None else start
        if not math.isfinite(value) or value > DIVERGED * max(start, 1.0):
            raise InputError(_diverged(value, epoch, step, batch, schedule))
        optimizer.zero_grad(set_to_none=True)
        scaler.scale(weighted(loss, batch)).backward()
        sum_gradients(trained)
        if regular.clip_norm is not None:
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(trained, regular.clip_norm)
        scaler.step(optimizer)
        scaler.update()
        if regular.ema is not None:
            _follow(judged, network, regular.ema, epoch * math.ceil(len(rows) / schedule.batch_size) + step)
        seen += count
        total += value * count
        meter.advance(count)
    return total / seen


def _train_mode(network: nn.Module) -> None:
    network.train()
    for module in network.modules():  # a frozen layer keeps its statistics too
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and not module.weight.requires_grad:
            module.eval()


def _diverged(value: float, epoch: int, step: int, batch: Batch, schedule: Schedule) -> str:
    rows = batch.rows if batch.whole is None else batch.whole
    ids = ", ".join(str(row) for row in rows[:BLAMED]) + (", ..." if len(rows) > BLAMED else "")
    clip = "" if schedule.regularization.clip_norm else ", or set regularization.clip_norm: 1.0"
    return (
        f"training diverged: the loss became {value:g} in epoch {epoch + 1}, step {step + 1} (samples {ids}); "
        f"lower learning_rate (it is {schedule.learning_rate:g}){clip}; if it stays, look at those samples"
    )


def _settle_statistics(
    network: nn.Module, data: PreparedData, schedule: Schedule, epoch: int, device: torch.device
) -> None:
    """Measures batch normalisation's statistics anew, on some samples of the train split: the running averages lag
    behind the weights, in short trainings by tens of points of accuracy (Wu and Johnson 2021, section 3)."""
    _train_mode(network)
    layers = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training]
    if not layers:
        return
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # a plain average over the batches
    rows = data.rows("train")
    batches = training_batches(
        data, rows, schedule.batch_size, schedule.seed, epoch, schedule.augmentation, schedule.view(epoch, rows)
    )
    with torch.no_grad(), whole_batch_statistics(network):
        for batch in islice(batches, math.ceil(SETTLING / schedule.batch_size)):
            network(*to_device(batch, device).inputs)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum


def to_device(batch: Batch, device: torch.device) -> Batch:
    if device.type == "cpu":
        return batch
    inputs = tuple(tensor.to(device, non_blocking=True) for tensor in batch.inputs)
    return replace(batch, inputs=inputs, labels=batch.labels.to(device, non_blocking=True))


def _optimizer(modules: list[nn.Module], schedule: Schedule) -> torch.optim.Optimizer:
    """Biases and the weights of normalisation do not decay."""
    parameters = [parameter for module in modules for parameter in module.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": schedule.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=schedule.learning_rate, fused=True)


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
    role: Role,
    name: str,
    architecture: dict[str, object],
    meter: Meter,
    notes: tuple[str, ...] = (),
) -> NetworkResult:
    """Writes the weights and the logits of the test split into `folder` and describes them; of several processes one
    writes."""
    network.eval()
    rows = data.rows("test")
    with deterministic():
        logits = predict(network, data, rows, meter=meter)
    if scale.first():
        np.save(folder / "test_logits.npy", logits)
        save_network(network, folder / "model.safetensors")
    return NetworkResult(
        fingerprint=key,
        role=role,
        name=name,
        checkpoint_file=folder / "model.safetensors",
        architecture=architecture,
        parameters=count_parameters(network),
        macs=None if runs_files(network) else count_macs(network, example_inputs(data)),
        accuracy=accuracy(logits, data.targets[rows]),
        test_logits_file=folder / "test_logits.npy",
        validation_accuracy=outcome.validation_accuracy,
        curve=outcome.curve,
        best_epoch=outcome.best_epoch,
        notes=notes,
    )
