"""Activation functions of a network, replaced by others (`pipeline.students.adapt`)."""

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional


class HardGate(nn.Module):
    """Hard-sigmoid as a sum, ReLU6 and a product, which converters leave as they are."""

    def forward(self, values: Tensor) -> Tensor:
        return functional.relu6(values + 3) * (1 / 6)


class QuickGelu(nn.Module):
    """x * sigmoid(1.702 x), an approximation of GELU."""

    def forward(self, values: Tensor) -> Tensor:
        return values * (1.702 * values).sigmoid()


MODULES: dict[str, type[nn.Module]] = {"hard-swish": nn.Hardswish, "hard-sigmoid": nn.Hardsigmoid, "gelu": nn.GELU}
FORMS: dict[str, type[nn.Module]] = {"relu6": nn.ReLU6, "relu6(x + 3) / 6": HardGate, "quick_gelu": QuickGelu}


def replace_activations(network: nn.Module, adapted: Mapping[str, str]) -> None:
    """Puts the form `adapted[operator]` in the place of each module of that operator. Weights stay as they are."""
    kinds = {MODULES[operator]: FORMS[form] for operator, form in adapted.items()}
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if type(child) in kinds:
                setattr(parent, name, kinds[type(child)]())
