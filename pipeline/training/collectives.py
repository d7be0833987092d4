"""What the processes of one run compute together: sums that gradients flow through, gathered rows, gradients, and
batch normalisation over the whole batch. For a process that works alone each gives its own back, unchanged."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from pipeline import scale
from pipeline.data.batches import Batch


def _summed(tensor: Tensor) -> Tensor:
    """The sum of the processes' tensors of one shape, in `tensor`'s place; the same bits for all."""
    with scale.lost_processes():
        torch.distributed.all_reduce(tensor)
    return tensor


class _Total(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, tensor: Tensor) -> Tensor:
        return _summed(tensor.detach().clone(memory_format=torch.contiguous_format))

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        # Each process's copy of the sum has gone into a loss of its own; the gradient is that of their sum.
        return _summed(gradients[0].clone(memory_format=torch.contiguous_format))


def total(tensor: Tensor) -> Tensor:
    """The sum over the processes. Gradients flow back to all of them, of the sum of their losses."""
    return tensor if scale.processes() == 1 else _Total.apply(tensor)


def gathered(tensor: Tensor, batch: Batch) -> Tensor:
    """Rows of the whole batch, in its order, from the rows [b, ...] of the processes' slices of it. Gradients flow
    back as through `total`. `tensor` itself where `batch` is the whole one."""
    if batch.whole is None:
        return tensor
    place = scale.part(batch.size)
    spread = tensor.new_zeros(batch.size, *tensor.shape[1:])
    return total(spread.index_add(0, torch.arange(place.start, place.stop, device=tensor.device), tensor))


def gathered_rows(rows: np.ndarray, count: int) -> np.ndarray:
    """All `count` rows in order, from the part [n, C] (`scale.part`) that each process has."""
    if scale.processes() == 1:
        return rows
    longest = -(-count // scale.processes())
    mine = torch.zeros(longest, *rows.shape[1:], dtype=torch.from_numpy(rows).dtype)
    mine[: len(rows)] = torch.from_numpy(rows)
    parts = [torch.empty_like(mine) for _ in range(scale.processes())]
    with scale.lost_processes():
        torch.distributed.all_gather(parts, mine)
    sizes = np.diff([count * number // len(parts) for number in range(len(parts) + 1)])
    return np.concatenate([part[:size].numpy() for part, size in zip(parts, sizes, strict=True)])


def share_of(batch: Batch) -> float:
    """Of the whole batch, what this process has."""
    return len(batch.rows) / batch.size


def mean_loss(value: float, batch: Batch) -> float:
    """The whole batch's mean loss, of which `value` is this process's slice's. An empty slice has none."""
    if scale.processes() == 1:
        return value
    weighted = share_of(batch) * value if len(batch.rows) else 0.0
    return float(_summed(torch.tensor(weighted, dtype=torch.float64)))


def weighted(loss: Tensor, batch: Batch) -> Tensor:
    """The loss whose gradients, summed over the processes, are those of the whole batch's mean."""
    return loss if scale.processes() == 1 else share_of(batch) * loss


def mean_over(sum_: Tensor, count: Tensor, size: int) -> Tensor:
    """The mean of what `sum_` adds up of `count` among this process's `size` samples, 0 of none; of several processes
    the loss that, `weighted` and summed, is the mean over all that they count."""
    if scale.processes() == 1:
        return sum_ / count.clamp(min=1)
    counted, samples = _summed(torch.tensor([float(count), float(size)], dtype=torch.float64)).tolist()
    return sum_ * (samples / (max(counted, 1.0) * max(size, 1)))


def sum_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Gives every process the sum of all gradients: one flat message for each dtype."""
    if scale.processes() == 1:
        return
    kinds: dict[torch.dtype, list[Tensor]] = {}
    for parameter in parameters:
        if parameter.grad is not None:
            kinds.setdefault(parameter.grad.dtype, []).append(parameter.grad)
    for gradients in kinds.values():
        flat = _summed(torch.cat([gradient.reshape(-1) for gradient in gradients]))
        for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))


def align(modules: Iterable[nn.Module]) -> None:
    """Gives every process the weights and buffers of process 0: what is drawn or decomposed on another machine may
    differ in its last bits, or in its signs."""
    if scale.processes() == 1:
        return
    with scale.lost_processes(), torch.no_grad():
        for module in modules:
            for tensor in module.state_dict().values():
                sent = tensor.detach().clone(memory_format=torch.contiguous_format)
                torch.distributed.broadcast(sent, src=0)
                tensor.copy_(sent)


@contextmanager
def whole_batch_statistics(network: nn.Module) -> Iterator[None]:
    """Batch normalisation of `network` that trains in this block takes mean and variance of the whole batch, not of the
    process's slice: outputs, gradients and running statistics are those of one process.

    torch's own SyncBatchNorm refuses a CPU, and would have to take the place of every kind of layer that computes
    `batch_norm`; timm has its own. So the call itself is what is replaced.
    """
    with _WholeBatches() if scale.processes() > 1 and normalises_batches(network) else nullcontext():
        yield


def normalises_batches(network: nn.Module) -> bool:
    return any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in network.modules())


class _WholeBatches(TorchFunctionMode):
    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        call = _batch_norm if function is functional.batch_norm else function
        return call(*args, **(kwargs or {}))


def _batch_norm(
    values: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """`torch.nn.functional.batch_norm` of `values` [b, C, ...] over the slices of all processes (Ioffe and Szegedy
    2015, algorithm 1; running variances are unbiased, as torch's)."""
    if not training:
        return functional.batch_norm(values, running_mean, running_var, weight, bias, False, momentum, eps)
    exact = values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
    over = [0, *range(2, values.ndim)]
    channels = [1, -1] + [1] * (values.ndim - 2)
    size = values.shape[1]
    sums = total(torch.cat([exact.sum(over), exact.new_tensor([exact.numel() / size])]))
    count = sums[-1].detach()
    mean = sums[:-1] / count
    centred = exact - mean.view(channels)
    variance = total((centred * centred).sum(over)) / count
    if running_mean is not None and running_var is not None:
        with torch.no_grad():
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
            running_var.lerp_((variance * count / (count - 1)).to(running_var.dtype), momentum)
    scaled = centred * (variance + eps).rsqrt().view(channels)
    if weight is not None and bias is not None:
        scaled = scaled * weight.view(channels) + bias.view(channels)
    return scaled.to(values.dtype)
