"""What a recipe says of every training."""

from typing import Literal

from pydantic import Field

from targets.strict import Strict


class Regularization(Strict):
    """What keeps a training from learning its samples by heart, and from running on or away.

    `ema`: the decay of a moving average of the weights, which is what is judged and kept. `patience`: epochs without
    a better validation accuracy after which training stops. `clip_norm`: the largest norm of all gradients together.
    `mixup`, `cutmix`: parameter of the Beta distribution that the share of the mixed images is drawn from; 0 mixes
    none, and with both set each batch takes one of them.
    """

    ema: float | None = Field(default=None, gt=0, lt=1)
    patience: int | None = Field(default=None, ge=1)
    clip_norm: float | None = Field(default=None, gt=0)
    mixup: float = Field(default=0.0, ge=0, le=10)
    cutmix: float = Field(default=0.0, ge=0, le=10)

    @property
    def mixes(self) -> bool:
        return self.mixup > 0 or self.cutmix > 0


class ComputeSettings(Strict):
    """How trainings compute. `precision`: of convolutions and matrix products (bf16 and fp16 by autocast; weights stay
    float32), the student's and those of a teacher that is asked as it goes; fp16 needs a CUDA device. `compile`: the
    trained network by torch.compile, which must not be looked into."""

    precision: Literal["float32", "bf16", "fp16"] = "float32"
    compile: bool = False
