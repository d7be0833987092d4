"""Hints and attention transfer: a named module of the student learns from one of the teacher's.

Activations are float32: maps [B, C, H, W], tokens [B, L, C], or vectors [B, C].
"""

import difflib
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.distill.inside import FrozenTeacher, Guide, Seen, masked_mean, watch
from pipeline.errors import InputError
from pipeline.networks import ImageNetwork, TextNetwork
from pipeline.settings.distill import FeatureMatch


def hint_loss(student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean squared error of activations of the same shape (Romero et al. 2015, FitNets, equation 3, as a mean over
    the elements and without its factor 1/2). `mask` bool [B, L]: the real tokens of [B, L, C]."""
    return masked_mean((student - teacher) ** 2, None if mask is None else mask.unsqueeze(2))


def attention_loss(student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
    """Squared distance of the two attention maps, mean over the batch: between 0 and 4, whatever the size
    (Zagoruyko and Komodakis 2017, section 3.1, equation 2 with p = 2; squared as in the authors' own program, whose
    loss is a mean over the positions too: their beta of 1000 is a weight of 500 / positions here).

    Maps of different sizes: the larger is averaged down to the smaller. Tokens have a map over the sequence, in which
    padding has no part.
    """
    maps = [_attention_map(activation) for activation in (student, teacher)]
    if student.ndim == 4:
        maps = list(_same_size(*(spatial.unsqueeze(1) for spatial in maps)))
    elif mask is not None:
        maps = [line.masked_fill(~mask, 0) for line in maps]
    found, expected = (functional.normalize(spatial.flatten(1), dim=1) for spatial in maps)
    return ((found - expected) ** 2).sum(dim=1).mean()


def _attention_map(activation: Tensor) -> Tensor:
    """The sum of squares over the channels (equation 1's F_sum with p = 2): [B, H, W] or [B, L]."""
    return (activation**2).sum(dim=1 if activation.ndim == 4 else 2)


def _same_size(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Maps [B, C, H, W], each averaged down to the smaller height and width of the two."""
    height, width = (min(sizes) for sizes in zip(student.shape[2:], teacher.shape[2:], strict=True))
    one, other = (functional.adaptive_avg_pool2d(maps, (height, width)) for maps in (student, teacher))
    return one, other


class FeatureGuide(Guide):
    """One pair of modules. A hint goes through a learned projection from the student's channels to the teacher's
    (FitNets' regressor, as a 1x1 convolution), also where their numbers are equal.

    Maps of different sizes are averaged down to the smaller of the two, by adaptive pooling: a regressor whose kernel
    makes the sizes fit, as in the paper, would only do for a student with the larger map.
    """

    def __init__(self, match: FeatureMatch, student: tuple[str, torch.Size], teacher: tuple[str, torch.Size]) -> None:
        super().__init__()
        (self.student, mine), (self.teacher, theirs) = student, teacher
        self.of_student, self.of_teacher = (self.student,), (self.teacher,)
        _refuse_unlike(match, mine, theirs)
        self.projection: nn.Module | None = None
        if match.loss == "hint":
            channels = 1 if len(mine) == 4 else -1
            widths = mine[channels], theirs[channels]
            self.projection = nn.Conv2d(*widths, kernel_size=1) if len(mine) == 4 else nn.Linear(*widths)

    def forward(self, student: Seen, teacher: Seen) -> Tensor:
        found, expected = student.outputs[self.student], teacher.outputs[self.teacher]
        mask = student.mask if found.ndim == 3 else None
        if self.projection is None:
            return attention_loss(found, expected, mask)
        if found.ndim == 4:
            found, expected = _same_size(found, expected)
        return hint_loss(self.projection(found), expected, mask)


def feature_guides(
    matches: Sequence[FeatureMatch], student: nn.Module, teacher: FrozenTeacher, example: tuple[Tensor, ...]
) -> list[tuple[float, FeatureGuide]]:
    """A guide with its weight for each match. Names are those of timm's or transformers' own network, such as
    `blocks.3` or `bert.encoder.layer.1`.

    `example`, a batch on the networks' device, is passed through both once, to see what the modules give. Raises
    InputError for a name that is none, and for modules whose outputs can't be compared.
    """
    if not matches:
        return []
    names = [
        (_full_name(student, match.student, "the student"), _full_name(teacher.network, match.teacher, teacher.name))
        for match in matches
    ]
    training = student.training
    with torch.no_grad(), watch(student.eval(), (mine for mine, _ in names)) as seen:
        student(*example)
    student.train(training)
    taught = teacher.look(example, (theirs for _, theirs in names))
    guides = []
    for match, (mine, theirs) in zip(matches, names, strict=True):
        shapes = (
            (mine, _shape(seen, mine, match.student, "the student")),
            (theirs, _shape(taught, theirs, match.teacher, teacher.name)),
        )
        guides.append((match.weight, FeatureGuide(match, *shapes)))
    return guides


def _full_name(network: nn.Module, name: str, owner: str) -> str:
    """The name within the pipeline's network. Raises InputError naming the nearest module."""
    prefix = {ImageNetwork: "body", TextNetwork: "transformer"}.get(type(network), "")
    inner = network.get_submodule(prefix)
    modules = dict(inner.named_modules())
    if name and name in modules:
        return f"{prefix}.{name}" if prefix else name
    parent = name
    while parent not in modules:  # the whole network is called ""
        parent = parent.rpartition(".")[0]
    near = difflib.get_close_matches(name, list(modules), n=1, cutoff=0.4)
    hint = f"did you mean '{near[0]}'? " if near else ""
    children = [child for child, _ in modules[parent].named_children()]
    listed = ", ".join(children[:16]) + (", ..." if len(children) > 16 else "")
    place = f"in '{parent}' there is {listed or 'nothing'}" if parent else f"there is {listed}"
    raise InputError(f"distill.features: {owner} has no module '{name}': {hint}{place}")


def _shape(seen: Seen, full: str, name: str, owner: str) -> torch.Size:
    if full not in seen.outputs:
        raise InputError(
            f"distill.features: module '{name}' of {owner} gives no tensor when the network runs: name one inside it"
        )
    return seen.outputs[full].shape


def _refuse_unlike(match: FeatureMatch, student: torch.Size, teacher: torch.Size) -> None:
    pair = f"distill.features: '{match.student}' gives {list(student)} and '{match.teacher}' {list(teacher)}"
    if len(student) != len(teacher) or len(student) not in (2, 3, 4):
        raise InputError(f"{pair}: expected two of a kind, maps [B, C, H, W], tokens [B, L, C] or vectors [B, C]")
    if len(student) == 3 and student[1] != teacher[1]:
        raise InputError(f"{pair}: tokens of sequences of different lengths can't be compared; choose others")
    if len(student) == 2 and match.loss == "attention":
        raise InputError(f"{pair}: attention transfer needs maps or tokens; use loss: hint")
