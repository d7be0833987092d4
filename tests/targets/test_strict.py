"""Strict reading: whatever is wrong in a YAML file comes as one TargetError that says where."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from targets.errors import TargetError
from targets.profile import PROFILES, Measure, Profile
from targets.strict import parse, read_yaml


def content() -> dict[str, Any]:
    return read_yaml(PROFILES / "pixel8.yaml")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"runtime": []}, "unknown key 'runtime': did you mean 'runtimes'?"),
        ({"shema": 1}, "unknown key 'shema': did you mean 'schema'?"),
        ({"measure": {"warm_up": 3}}, "unknown key 'measure.warm_up': did you mean 'warmup'?"),
        ({"runtimes": [{"name": "litert", "thread": 1}]}, "unknown key 'runtimes.0.thread': did you mean 'threads'?"),
        (
            {"budgets": {"image": {"latency_ms": {"p95": 3}}}},
            "unknown key 'budgets.image.latency_ms.p95': did you mean 'p",
        ),
        ({"os": {"type": "linux", "zzz": 1}}, "unknown key 'os.zzz': known here: abi, min_version, type"),
        ({"name": None}, "'name': Input should be a valid string (found None)"),
        ({"runtimes": [{"name": "litert", "threads": "two"}]}, "'runtimes.0.threads'"),
        ({"runtimes": [{"name": "litert", "threads": 0}]}, "greater than or equal to 1 (found 0)"),
        ({"provenance": {"kind": "vendor", "source": "x", "date": "soon"}}, "'provenance.date'"),
    ],
)
def test_a_wrong_setting_is_named_with_its_place(change: dict[str, Any], said: str) -> None:
    with pytest.raises(TargetError) as told:
        parse(Profile, content() | change, "my.yaml")
    assert str(told.value).startswith("my.yaml: ")
    assert said in str(told.value)


def test_every_wrong_setting_is_told_at_once() -> None:
    with pytest.raises(TargetError) as told:
        parse(Profile, content() | {"runtime": [], "ram_mb": "much", "measure": {"warmup": -1}}, "my.yaml")
    assert all(name in str(told.value) for name in ("'runtime'", "'ram_mb'", "'measure.warmup'"))


def test_a_missing_setting_is_named() -> None:
    wanting = {key: value for key, value in content().items() if key != "quantization"}
    with pytest.raises(TargetError, match="'quantization' is missing"):
        parse(Profile, wanting, "my.yaml")


@pytest.mark.parametrize("key", sorted(Measure.model_fields))
def test_a_key_with_a_letter_too_many_names_the_right_one(key: str) -> None:
    with pytest.raises(TargetError, match=f"unknown key '{key}s': did you mean '{key}'?"):
        parse(Measure, {f"{key}s": 1}, "my.yaml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"a: [1", "not valid YAML"),
        (b"- 1\n- 2", "found list, expected a mapping"),
        (b"", "found NoneType, expected a mapping"),
        (b"a: 1\nb: 2\na: 3", "key 'a' stands twice"),
        (b"outer: {inner: 1, inner: 2}", "key 'inner' stands twice"),
        (b"a: 2026-02-31", "not valid YAML"),
        (b"a: !!python/object/apply:os.getcwd []", "not valid YAML"),
        (b"\xff\xfe\x00a", "can't be read"),
    ],
)
def test_a_file_that_is_no_mapping_of_settings_is_refused_by_name(text: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_bytes(text)
    with pytest.raises(TargetError) as told:
        read_yaml(tmp_path / "my.yaml")
    assert "my.yaml" in str(told.value)
    assert said in str(told.value)


def test_a_folder_or_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="can't be read"):
        read_yaml(tmp_path)
    with pytest.raises(TargetError, match=r"none\.yaml: no such file"):
        read_yaml(tmp_path / "none.yaml")


def test_merged_keys_may_be_overridden(tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text("base: &base {x: 1, y: 2}\nother: {<<: *base, y: 3}\n")
    assert read_yaml(tmp_path / "my.yaml")["other"] == {"x": 1, "y": 3}


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | st.integers(), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(sorted(content())), anything)
def test_whatever_stands_in_a_profile_it_is_read_or_told(key: str, value: Any) -> None:
    told = ""
    try:
        parse(Profile, content() | {key: value}, "my.yaml")
    except TargetError as error:
        told = str(error)
    assert not told or re.match(r"my\.yaml: .+", told)


@given(st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=6), scalars, max_size=4))
def test_what_yaml_writes_is_read_back(mapping: dict[str, Any]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "my.yaml"
        file.write_text(yaml.safe_dump(mapping, allow_unicode=True), encoding="utf-8")
        assert repr(read_yaml(file)) == repr(yaml.safe_load(file.read_text(encoding="utf-8")))
