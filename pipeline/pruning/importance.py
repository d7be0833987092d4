"""How much a channel, head or unit matters: by name, for convolutions by torch-pruning, for a BERT by the same formulas
on the weights through which a head or a unit writes."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.data.batches import evaluation_batches
from pipeline.results import PreparedData
from pipeline.settings.prune import Importance
from pipeline.training.fit import deterministic, to_device
from pipeline.training.schedule import Moment, Objective, Schedule

JUDGES = 512  # training samples that judge what may go
TOGETHER = 32  # of them that give one gradient; a Hessian's diagonal is of single samples


def channel_importance(name: Importance) -> Any:
    """What torch-pruning calls with a group of dependent channels; `gather_gradients` has been called before.

    `taylor` (Molchanov et al. 2019), `hessian` (optimal brain damage: LeCun et al. 1989) and `bn_scale` (network
    slimming: Liu et al. 2017) are figures that compare over the whole network and are left as they are; norms of
    weights, which do not, are divided by their layer's mean.
    """
    from torch_pruning import importance

    made: dict[Importance, Callable[[], Any]] = {
        "taylor": lambda: importance.GroupTaylorImportance(normalizer=None),
        "hessian": lambda: importance.GroupHessianImportance(normalizer=None),
        "magnitude_l1": lambda: importance.GroupMagnitudeImportance(p=1),
        "magnitude_l2": lambda: importance.GroupMagnitudeImportance(p=2),
        "bn_scale": lambda: importance.BNScaleImportance(normalizer=None),
        "random": importance.RandomImportance,
    }
    return made[name]()


def column_importance(weight: Tensor, name: Importance) -> Tensor:
    """float32 [columns]: how much each column of `weight` [rows, columns] matters; columns of more than one matrix
    compare but for their norms, which are divided by the matrix' mean."""
    grad = weight.grad
    if name == "taylor":
        assert grad is not None
        found = (weight * grad).sum(0).abs()
    elif name == "hessian":
        assert grad is not None
        found = (weight.square() * grad).sum(0)  # `grad` holds squares here
    elif name == "random":
        found = torch.rand(weight.shape[1])
    else:
        norms = weight.abs().pow(1 if name == "magnitude_l1" else 2).sum(0)
        found = norms / norms.mean()
    return found.detach().cpu()


def gather_gradients(
    network: nn.Module,
    data: PreparedData,
    objective: Objective,
    schedule: Schedule,
    importance: Importance,
    device: torch.device,
) -> None:
    """Leaves in the parameters' `grad` what `importance` asks for, over a sample of the train split in evaluation mode:
    for `taylor` the gradient of the loss, for `hessian` its square, sample by sample, in the mean (the diagonal of the
    empirical Fisher information, in place of the Hessian's). The others ask for none."""
    network.eval().zero_grad(set_to_none=True)
    if importance not in ("taylor", "hessian"):
        return
    random = np.random.default_rng(schedule.seed)
    rows = np.sort(random.permutation(data.rows("train"))[:JUDGES])
    squares: dict[nn.Parameter, Tensor] = {}
    together = 1 if importance == "hessian" else TOGETHER
    with deterministic():
        for batch in evaluation_batches(data, rows, together, schedule.seed, schedule.augmentation, view=0):
            batch = to_device(batch, device)
            (objective(network, batch, Moment(0, 0.0)) * len(batch.rows)).backward()
            if importance == "hessian":
                for parameter in network.parameters():
                    if parameter.grad is not None:
                        squares[parameter] = squares.get(parameter, 0) + parameter.grad.square() / len(rows)
                        parameter.grad = None
    for parameter, square in squares.items():
        parameter.grad = square
