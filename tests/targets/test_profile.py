"""Profiles: the ready ones, a user's own, budgets that only tighten, and docs that name every field."""

import re
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from targets.budgets import AccuracyBudget, Budgets, BudgetsByTask, LatencyBudget
from targets.check import check_profile
from targets.errors import TargetError
from targets.profile import (
    PROFILES,
    Measure,
    Profile,
    QuantizationByTask,
    load_profile,
    profile_names,
)

DOCS = Path(__file__).parents[2] / "docs" / "targets.md"


def content(name: str = "pixel8") -> dict[str, Any]:
    loaded = yaml.safe_load((PROFILES / f"{name}.yaml").read_text(encoding="utf-8"))
    assert isinstance(loaded, dict)
    return loaded


def write(file: Path, changed: dict[str, Any]) -> str:
    file.write_text(yaml.safe_dump(changed), encoding="utf-8")
    return str(file)


def test_the_ready_profiles_are_those_that_are_promised() -> None:
    assert profile_names() == [
        "android_go",
        "coral_dev",
        "galaxy_s24",
        "host",
        "iphone15",
        "pixel8",
        "rpi3",
        "rpi4",
        "rpi5",
        "wear_w5",
        "web",
    ]


@pytest.mark.parametrize("name", profile_names())
def test_a_ready_profile_is_valid_and_leaves_nothing_open(name: str) -> None:
    assert load_profile(name).id == name
    assert check_profile(PROFILES / f"{name}.yaml") == []


@pytest.mark.parametrize("name", profile_names())
def test_int8_for_xnnpack_bans_hard_swish_with_a_reason(name: str) -> None:
    profile = load_profile(name)
    image = profile.quantization.image
    assert image is not None
    assert ("hard-swish" in profile.export.banned_ops) == (image.scheme == "int8-static")
    assert bool(profile.export.banned_ops) == bool(profile.export.banned_reason)


def test_schemes_are_what_each_device_runs_well() -> None:
    labels = {
        name: tuple(
            quantization.label if (quantization := profile.quantization_for(task)) else None
            for task in ("image-classification", "text-classification")
        )
        for name in profile_names()
        for profile in [load_profile(name)]
    }
    assert labels.pop("coral_dev") == ("int8-static-io8", None)
    assert labels.pop("iphone15") == ("float16", "float16")
    assert set(labels.values()) == {("int8-static", "int8-dynamic")}


def test_a_users_own_profile_is_a_path(tmp_path: Path) -> None:
    own = content() | {"id": "my_phone", "name": "Mine"}
    assert load_profile(write(tmp_path / "my_phone.yaml", own)).name == "Mine"


def test_the_example_in_the_docs_is_valid_and_complete(tmp_path: Path) -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", DOCS.read_text(encoding="utf-8"), flags=re.DOTALL)
    file = tmp_path / "my_phone.yaml"
    file.write_text(example, encoding="utf-8")
    assert check_profile(file) == []


