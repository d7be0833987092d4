"""Teachers that another process can make: plain functions of a module that imports little."""

import torch
from torch import Tensor, nn

from pipeline.errors import InputError


def convolutional() -> nn.Module:
    """Images [B, 3, S, S] in, 10 logits out."""
    torch.manual_seed(5)
    pool = nn.AdaptiveAvgPool2d(2)
    return nn.Sequential(nn.Conv2d(3, 8, 5, stride=4), nn.ReLU(), pool, nn.Flatten(), nn.Linear(32, 10)).eval()


class Witness(nn.Module):
    """Tells beside the logits what it sees: the strides of the first input, the sums of all, its number of threads."""

    def __init__(self) -> None:
        super().__init__()
        self.network = convolutional()

    def forward(self, *inputs: Tensor) -> Tensor:
        told = [*inputs[0].stride(), *(float(part.sum()) for part in inputs), torch.get_num_threads()]
        logits = self.network(inputs[0]) if len(inputs) == 1 else inputs[0].new_zeros(len(inputs[0]), 2)
        return torch.cat([logits, logits.new_tensor(told).expand(len(logits), -1)], dim=1)


class Confused(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        raise RuntimeError("no such\nkernel")


def damaged() -> nn.Module:
    raise InputError("model.safetensors: not the weights of it")
