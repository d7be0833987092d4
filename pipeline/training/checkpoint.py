"""The state of a training after its last whole epoch, on disk, so that a killed one goes on."""

import io
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from pipeline import scale
from pipeline.results import EpochRecord
from pipeline.store import write_atomic


@dataclass
class Progress:
    """How far a training came: its curve, and epoch, validation accuracy and weights of the best epoch."""

    curve: list[EpochRecord] = field(default_factory=list)
    best_epoch: int | None = None
    best_accuracy: float = -1.0
    best_weights: dict[str, Tensor] = field(default_factory=dict)


def changing(network: nn.Module) -> dict[str, Tensor]:
    """The tensors that training changes: trainable parameters and buffers."""
    frozen = {name for name, parameter in network.named_parameters() if not parameter.requires_grad}
    return {name: tensor for name, tensor in network.state_dict().items() if name not in frozen}


def save_progress(
    file: Path,
    progress: Progress,
    modules: dict[str, nn.Module],
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
) -> None:
    """Writes all that `load_progress` needs; of `modules` what training changes. Of several processes one writes."""
    if not scale.first():
        return
    state = {
        "modules": {name: changing(module) for name, module in modules.items()},
        "optimizer": optimizer.state_dict(),
        "scaler": scaler.state_dict(),
        "curve": [(r.epoch, r.train_loss, r.validation_accuracy) for r in progress.curve],
        "best": (progress.best_epoch, progress.best_accuracy, progress.best_weights),
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    content = io.BytesIO()  # so that a full disk is an OSError, as everywhere, not one of torch's own
    torch.save(state, content)
    write_atomic(file, content.getvalue())


def load_progress(
    file: Path,
    modules: dict[str, nn.Module],
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    device: torch.device,
) -> Progress:
    """The progress in `file`, with modules, optimizer and scaler as they were then; a fresh one if there is no file.
    All processes read what one wrote."""
    exists = file.exists()
    if scale.processes() > 1 and scale.from_first(exists):
        exists = scale.seen(lambda: file.exists() or None, str(file))
    if not exists:
        return Progress()
    state = torch.load(file, map_location=device, weights_only=True)
    for name, module in modules.items():
        module.load_state_dict(state["modules"][name], strict=False)
    optimizer.load_state_dict(state["optimizer"])
    scaler.load_state_dict(state["scaler"])
    return Progress([EpochRecord(*record) for record in state["curve"]], *state["best"])