@pytest.mark.parametrize(("name", "nearest"), [("pixel_8", "pixel8"), ("raspberry4", "rpi4"), ("coral", "coral_dev")])
def test_an_unknown_target_names_the_nearest_or_all(name: str, nearest: str) -> None:
    with pytest.raises(TargetError, match=rf"unknown target '{name}'.*{nearest}"):
        load_profile(name)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=r"mine\.yaml: no such file"):
        load_profile(str(tmp_path / "mine.yaml"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema": 2}, "schema 2 is not known"),
        ({"runtimes": []}, "'runtimes'"),
        ({"runtimes": [{"name": "litert"}, {"name": "litert"}]}, "a runtime is listed twice"),
        ({"runtimes": [{"name": "tflite"}]}, "'runtimes.0.name'.*'onnxruntime', 'litert' or 'executorch'"),
        ({"quantization": {"image": {"scheme": "int8"}, "text": None}}, "'quantization.image.scheme'"),
        (
            {"quantization": {"image": {"scheme": "float16", "io_dtype": "int8"}, "text": None}},
            "io_dtype int8 needs scheme int8-static, not float16",
        ),
        ({"measure": {"min_runs": 10, "max_runs": 5}}, "max_runs 5 is less than min_runs 10"),
        ({"measure": {"mode": "paced"}}, "mode paced needs pace_ms"),
        ({"measure": {"pace_ms": 33}}, "pace_ms is for mode paced, found mode warm"),
        ({"measure": {"mode": "paced", "pace_ms": 0}}, "greater than 0"),
        ({"measure": {"mode": "cold", "warmup": 3}}, "mode cold has no warm-up, found warmup 3"),
        ({"measure": {"mode": "cold", "where": "ssh"}}, "mode cold is measured where host, found where ssh"),
        (
            {"measure": {"mode": "paced", "pace_ms": 9, "where": "adb"}},
            "measured where host or ssh or browser, found where adb",
        ),
        ({"measure": {"mode": "hot"}}, "'warm', 'cold' or 'paced'"),
        ({"budgets": {"image": {"latency_ms": {"p90": -1}}}}, "'budgets.image.latency_ms.p90'.*greater than 0"),
        ({"budgets": {"image": {"latency_ms": {"p90": float("inf")}}}}, "'budgets.image.latency_ms.p90'.*finite"),
        ({"budgets": {"image": {"accuracy": {"min": 95}}}}, "'budgets.image.accuracy.min'"),
        ({"baselines": [{"model": "m", "dtype": "int8", "ms": 3}]}, "'baselines.0.source' is missing"),
        ({"provenance": {"kind": "vendor", "source": "", "date": "2026-01-31"}}, "'provenance.source'"),
    ],
)
def test_what_is_wrong_in_a_profile_is_named(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=said):
        load_profile(write(tmp_path / "pixel8.yaml", content() | change))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"id": "other"}, "its id is 'other'"),
        ({"provenance": {"kind": "estimate", "source": "a guess", "date": "2026-01-31"}}, "a source stays null"),
        ({"runtimes": [{"name": "litert", "threads": 12}]}, "12 threads, the device has 9 cores"),
        ({"budgets": {}}, "budgets.image sets no size_mb"),
        ({"budgets": {}}, "budgets.text sets no latency_ms"),
        ({"export": {"banned_ops": ["hard-swish"]}}, "no banned_reason"),
        ({"export": {"static_shapes": False}}, "static shapes all the same"),
        ({"quantization": {"image": None, "text": None}}, "takes no model at all"),
        ({"measure": {"where": "log"}}, "a run measures nothing, figures come by edgepress import-log"),
        ({"measure": {"where": "emulated"}}, "Cortex-X3, Cortex-A715, Cortex-A510 can't be emulated"),
        ({"measure": {"where": "emulated"}}, r"latency_ms.p90 can't be told by an emulated core"),
        ({"budgets": {"image": {"instructions_m": 40}}}, "can't be emulated"),
        ({"measure": {"max_runs": 100}, "budgets": {"text": {"latency_ms": {"p99": 5}}}}, "p99 can't pass"),
    ],
)
def test_what_a_valid_profile_leaves_open_is_noted(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    notes = check_profile(write(tmp_path / "pixel8.yaml", content() | change))
    assert any(said in note for note in notes), notes


def test_a_runtime_that_is_missing_here_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert any("onnxruntime can't be checked here" in note for note in check_profile("pixel8"))


limits = st.none() | st.floats(0.1, 1000)
shares = st.none() | st.floats(0, 1)
sizes = st.none() | st.integers(10, 500)
all_budgets = st.builds(
    Budgets,
    latency_ms=st.builds(LatencyBudget, p50=limits, p90=limits, p99=limits),
    cold_start_ms=limits,
    size_mb=limits,
    peak_mem_mb=limits,
    instructions_m=limits,
    accuracy=st.builds(
        lambda groups, **others: AccuracyBudget(**others, **groups),
        groups=st.just({})
        | st.fixed_dictionaries({"max_group_drop": st.floats(0, 100)}, optional={"min_group_size": sizes}),
        min=shares,
        max_drop=st.none() | st.floats(0, 100),
        min_agreement=shares,
    ),
    confidence=st.floats(0.51, 0.999),
)
AT_LEAST = {"accuracy.min", "accuracy.min_agreement", "confidence"}  # the higher is the stricter


def flat(budgets: BaseModel, before: str = "") -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for name in type(budgets).model_fields:
        value = getattr(budgets, name)
        found |= flat(value, f"{before}{name}.") if isinstance(value, BaseModel) else {before + name: value}
    return found


@given(all_budgets, all_budgets)
def test_tightened_budgets_are_each_the_stricter_of_the_two(one: Budgets, other: Budgets) -> None:
    tightened = flat(one.tightened_by(other))
    for name, value in tightened.items():
        given_values = [v for v in (flat(one)[name], flat(other)[name]) if v is not None]
        strictest = max if name in AT_LEAST else min
        assert value == (strictest(given_values) if given_values else None)


@given(all_budgets, all_budgets)
def test_tightening_is_the_same_both_ways_and_nothing_changes_the_second_time(one: Budgets, other: Budgets) -> None:
    tightened = one.tightened_by(other)
    assert tightened == other.tightened_by(one)
    assert tightened.tightened_by(one) == tightened
    assert one.tightened_by(Budgets(confidence=0.51)) == one


def test_a_budget_on_groups_says_how_large_they_are() -> None:
    assert AccuracyBudget(max_group_drop=3).min_group_size == 100
    assert AccuracyBudget().min_group_size is None
    with pytest.raises(ValueError, match="min_group_size says which groups max_group_drop judges"):
        AccuracyBudget(min_group_size=50)
    own = Budgets(accuracy=AccuracyBudget(max_group_drop=3, min_group_size=500))
    assert Budgets().tightened_by(own).accuracy == own.accuracy  # the default is no one's wish


def fields(model: type[BaseModel], before: str = "") -> set[str]:
    """Every field's dotted name, as docs/targets.md writes it."""
    named: set[str] = set()
    for name, field in model.model_fields.items():
        place = before + (field.alias or name)
        inner = field.annotation
        parts = [inner, *get_args(inner)]
        nested = next((part for part in parts if isinstance(part, type) and issubclass(part, BaseModel)), None)
        if nested is None:
            named.add(place)
        elif nested in (QuantizationByTask, BudgetsByTask):
            (by_task,) = {
                part
                for task in nested.model_fields.values()
                for part in [task.annotation, *get_args(task.annotation)]
                if isinstance(part, type) and issubclass(part, BaseModel)
            }
            named |= fields(by_task, f"{place}.<task>.")
        else:
            named |= fields(nested, f"{place}[]." if nested is not inner else f"{place}.")
    return named


def test_the_docs_name_every_field_and_no_other() -> None:
    section = DOCS.read_text(encoding="utf-8").split("## Every field")[1].split("\n## ")[0]
    documented = re.findall(r"^\| `([^`]+)` \|", section, flags=re.MULTILINE)
    assert len(documented) == len(set(documented))
    assert set(documented) == fields(Profile)


def test_the_docs_list_every_ready_profile_with_its_schemes() -> None:
    section = DOCS.read_text(encoding="utf-8").split("## The ready profiles")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \|[^|]+\| ([\w-]+) \| ([\w-]+) \| ([^|]+) \|$", section, flags=re.MULTILINE)
    words = {"litert": "LiteRT", "onnxruntime": "ONNX Runtime"}
    expected = {}
    for name in profile_names():
        profile = load_profile(name)
        schemes = [q.label if q else "none" for q in (profile.quantization.image, profile.quantization.text)]
        expected[name] = (*schemes, ", ".join(words[runtime.name] for runtime in profile.runtimes))
    assert {name: tuple(rest) for name, *rest in rows} == expected


def test_cold_starts_are_few_where_nothing_is_said() -> None:
    cold = Measure.model_validate({"mode": "cold"})
    assert (cold.warmup, cold.min_runs, cold.max_runs, cold.min_seconds) == (0, 5, 50, 0)
    more = Measure.model_validate({"mode": "cold", "min_runs": 20, "min_seconds": 3})
    assert (more.min_runs, more.max_runs, more.min_seconds) == (20, 50, 3)
    assert Measure().mode == "warm"
