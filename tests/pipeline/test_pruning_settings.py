"""What a recipe may ask of pruning, and what the plan makes of it."""

from pathlib import Path

import pytest
import yaml

from pipeline.errors import InputError
from pipeline.plan import describe_plan, make_plan
from pipeline.progress import SILENT
from pipeline.recipe import load_recipe
from pipeline.run import run
from pipeline.settings.prune import PruneSettings
from targets.errors import TargetError
from targets.profile import PROFILES
from tests.pipeline.test_plan import DIGITS, SENTIMENT


def test_one_goal_or_none() -> None:
    assert PruneSettings().goal is None
    assert not PruneSettings().prunes
    assert PruneSettings(macs=0.5).goal == ("macs", 0.5)
    assert PruneSettings(params=0.4).goal == ("params", 0.4)
    assert PruneSettings(size_mb=1.2).goal == ("size_mb", 1.2)
    assert PruneSettings(latency=0.5).goal == ("latency", 0.5)
    layers = PruneSettings(layers=2)
    assert layers.prunes
    assert layers.goal is None
    assert [PruneSettings(**{name: 0.5}).measured for name in ("macs", "params", "size_mb", "latency")] == [
        False, False, True, True,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("prune", "start", "when"),
    [
        ("{macs: 0.5}", "layers", "before"),
        ("{macs: 0.5}", "random", "after"),
        ("{macs: 0.5, when: after}", "layers", "after"),
        ("{macs: 0.5, recovery_epochs: 4}", "layers", "after"),
        ("{macs: 0.5, schedule: gradual, recovery_epochs: 4}", "layers", "after"),
        ("{sparsity: 0.8}", "layers", "after"),
    ],
)
def test_a_student_that_starts_as_its_teacher_is_pruned_before_unless_the_recipe_says_otherwise(
    prune: str, start: str, when: str
) -> None:
    settings = (f"prune={prune}", f"student.start={start}", "student.family=efficientnet_lite0", "student.width=1")
    assert load_recipe(DIGITS, settings).prune.when == when


def test_a_text_student_is_pruned_after_whatever_it_starts_from() -> None:
    assert load_recipe(SENTIMENT, ("prune={macs: 0.5}", "student.start=layers")).prune.when == "after"


@pytest.mark.parametrize(
    ("prune", "reason"),
    [
        ("{macs: 0.5, latency: 0.5}", "one goal at a time, found macs 0.5 and latency 0.5"),
        ("{params: 0.5, size_mb: 1}", "one goal at a time, found params 0.5 and size_mb 1"),
        ("{macs: 0.5, steps: 6}", "steps is for schedule: gradual"),
        ("{macs: 0.5, schedule: gradual, recovery_epochs: 3}", "an epoch after each of its 4 steps"),
        ("{macs: 0.5, schedule: gradual, when: before}", "use when: after"),
        ("{layers: 2}", "prune.layers: whole layers are cut from text students"),
        ("{macs: 0.5, when: before}", "it starts at random"),
        ("{macs: 0.5, importance: largest}", "prune.importance"),
    ],
)
def test_what_does_not_go_together_is_refused_for_images(prune: str, reason: str) -> None:
    with pytest.raises(TargetError, match=reason):
        load_recipe(DIGITS, (f"prune={prune}", "student.weights=none"))


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (("prune={layers: 9}",), "prune.layers 9: the student has"),
        (("prune={macs: 0.5, importance: bn_scale}",), "bn_scale needs batch normalisation"),
        (("prune={macs: 0.5, importance: hessian}", "distill.loss=dist"), "judges sample by sample"),
        (
            ("prune={macs: 0.5, when: before}", "student.start=layers", "distill.layers={epochs: 1, weight: 1}"),
            "leaves other heads than distill.layers compares",
        ),
    ],
)
def test_what_does_not_go_together_is_refused_for_texts(settings: tuple[str, ...], reason: str) -> None:
    with pytest.raises(TargetError, match=reason):
        load_recipe(SENTIMENT, settings)


def test_a_family_that_can_not_be_pruned_is_refused() -> None:
    recipe = load_recipe(SENTIMENT, ("student={family: textcnn}", "prune={macs: 0.5}"))
    with pytest.raises(InputError, match="no textcnn: remove it"):
        make_plan(recipe, ("pixel8",))
    assert make_plan(load_recipe(SENTIMENT, ("student={family: textcnn}",)), ("pixel8",))


def shared(prune: str, *targets: str) -> list[list[str]]:
    plan = make_plan(load_recipe(DIGITS, (f"prune={prune}",)), targets)
    return [[target.profile.id for target in group] for group in plan.sharing]


def test_targets_share_a_student_whose_goal_is_counted() -> None:
    targets = ("pixel8", "android_go", "iphone15", "rpi4")
    assert shared("{}", *targets) == [list(targets)]
    assert shared("{macs: 0.5}", *targets) == [list(targets)]
    assert shared("{params: 0.5}", *targets) == [list(targets)]


def test_targets_share_a_student_for_a_latency_that_is_measured_alike() -> None:
    """galaxy_s24 runs what pixel8 runs, with as many threads; android_go has one thread."""
    assert shared("{latency: 0.5}", "pixel8", "android_go", "galaxy_s24") == [["pixel8", "galaxy_s24"], ["android_go"]]


def test_targets_share_a_student_for_a_size_whatever_their_threads() -> None:
    assert shared("{size_mb: 1}", "pixel8", "galaxy_s24", "iphone15") == [["pixel8", "galaxy_s24"], ["iphone15"]]


def test_the_plan_says_what_is_pruned_for_whom() -> None:
    def rows(prune: str, *targets: str) -> list[tuple[str, str, str]]:
        plan = make_plan(load_recipe(DIGITS, (f"prune={prune}",)), targets)
        return [row for row in describe_plan(plan) if row[0] == "prune"]

    assert rows("{params: 0.5, recovery_epochs: 3}", "pixel8", "rpi4") == [
        ("prune", "to 50% of the parameters, 3 epochs to recover", "pixel8, rpi4")
    ]
    gradual = "{latency: 0.5, schedule: gradual, recovery_epochs: 8}"
    told = "to 50% of the latency, measured, in 4 steps, 8 epochs to recover"
    assert rows(gradual, "pixel8", "android_go") == [("prune", told, "pixel8"), ("prune", told, "android_go")]
    assert rows("{size_mb: 1.2}", "pixel8") == [("prune", "to 1.2 MB, measured, 2 epochs to recover", "pixel8")]


def test_latency_is_pruned_for_where_it_can_be_measured(tmp_path: Path) -> None:
    profile = yaml.safe_load((PROFILES / "pixel8.yaml").read_text())
    file = tmp_path / "phone.yaml"
    file.write_text(yaml.safe_dump({**profile, "measure": {"where": "adb"}}))
    with pytest.raises(
        InputError, match=r"prune.latency is measured on this host, target pixel8 says measure.where: adb"
    ):
        make_plan(load_recipe(DIGITS, ("prune.latency=0.5",)), (str(file),))


def test_a_latency_needs_the_clock(tmp_path: Path) -> None:
    plan = make_plan(load_recipe(DIGITS, ("prune.latency=0.5",)), ("pixel8",))
    with pytest.raises(InputError, match=r"prune\.latency needs the clock: run without --no-latency"):
        run(plan, tmp_path / "out", SILENT, latency=False)
    assert not (tmp_path / "out").exists()
