"""Learning from inside a teacher: what its modules give for the very inputs that the student saw.

A guide compares the two; `Guided` is the objective that adds the guides' losses to that of the answers.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from pipeline.data.batches import Batch
from pipeline.errors import InputError
from pipeline.networks import load_network
from pipeline.results import NetworkResult
from pipeline.training.collectives import total
from pipeline.training.schedule import Moment, Objective

PYTORCH = ("timm", "transformers")  # kinds of architecture whose inside can be seen


@dataclass
class Seen:
    """One forward pass of a network: the `inputs` it was given and `outputs` of the watched modules by name,
    float32, each a copy, since what follows a module may change its output in place."""

    inputs: tuple[Tensor, ...] = ()
    outputs: dict[str, Tensor] = field(default_factory=dict)

    @property
    def mask(self) -> Tensor | None:
        """Of texts (input_ids, attention_mask, token_type_ids): bool [B, L], True for real tokens. None for images."""
        return self.inputs[1].bool() if len(self.inputs) == 3 else None

    def saw(self, inputs: tuple[Tensor, ...]) -> bool:
        """Whether it was given these very tensors."""
        return len(self.inputs) == len(inputs) and all(a is b for a, b in zip(self.inputs, inputs, strict=True))


@contextmanager
def watch(network: nn.Module, names: Iterable[str]) -> Iterator[Seen]:
    """What passes through `network` while the block runs; of several passes the last. Afterwards the network is as
    it was: nothing stays in it."""
    seen = Seen()

    def keep_inputs(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen.inputs = inputs

    def keeper(name: str) -> Any:
        def keep(module: nn.Module, inputs: Any, output: Any) -> None:
            tensor = output[0] if isinstance(output, tuple) else output
            if isinstance(tensor, Tensor):
                seen.outputs[name] = tensor.to(torch.float32, copy=True)

        return keep

    handles: list[Any] = [network.register_forward_pre_hook(keep_inputs)]
    try:
        for name in sorted(set(names)):
            handles.append(network.get_submodule(name).register_forward_hook(keeper(name)))
        yield seen
    finally:
        for handle in handles:
            handle.remove()


@dataclass(frozen=True)
class FrozenTeacher:
    """A teacher to look into: in evaluation mode, without gradients, and no module of the objective that asks it, so
    that it is neither trained nor written into checkpoints."""

    name: str
    network: nn.Module

    def look(self, inputs: tuple[Tensor, ...], names: Iterable[str]) -> Seen:
        with torch.no_grad(), watch(self.network, names) as seen:
            self.network(*inputs)
        return seen


def frozen_teacher(teacher: NetworkResult, device: torch.device) -> FrozenTeacher:
    """Raises InputError for a teacher that gives logits only."""
    if teacher.architecture.get("kind") not in PYTORCH:
        raise InputError(
            f"distill.features and distill.layers look into a PyTorch teacher, {teacher.name} gives only its answers: "
            "remove them, or take a teacher of timm or transformers"
        )
    return FrozenTeacher(teacher.name, load_network(teacher).to(device).requires_grad_(False))


class Remembered(Protocol):
    """A teacher whose modules were looked at before."""

    def recall(self, batch: Batch) -> Seen:
        """What they gave for the samples of the batch in their views."""
        ...


class Guide(nn.Module):
    """Compares what modules of the student (`of_student`) and of the teacher (`of_teacher`) gave for the same inputs:
    `guide(student, teacher)` is the mean loss. Its parameters are learned projections."""

    of_student: tuple[str, ...]
    of_teacher: tuple[str, ...]

    def forward(self, student: Seen, teacher: Seen) -> Tensor:
        raise NotImplementedError


class Guided(nn.Module):
    """The objective `answers + sum of weight * guide`, from guides alone where `answers` is None.

    The teacher is given the inputs that the student's network was given, mixed or not, in the same view. Where the
    answers already asked `teacher.network` about them, that is looked at: it runs once. Or it was looked at before, in
    that view.
    """

    def __init__(
        self, answers: Objective | None, guides: Sequence[tuple[float, Guide]], teacher: FrozenTeacher | Remembered
    ) -> None:
        super().__init__()
        self.answers = answers
        self.weights = [weight for weight, _ in guides]
        self.guides = nn.ModuleList(guide for _, guide in guides)
        self.teacher = teacher

    def forward(self, network: nn.Module, batch: Batch, moment: Moment) -> Tensor:
        guides = [guide for guide in self.guides if isinstance(guide, Guide)]
        mine = [name for guide in guides for name in guide.of_student]
        theirs = [name for guide in guides for name in guide.of_teacher]
        live = self.teacher.network if isinstance(self.teacher, FrozenTeacher) else None
        watched: AbstractContextManager[Seen] = nullcontext(Seen()) if live is None else watch(live, theirs)
        with watch(network, mine) as student, watched as teacher:
            if self.answers is None:
                loss = network(*batch.inputs).new_zeros(())
            else:
                loss = self.answers(network, batch, moment)
        if not isinstance(self.teacher, FrozenTeacher):
            teacher = self.teacher.recall(batch)
        elif not teacher.saw(student.inputs):
            teacher = self.teacher.look(student.inputs, theirs)
        with torch.autocast(loss.device.type, enabled=False):  # what was seen is float32, and so are the losses
            for weight, guide in zip(self.weights, guides, strict=True):
                loss = loss + weight * guide(student, teacher)
        return loss


def masked_mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """The mean of `values` where `mask` (bool, of a shape that spreads over theirs) is True: of several processes that
    of all their slices, for one may have more tokens than another. Without a mask it is the slice's."""
    if mask is None:
        return values.mean()
    kept = mask.expand_as(values)
    return total(values.masked_fill(~kept, 0).sum()) / total(kept.sum())
