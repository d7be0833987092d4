"""A BiLSTM and a text CNN: what they compute, that padding never counts, how they start, learn and shrink."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from pipeline.context import RunContext
from pipeline.distill.start import start_student
from pipeline.distill.student import distill
from pipeline.errors import InputError
from pipeline.evaluate import predict
from pipeline.explanation.attribution import attribute_texts
from pipeline.networks import build_network, count_macs, example_inputs, load_network
from pipeline.results import NetworkResult, PreparedData, vocabulary_size
from pipeline.settings.data import TextInput
from pipeline.settings.distill import DistillSettings
from pipeline.settings.release import ExplainSettings
from pipeline.settings.student import StudentSettings
from pipeline.student import student_architecture, student_name
from pipeline.students.texts import BiLstm, TextCnn, TextStudent
from pipeline.vocabulary import trim_vocabulary
from tests.pipeline.trained import text_cache, text_teacher

LSTM = {"vocab_size": 50, "embedding_size": 6, "states": 4, "dropout": 0.5}
CNN: dict[str, Any] = {"vocab_size": 50, "embedding_size": 6, "filters": 5, "kernels": [2, 3], "dropout": 0.5}
SETTINGS = {
    "bilstm": StudentSettings(family="bilstm", hidden=64, embedding=128, start="embeddings", dropout=0.0),
    "textcnn": StudentSettings(family="textcnn", hidden=64, embedding=128, start="embeddings", dropout=0.0),
}


def texts(*lengths: int, longest: int = 9) -> tuple[Tensor, Tensor]:
    """Ids, noise in the padding too, and mask."""
    ids = torch.randint(0, 50, (len(lengths), longest), generator=torch.Generator().manual_seed(0))
    return ids, (torch.arange(longest) < torch.tensor(lengths).unsqueeze(1)).long()


def students() -> list[TextStudent]:
    torch.manual_seed(0)
    return [BiLstm(LSTM, 3).eval(), TextCnn(CNN, 3).eval()]


def test_a_bilstm_is_torchs_own_on_packed_texts() -> None:
    network = students()[0]
    assert isinstance(network, BiLstm)
    reference = nn.LSTM(6, 4, batch_first=True, bidirectional=True)
    for name, tensor in network.forwards.named_parameters():
        reference.get_parameter(name).data = tensor.data
    for name, tensor in network.backwards.named_parameters():
        reference.get_parameter(f"{name}_reverse").data = tensor.data
    ids, mask = texts(9, 4, 1)
    packed = pack_padded_sequence(network.embedding(ids), mask.sum(1), batch_first=True, enforce_sorted=False)
    states, _ = pad_packed_sequence(reference(packed)[0], batch_first=True, padding_value=-torch.inf)
    torch.testing.assert_close(network(ids, mask), network.classifier(states.amax(1)))


def test_a_text_cnn_convolves_each_text_by_itself() -> None:
    network = students()[1]
    assert isinstance(network, TextCnn)
    ids, mask = texts(9, 4, 1)
    for text, length, found in zip(ids, mask.sum(1), network(ids, mask), strict=True):
        words = network.embedding(text[:length]).T
        parts = []
        for size, layer in zip(CNN["kernels"], network.filters, strict=True):
            assert isinstance(layer, nn.Linear)
            weight = layer.weight.view(5, size, 6).transpose(1, 2)  # as torch's convolution keeps it
            beyond = functional.pad(words, (0, size - 1))
            parts.append(functional.conv1d(beyond, weight, layer.bias).relu().amax(1))
        torch.testing.assert_close(found, network.classifier(torch.cat(parts)))


@pytest.mark.parametrize("kind", [0, 1], ids=["bilstm", "textcnn"])
def test_padding_does_not_change_what_is_said(kind: int) -> None:
    network = students()[kind]
    ids, mask = texts(4, longest=12)
    for length in (4, 5, 12):
        torch.testing.assert_close(network(ids[:, :length], mask[:, :length]), network(ids, mask))
    other = torch.where(mask.bool(), ids, 7)
    assert torch.equal(network(other, mask), network(ids, mask))
    assert not torch.equal(network(ids.flip(1), mask), network(ids, mask))


@pytest.mark.parametrize("kind", [0, 1], ids=["bilstm", "textcnn"])
def test_an_empty_slice_of_a_batch_gives_gradients_of_zero(kind: int) -> None:
    """As a process has one where a batch holds fewer texts than there are processes."""
    network = students()[kind]
    ids, mask = texts(4)
    network(ids[:0], mask[:0]).sum().backward()
    assert all(parameter.grad is not None and not parameter.grad.any() for parameter in network.parameters())


def test_products_of_an_lstm_are_counted(reviews: PreparedData) -> None:
    inputs = tuple(tensor % 50 for tensor in example_inputs(reviews))
    steps, gates = int(inputs[0].shape[1]), 4 * 4
    assert count_macs(BiLstm(LSTM, 3), inputs) == 2 * steps * gates * (6 + 4) + 8 * 3


@pytest.mark.parametrize(("family", "name"), [("bilstm", "bilstm 300x128"), ("textcnn", "textcnn 300x100")])
def test_sizes_left_open_are_the_literatures(
    family: str, name: str, reviews: PreparedData, session_context: RunContext
) -> None:
    settings = StudentSettings(family=family)
    architecture = student_architecture(settings, reviews, text_teacher(reviews, session_context))
    assert student_name(settings, architecture) == name
    assert build_network(architecture).eval()(*example_inputs(reviews)).shape == (1, 2)


def started(settings: StudentSettings, data: PreparedData, teacher: NetworkResult) -> TextStudent:
    network = start_student(student_architecture(settings, data, teacher), settings, teacher, 0, data)
    assert isinstance(network, TextStudent)
    return network


def test_word_vectors_start_as_the_teachers(reviews: PreparedData, session_context: RunContext) -> None:
    """As wide as the teacher's they are its own but for one scale; narrower ones keep how alike words are."""
    teacher = text_teacher(reviews, session_context)
    theirs = load_network(teacher).get_input_embeddings().weight.detach()  # type: ignore[operator]
    whole = started(StudentSettings(family="bilstm", embedding=384, start="embeddings"), reviews, teacher)
    mine = whole.embedding.weight.detach()
    assert mine.square().mean().item() == pytest.approx(1, rel=1e-4)
    torch.testing.assert_close(mine * theirs.square().mean().sqrt(), theirs)
    assert not whole.embedding.weight.requires_grad
    half = started(SETTINGS["textcnn"].model_copy(update={"embedding": 192}), reviews, teacher).embedding.weight
    alike = [functional.normalize(table[1000:1200]) for table in (theirs, half.detach())]
    kept = np.corrcoef(*[(vectors @ vectors.T).flatten().numpy() for vectors in alike])[0, 1]
    assert kept > 0.9


