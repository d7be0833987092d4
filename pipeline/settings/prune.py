"""What a recipe says of pruning the student."""

from typing import Literal

from pydantic import Field, model_validator

from targets.profile import Task
from targets.strict import Strict

Importance = Literal["taylor", "hessian", "magnitude_l1", "magnitude_l2", "bn_scale", "random"]
GoalName = Literal["macs", "params", "size_mb", "latency"]
MEASURED: tuple[GoalName, ...] = ("size_mb", "latency")  # on files made for a target: its student is its own
RECOVERING = frozenset({"schedule", "steps", "recovery_epochs", "learning_rate"})  # settings of the training after it
OF_CHANNELS = frozenset({"importance", "scope", "round_to"})  # settings of what goes, where channels do


class PruneSettings(Strict):
    """Structured pruning: channels of convolutions; heads and feed-forward units of a BERT, and whole layers.

    One goal says how much: the share that is left of the student's multiply-accumulates (`macs`), of its parameters
    (`params`) or of its `latency` on the target's runtime, in the file that ships there; or `size_mb`, the megabytes
    (10**6 bytes) that this file may have. Where a target ships two files both keep to it. A share of 1 asks nothing.
    `layers`: those of a BERT that stay; what the goal still asks for, the layers left give. `sparsity` is no goal of
    these: the share of the weights of each 1x1 convolution that become zeros, the least in magnitude.

    `importance` says which go, `scope` whether they compare over the whole network or within each layer (None:
    `global` for images, `layer` for texts).

    `when`: `after` distillation, with `recovery_epochs` of it again, all cut at once (`one_shot`) or in `steps` with
    training between them (`gradual`); or `before`: the student's pretrained start is cut, and distillation is its
    recovery. A recipe whose image student starts as its teacher means `before` if it says neither.
    """

    macs: float = Field(default=1.0, gt=0.05, le=1.0)
    params: float = Field(default=1.0, gt=0.05, le=1.0)
    latency: float = Field(default=1.0, gt=0.05, le=1.0)
    size_mb: float | None = Field(default=None, gt=0)
    layers: int | None = Field(default=None, ge=1, le=24)
    sparsity: float | None = Field(default=None, ge=0.67, le=0.98)  # with fewer zeros XNNPACK takes its dense kernels
    importance: Importance = "taylor"
    scope: Literal["global", "layer"] | None = None
    round_to: int = Field(default=8, ge=1, le=64)
    when: Literal["before", "after"] = "after"
    schedule: Literal["one_shot", "gradual"] = "one_shot"
    steps: int = Field(default=4, ge=2, le=50)
    recovery_epochs: int = Field(default=2, ge=0)
    learning_rate: float = Field(default=5e-4, gt=0, lt=1)

    @model_validator(mode="after")
    def _one_goal(self) -> "PruneSettings":
        if len(self._goals) > 1:
            named = " and ".join(f"{name} {value:g}" for name, value in self._goals.items())
            raise ValueError(f"one goal at a time, found {named}: remove all but one")
        if self.sparsity is not None and (self._goals or self.layers is not None or self.when == "before"):
            raise ValueError(
                "sparsity sets single weights of the distilled student to zero and cuts nothing: remove macs, params, "
                "latency, size_mb, layers and when: before, or sparsity"
            )
        if self.sparsity is not None and (unused := sorted(OF_CHANNELS & self.model_fields_set)):
            raise ValueError(f"sparsity takes the least in magnitude of each layer: remove {' and '.join(unused)}")
        return self

    @model_validator(mode="after")
    def _steps_between_epochs(self) -> "PruneSettings":
        if self.steps != type(self).model_fields["steps"].default and self.schedule != "gradual":
            raise ValueError("steps is for schedule: gradual; remove it")
        if self.schedule == "gradual" and self.when == "before":
            raise ValueError("schedule gradual trains between the cuts of a trained student: use when: after")
        if self.schedule == "gradual" and self.recovery_epochs < self.steps:
            raise ValueError(
                f"schedule gradual trains an epoch after each of its {self.steps} steps, recovery_epochs is "
                f"{self.recovery_epochs}: raise it, or lower steps"
            )
        return self

    @property
    def _goals(self) -> dict[GoalName, float]:
        shares: dict[GoalName, float] = {"macs": self.macs, "params": self.params, "latency": self.latency}
        found = {name: share for name, share in shares.items() if share < 1}
        return found if self.size_mb is None else {**found, "size_mb": self.size_mb}

    @property
    def goal(self) -> tuple[GoalName, float] | None:
        """What is asked for, and how much of it: a share, or megabytes. None where no goal is given."""
        return next(iter(self._goals.items()), None)

    @property
    def prunes(self) -> bool:
        return self.goal is not None or self.layers is not None or self.sparsity is not None

    @property
    def measured(self) -> bool:
        """Whether the goal is measured on the files of a target."""
        return self.goal is not None and self.goal[0] in MEASURED

    def refuse_for(self, task: Task) -> None:
        """Raises ValueError for what pruning a network of `task` has not."""
        if task == "image-classification" and self.layers is not None:
            raise ValueError("prune.layers: whole layers are cut from text students; remove it, or lower prune.macs")
        if task == "text-classification" and self.sparsity is not None:
            raise ValueError("prune.sparsity: only 1x1 convolutions have kernels that skip zeros, texts' students none")
        if task == "text-classification" and self.importance == "bn_scale":
            raise ValueError("prune.importance: bn_scale needs batch normalisation, which text students have not")
