"""What speaks for a class: against networks whose attributions can be worked out by hand."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

from pipeline.data.spans import common_parts, summed
from pipeline.errors import InputError
from pipeline.explanation.agreement import ROUNDS, Parts, chance_pairs, measured, rank_correlation, top_overlap
from pipeline.explanation.attribution import attribute_images, attribute_texts, log_odds, word_embeddings
from pipeline.explanation.explain import pooled
from pipeline.settings.release import ExplainSettings
from pipeline.teachers.combine import EnsembleNetwork

GRADIENTS = ExplainSettings(grid=4, steps=64)
TAKING_AWAY = ExplainSettings(grid=4, method="occlusion")
PAD, CLS, SEP, UNK = range(4)
TOKENIZER: Any = SimpleNamespace(all_special_ids=[PAD, CLS, SEP, UNK], unk_token_id=UNK, pad_token_id=PAD)
IDS = torch.tensor([[CLS, 7, 8, UNK, SEP, PAD], [CLS, 9, 5, 6, 4, SEP]])
TEXTS = (IDS, (IDS != PAD).long(), torch.zeros_like(IDS))


class Linear(nn.Module):
    """Two logits that are sums of weighted pixels: their log-odds are linear too."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.weight = nn.Parameter(torch.randn(2, 3, 8, 8, generator=generator) / 100)

    def forward(self, images: Tensor) -> Tensor:
        return torch.einsum("bchw,kchw->bk", images, self.weight)


