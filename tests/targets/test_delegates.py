"""Tables of what delegates take: every row has a source, and a wrong table is refused with the reason."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from targets.delegates.tables import TABLES, delegate_table, delegate_tables, delegates_with_tables, read_table
from targets.errors import TargetError
from targets.profile import Runtime, load_profile, profile_names
from targets.runtimes.base import operator_name

TABLE: dict[str, Any] = {
    "delegate": "npu",
    "runtime": "litert",
    "name": "An NPU",
    "sources": {"page": {"where": "its manual", "version": "1.0", "date": "2026-01-01"}},
    "operators": [{"kinds": ["conv-2d"], "dtypes": ["int8"], "source": "page"}],
}


def written(folder: Path, content: dict[str, Any], name: str = "npu-litert.yaml") -> Path:
    file = folder / name
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    return file


def test_there_are_tables_of_the_delegates_that_ready_profiles_name() -> None:
    assert delegates_with_tables("litert") == ["coreml", "edgetpu", "gpu", "qnn", "xnnpack"]
    assert delegates_with_tables("onnxruntime") == ["coreml", "nnapi", "qnn"]
    runtimes = [runtime for name in profile_names() for runtime in load_profile(name).runtimes]
    accelerators = {(r.name, r.delegate) for r in runtimes if r.delegate not in (None, "cpu", "wasm")}
    assert accelerators <= set(delegate_tables())


@pytest.mark.parametrize("file", sorted(TABLES.glob("*.yaml")), ids=lambda file: file.stem)
def test_every_row_of_a_ready_table_names_a_source_with_version_and_date(file: Path) -> None:
    table = read_table(file)
    for row in table.operators:
        source = table.sources[row.source]
        assert source.where
        assert source.version
        assert str(source.date) in source.told
    assert set(table.sources) >= {row.source for row in table.operators}


def test_litert_tables_name_operators_that_the_format_has() -> None:
    from ai_edge_litert import schema_py_generated as schema

    known = {operator_name(name) for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
    for (runtime, _), table in delegate_tables().items():
        if runtime == "litert":
            assert {kind for row in table.operators for kind in row.kinds} <= known


def test_a_deprecated_delegate_says_so() -> None:
    table = delegate_table("onnxruntime", "nnapi")
    assert table is not None
    assert table.deprecated is not None
    assert "Android 15" in table.deprecated


def test_a_delegate_without_a_table_has_none() -> None:
    assert delegate_table("onnxruntime", "cpu") is None
    assert delegate_table("litert", None) is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"operators": [{"kinds": ["conv-2d"], "source": "memory"}]}, "source 'memory' is named, sources has page"),
        ({"operators": [{"kinds": ["conv-2d", "conv-2d"], "source": "page"}]}, "operator conv-2d stands in two rows"),
        ({"operators": [{"kinds": ["CONV_2D"], "source": "page"}]}, "'operators.0.kinds.0'"),
        ({"operators": [{"kinds": ["pad"], "dtype": ["int8"], "source": "page"}]}, "did you mean 'dtypes'"),
        ({"operators": [{"kinds": ["pad"], "dtypes": ["int7"], "source": "page"}]}, "found 'int7'"),
        ({"operators": [{"kinds": ["pad"]}]}, "'operators.0.source' is missing"),
        (
            {"operators": [{"kinds": ["pad"], "rank": {"min": 4, "max": 3}, "source": "page"}]},
            "min 4 is more than max 3",
        ),
        ({"operators": [{"kinds": ["pad"], "rank": {}, "source": "page"}]}, "give min, max or both"),
        ({"dtypes": ["int8"]}, "dtypes and dtypes_source: give both, or neither"),
        ({"sources": {"page": {"where": "its manual", "date": "2026-01-01"}}}, "'sources.page.version' is missing"),
    ],
)
def test_a_wrong_table_is_refused_with_the_place_and_the_reason(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    with pytest.raises(TargetError) as raised:
        read_table(written(tmp_path, TABLE | change))
    assert words in str(raised.value)
    assert "npu-litert.yaml" in str(raised.value)


def test_a_table_is_named_after_its_delegate_and_runtime(tmp_path: Path) -> None:
    assert read_table(written(tmp_path, TABLE)).name == "An NPU"
    with pytest.raises(TargetError, match="it is of npu-litert"):
        read_table(written(tmp_path, TABLE, "other.yaml"))


@pytest.mark.parametrize(("name", "delegate"), [("litert", "xnnpack"), ("onnxruntime", "cpu"), ("litert", "edgetpu")])
def test_fallback_can_be_forbidden_where_host_or_table_tells(name: str, delegate: str) -> None:
    runtime = Runtime.model_validate({"name": name, "delegate": delegate, "allow_fallback": False})
    assert runtime.allow_fallback is False


def test_fallback_of_a_delegate_that_nobody_knows_cannot_be_forbidden() -> None:
    assert Runtime(name="litert", delegate="hexagon").allow_fallback
    with pytest.raises(ValueError, match="there is no table of its operators; tables of litert: coreml, edgetpu"):
        Runtime(name="litert", delegate="hexagon", allow_fallback=False)
