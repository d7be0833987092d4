"""What parts of an input speak for a class, by a network's gradients or by taking parts away (Captum).

Explained is the class's log-odds, log p - log(1 - p), as in Zintgraf et al. 2017, "Visualizing Deep Neural Network
Decisions": unlike a logit it does not depend on what a network adds to all its logits, so that two networks compare,
and unlike a probability it does not saturate. What is taken away becomes nothing: black pixels, or the padding's word
piece, which no training gives a meaning.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from pipeline.errors import InputError
from pipeline.settings.release import ExplainSettings
from pipeline.teachers.combine import EnsembleNetwork

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

AT_ONCE = 64  # inputs in one pass of the network


@dataclass(frozen=True)
class Attributed:
    """`values`: float32, images [B, S, S], texts [B, L]. `missed`: float32 [B], by what share the values of a sample
    miss the sum that they should have, of integrated gradients; None of occlusion."""

    values: Tensor
    missed: Tensor | None


def log_odds(logits: Tensor, classes: Tensor) -> Tensor:
    """[B] log p - log(1 - p) of the `classes` int64 [B], from `logits` [B, K]."""
    chosen = logits.gather(1, classes.unsqueeze(1))
    others = logits.scatter(1, classes.unsqueeze(1), -torch.inf)
    return chosen.squeeze(1) - others.logsumexp(1)


def explained_by(network: nn.Module) -> Callable[..., Tensor]:
    """(*inputs, classes) -> log-odds [B]."""

    def score(*given: Tensor) -> Tensor:
        *inputs, classes = given
        return log_odds(network(*inputs).float(), classes)

    return score


def attribute_images(network: nn.Module, images: Tensor, classes: Tensor, settings: ExplainSettings) -> Attributed:
    """Of `images` float32 [B, 3, S, S], pixels 0..255, in evaluation mode.

    Integrated gradients (Sundararajan et al. 2017) from a black image, as they do for objects (section 3), summed over
    the channels: the values of an image add up to the log-odds less those of the black image. Black parts get none.
    Occlusion (Zeiler and Fergus 2014) by black squares of `window` cells, a cell apart; a pixel gets the mean of what
    the squares over it took away.
    """
    from captum.attr import IntegratedGradients, Occlusion

    score = explained_by(network)
    if settings.method == "integrated_gradients":
        values, delta = IntegratedGradients(score).attribute(
            images, baselines=0.0, additional_forward_args=(classes,), n_steps=settings.steps,
            internal_batch_size=max(AT_ONCE, len(images)), return_convergence_delta=True,
        )  # fmt: skip
        values = values.float().sum(1)
        return Attributed(values, _missed(values, delta))
    cell = images.shape[-1] // settings.grid
    values = Occlusion(score).attribute(
        images, (images.shape[1], settings.window * cell, settings.window * cell), (images.shape[1], cell, cell),
        baselines=0.0, additional_forward_args=(classes,), perturbations_per_eval=_parallel(images),
    )  # fmt: skip
    return Attributed(values.float().mean(1), None)


def attribute_texts(
    network: nn.Module,
    inputs: tuple[Tensor, ...],
    classes: Tensor,
    settings: ExplainSettings,
    tokenizer: "PreTrainedTokenizerFast",
) -> Attributed:
    """Of `inputs` (input_ids, attention_mask, token_type_ids), int64 [B, L], in evaluation mode; special tokens stay.

    Integrated gradients along the word embeddings, from those of padding to the text's, summed over the dimensions.
    Occlusion by padding in place of `window` word pieces. Raises InputError for a network without word embeddings.
    """
    from captum.attr import LayerIntegratedGradients, Occlusion

    ids, *rest = inputs
    framing = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}  # an unknown word is part of the text
    special = torch.isin(ids, torch.tensor(sorted(framing), device=ids.device))
    nothing = torch.where(special, ids, tokenizer.pad_token_id)
    score, more = explained_by(network), (*rest, classes)
    if settings.method == "integrated_gradients":
        # cuDNN has no gradients of an LSTM in evaluation mode.
        with warnings.catch_warnings(), torch.backends.cudnn.flags(enabled=False):
            warnings.simplefilter("ignore")  # that layers must not depend on one another: members don't
            parts, delta = LayerIntegratedGradients(score, word_embeddings(network)).attribute(
                ids, baselines=nothing, additional_forward_args=more, n_steps=settings.steps,
                internal_batch_size=max(AT_ONCE, len(ids)), return_convergence_delta=True,
            )  # fmt: skip
        values = torch.stack([part.float().sum(2) for part in parts]).sum(0)
        return Attributed(values, _missed(values, delta))
    window = min(settings.window, ids.shape[1])
    values = Occlusion(score).attribute(
        ids, (window,), baselines=nothing, additional_forward_args=more, perturbations_per_eval=_parallel(ids)
    )
    return Attributed(values.float(), None)


def word_embeddings(network: nn.Module) -> list[nn.Module]:
    """The layer that gives word pieces their vectors, of each member where there are several."""
    members = list(network.members) if isinstance(network, EnsembleNetwork) else [network]
    layers: list[Any] = []
    for member in cast(list[Any], members):
        try:
            layers.append(member.get_input_embeddings())
        except (AttributeError, NotImplementedError):
            layers.append(None)
    if not all(isinstance(layer, nn.Module) for layer in layers):
        raise InputError("explain: the teacher has no word embeddings to follow; use explain.method: occlusion")
    return layers


def _missed(values: Tensor, delta: Tensor) -> Tensor:
    """[B] the completeness axiom's error `delta`, as a share of what the values should add up to."""
    found = delta.float().abs()
    should = (values.flatten(1).sum(1) - delta).float().abs()
    return (found / should.clamp_min(torch.finfo(torch.float32).tiny)).detach()


def _parallel(inputs: Tensor) -> int:
    return max(1, AT_ONCE // len(inputs))