@pytest.mark.parametrize("family", ["bilstm", "textcnn"])
def test_a_text_student_learns_from_its_teacher(
    family: str, reviews: PreparedData, session_context: RunContext
) -> None:
    settings = DistillSettings(epochs=10, learning_rate=1e-2, batch_size=16)
    teacher, cache = text_teacher(reviews, session_context), text_cache(reviews, session_context)
    student = distill(reviews, teacher, cache, SETTINGS[family], settings, session_context)
    losses = [record.train_loss for record in student.curve]
    assert losses[-1] < 0.8 * losses[0]
    assert any("starts from its teacher's embeddings, narrowed from 384 to 128" in note for note in student.notes)
    found = load_network(student)(*example_inputs(reviews)).detach().numpy()
    np.testing.assert_allclose(found, student.test_logits[:1], atol=1e-5)


@pytest.mark.parametrize("family", ["bilstm", "textcnn"])
def test_a_smaller_vocabulary_changes_no_answer_to_what_it_spells(
    family: str, reviews: PreparedData, session_context: RunContext
) -> None:
    settings = DistillSettings(epochs=10, learning_rate=1e-2, batch_size=16)
    teacher, cache = text_teacher(reviews, session_context), text_cache(reviews, session_context)
    student = distill(reviews, teacher, cache, SETTINGS[family], settings, session_context)
    data, smaller = trim_vocabulary(reviews, student, TextInput(vocabulary="task"), session_context)
    assert (vocabulary_size(smaller) or 0) < 0.5 * (vocabulary_size(student) or 0)
    rows = reviews.rows("train")  # whose pieces are all kept
    before, after = predict(load_network(student), reviews, rows), predict(load_network(smaller), data, rows)
    np.testing.assert_allclose(after, before, atol=1e-5)


@pytest.mark.parametrize("family", ["bilstm", "textcnn"])
def test_attributions_add_up_to_what_they_explain(
    family: str, reviews: PreparedData, session_context: RunContext
) -> None:
    from pipeline.data.texts import load_tokenizer

    network = started(SETTINGS[family], reviews, text_teacher(reviews, session_context)).eval()
    assert reviews.tokenizer_folder is not None
    found = attribute_texts(
        network, example_inputs(reviews), torch.tensor([1]), ExplainSettings(), load_tokenizer(reviews.tokenizer_folder)
    )
    assert found.missed is not None
    assert found.missed.item() < 0.05
    assert found.values.abs().sum() > 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"family": "bilstm", "layers": 2}, "student.layers is no setting of a bilstm: remove it; it takes .*start"),
        ({"family": "bilstm", "heads": 4}, "student.heads is no setting of a bilstm"),
        ({"family": "bilstm", "kernels": (2,)}, "student.kernels is no setting of a bilstm"),
        ({"family": "textcnn", "start": "layers"}, "a textcnn has none: use embeddings or random"),
        ({"family": "textcnn", "weights": "hub"}, "a textcnn starts from its teacher"),
        ({"family": "tinybert", "embedding": 64}, "student.embedding is no setting of a tinybert"),
        ({"family": "bilstm", "embedding": 385, "start": "embeddings"}, "wider than teacher .*embeddings .384.: lower"),
    ],
)  # fmt: skip
def test_what_does_not_fit_a_text_family_is_refused(
    settings: dict[str, object], message: str, reviews: PreparedData, session_context: RunContext
) -> None:
    with pytest.raises(InputError, match=message):
        student_architecture(StudentSettings(**settings), reviews, text_teacher(reviews, session_context))