class Bent(nn.Module):
    """A network that is far from linear."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 36, 3))

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images / 50)


class Words(nn.Module):
    """Logits [B, 2]: the sum of the word vectors that the mask leaves, weighted."""

    def __init__(self, seed: int = 3) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.embeddings, self.head = nn.Embedding(10, 5), nn.Linear(5, 2)

    def get_input_embeddings(self) -> nn.Module:
        return self.embeddings

    def forward(self, ids: Tensor, mask: Tensor, types: Tensor) -> Tensor:
        return self.head((self.embeddings(ids) * mask.unsqueeze(2)).sum(1))

    def by_hand(self, ids: Tensor) -> Tensor:
        """[B, L] what each piece adds to the log-odds of class 1 beside padding."""
        return (self.embeddings(ids) - self.embeddings.weight[PAD]) @ (self.head.weight[1] - self.head.weight[0])


def images() -> Tensor:
    pixels = torch.randint(0, 256, (2, 3, 8, 8), generator=torch.Generator().manual_seed(0)).float()
    pixels[:, :, :2, :2] = 0
    return pixels


def test_log_odds_are_those_of_the_probability_and_no_matter_of_a_shift() -> None:
    logits, classes = torch.tensor([[1.0, 2.0, -1.0], [0.5, 0.0, 3.0]]), torch.tensor([1, 0])
    chances = logits.softmax(1)[torch.arange(2), classes]
    torch.testing.assert_close(log_odds(logits, classes), (chances / (1 - chances)).log())
    torch.testing.assert_close(log_odds(logits + 5, classes), log_odds(logits, classes))


def test_integrated_gradients_of_a_linear_network_are_weight_times_pixel() -> None:
    network, classes = Linear(), torch.tensor([1, 0])
    found = attribute_images(network, images(), classes, GRADIENTS)
    weight = network.weight[1] - network.weight[0]
    expected = torch.stack([(weight * images()[0]).sum(0), (-weight * images()[1]).sum(0)])
    torch.testing.assert_close(found.values, expected)
    assert found.missed is not None
    assert float(found.missed.max()) < 1e-4


def test_integrated_gradients_are_complete() -> None:
    """They add up to the log-odds less those of a black image (Sundararajan et al. 2017, proposition 1)."""
    network, classes = Bent(), torch.tensor([2, 0])
    found = attribute_images(network, images(), classes, GRADIENTS)
    black = log_odds(network(torch.zeros(2, 3, 8, 8)), classes)
    should = log_odds(network(images()), classes) - black
    torch.testing.assert_close(found.values.sum((1, 2)), should, rtol=0.01, atol=1e-4)
    coarse = attribute_images(network, images(), classes, GRADIENTS.model_copy(update={"steps": 2}))
    error = ((coarse.values.sum((1, 2)) - should).abs() / should.abs()).detach()
    assert coarse.missed is not None
    torch.testing.assert_close(coarse.missed, error, rtol=1e-2, atol=1e-4)
    assert float(error.max()) > 0.01
    torch.testing.assert_close(pooled(found.values, 4, add=True).sum((1, 2)), found.values.sum((1, 2)))


def test_occlusion_of_a_linear_network_is_what_each_cell_adds() -> None:
    network, classes = Linear(), torch.tensor([1, 1])
    found = attribute_images(network, images(), classes, TAKING_AWAY)
    added = ((network.weight[1] - network.weight[0]) * images()).sum(1)
    torch.testing.assert_close(pooled(found.values, 4, add=False), pooled(added, 4, add=True), rtol=1e-3, atol=1e-3)
    assert found.missed is None


@pytest.mark.parametrize("settings", [GRADIENTS, TAKING_AWAY], ids=lambda settings: settings.method)
def test_a_word_piece_gets_what_it_adds_and_what_frames_a_text_gets_nothing(settings: ExplainSettings) -> None:
    network = Words()
    found = attribute_texts(network, TEXTS, torch.tensor([1, 1]), settings, TOKENIZER).values
    framing = (IDS == CLS) | (IDS == SEP) | (IDS == PAD)
    torch.testing.assert_close(found, network.by_hand(IDS).masked_fill(framing, 0), rtol=1e-4, atol=1e-5)
    assert bool((found[IDS == UNK] != 0).all())


def test_an_ensembles_members_are_followed_together() -> None:
    ensemble = EnsembleNetwork([Words(3), Words(4)], [0.5, 0.5], 2.0, by_confidence=False)
    assert len(word_embeddings(ensemble)) == 2
    found = attribute_texts(ensemble, TEXTS, torch.tensor([1, 0]), GRADIENTS, TOKENIZER)
    framing = (IDS == CLS) | (IDS == SEP) | (IDS == PAD)
    nothing = torch.where(framing, IDS, PAD)
    classes = torch.tensor([1, 0])
    should = log_odds(ensemble(*TEXTS), classes) - log_odds(ensemble(nothing, *TEXTS[1:]), classes)
    torch.testing.assert_close(found.values.sum(1), should, rtol=0.01, atol=1e-4)


def test_a_network_without_word_embeddings_is_told_to_occlude() -> None:
    with pytest.raises(InputError, match="method: occlusion"):
        attribute_texts(Linear(), TEXTS, torch.tensor([1, 1]), GRADIENTS, TOKENIZER)


def test_rank_correlation_is_spearmans() -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        one, two = random.integers(0, 6, (2, 12)).astype(float)
        assert rank_correlation(one, two) == pytest.approx(spearmanr(one, two).statistic)
    assert rank_correlation(np.array([1.0, 2, 9]), np.array([0.1, 0.2, 0.3])) == pytest.approx(1)


@pytest.mark.parametrize("one", [[0.0, 0, 0, 0], [5.0, 5, 5, 5], [1.0, 2]])
def test_what_is_constant_or_too_short_has_no_agreement(one: list[float]) -> None:
    values, other = np.array(one), np.arange(len(one), dtype=float)
    for first, second in ((values, other), (other, values)):
        assert np.isnan(rank_correlation(first, second))
        assert np.isnan(top_overlap(first, second, 0.5))


def test_top_overlap_counts_what_speaks_most_for_the_class() -> None:
    one, two = np.array([9.0, 8, -7, 0, 1]), np.array([9.0, -8, 7, 0, 1])
    assert top_overlap(one, two, 0.2) == 1  # the first of each
    assert top_overlap(one, two, 0.4) == 0.5  # 0 and 1 against 0 and 2
    assert top_overlap(one, two, 0.41) == pytest.approx(2 / 3)  # rounded up to three


def test_chance_pairs_each_sample_with_others_alone() -> None:
    pairs = chance_pairs(7, seed=0)
    assert pairs.shape == (ROUNDS * 7, 2)
    assert (pairs[:, 0] != pairs[:, 1]).all()
    for side in pairs.T:
        assert (np.bincount(side) == ROUNDS).all()


def parts(teacher: np.ndarray, student: np.ndarray) -> list[Parts]:
    return [Parts(*pair, np.ones(len(pair[0]), bool)) for pair in zip(teacher, student, strict=True)]


def test_agreement_stands_beside_chance() -> None:
    teacher, noise = np.random.default_rng(0).normal(size=(2, 60, 20))
    values, same = measured(parts(teacher, 3 * teacher + 1), rank_correlation, 0)
    assert same is not None
    assert values.tolist() == pytest.approx([1] * 60)
    assert (same.mean, same.above_chance, same.undefined) == (pytest.approx(1), 1, 0)
    assert same.chance_mean == pytest.approx(0, abs=0.05)
    assert same.chance_high == pytest.approx(1.645 / np.sqrt(19), abs=0.06)  # 95% of a rank correlation of 20 values
    _, other = measured(parts(teacher, noise), rank_correlation, 0)
    assert other is not None
    assert other.above_chance < 0.15


def test_samples_without_an_agreement_are_counted_apart() -> None:
    teacher = np.random.default_rng(0).normal(size=(12, 6))
    student = teacher.copy()
    student[:3] = 0
    values, found = measured(parts(teacher, student), rank_correlation, 0)
    assert found is not None
    assert np.isnan(values[:3]).all()
    assert (found.mean, found.undefined) == (pytest.approx(1), 3)
    assert measured(parts(teacher, np.zeros((12, 6))), rank_correlation, 0)[1] is None


def test_parts_left_out_have_no_say() -> None:
    used = np.array([True, True, True, False])
    compared = Parts(np.array([1.0, 2, 3, 9]), np.array([1.0, 2, 3, -9]), used)
    values, _ = measured([compared] * 2, rank_correlation, 0)
    assert values.tolist() == pytest.approx([1, 1])


def test_spellings_divide_a_text_into_their_common_parts() -> None:
    """`a remaking`: a, re, making against a, remak, i, ng; the second is cut before ` it`."""
    one = np.array([[0, 0], [0, 1], [2, 4], [4, 10], [11, 13], [0, 0]])
    two = np.array([[0, 0], [0, 1], [2, 7], [7, 8], [8, 10], [0, 0]])
    spans, (first, second) = common_parts(one, two)
    assert spans.tolist() == [[0, 1], [2, 10]]
    assert first.tolist() == [-1, 0, 1, 1, -1, -1]
    assert second.tolist() == [-1, 0, 1, 1, 1, -1]
    assert summed(np.array([9.0, 1, 2, 3, 4, 5, 8, 8]), first, 2).tolist() == [1, 5]
    same, members = common_parts(one, one)
    assert same.tolist() == one[1:5].tolist()
    assert members[0].tolist() == [-1, 0, 1, 2, 3, -1]
