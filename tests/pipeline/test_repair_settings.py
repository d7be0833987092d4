"""Repairs that can't go together, or that a target can't take, are refused before anything runs."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.errors import InputError
from pipeline.files import Networks
from pipeline.plan import describe_plan, make_plan
from pipeline.recipe import load_recipe
from pipeline.run import static_granularities
from targets.errors import TargetError
from targets.profile import PROFILES, Quantization

ROOT = Path(__file__).parents[2]
DIGITS = ROOT / "recipes/digits-mobilenet.yaml"
SENTIMENT = ROOT / "recipes/sentiment-tinybert.yaml"
REPAIRS = ("quantize.equalize=true", "quantize.round=adaround", "quantize.correct_biases=true")


def profile(folder: Path, name: str, **quantization: Any) -> str:
    content = yaml.safe_load((PROFILES / "pixel8.yaml").read_text())
    content["id"] = name
    content["quantization"]["image"] |= quantization
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(content))
    return str(file)


@pytest.mark.parametrize("repair", REPAIRS)
def test_what_is_trained_for_8_bits_is_not_repaired(repair: str) -> None:
    key = repair.split("=")[0].removeprefix("quantize.")
    with pytest.raises(TargetError, match=f"{key}: quantize.aware learns its .*; remove one"):
        load_recipe(DIGITS, (repair, "quantize.aware={}"))


@pytest.mark.parametrize("repair", [*REPAIRS, "quantize.aware={}"])
def test_texts_have_no_convolutions_to_repair(repair: str) -> None:
    key = repair.split("=")[0]
    with pytest.raises(TargetError, match=f"{key} is for convolutional networks"):
        load_recipe(SENTIMENT, (repair,))


def test_an_unknown_rounding_names_those_known() -> None:
    with pytest.raises(TargetError, match="'nearest' or 'adaround'"):
        load_recipe(DIGITS, ("quantize.round=up",))


@pytest.mark.parametrize("quantization", [{"onnx_weights": "uint8"}, {"reduce_range": True}])
def test_learned_rounding_is_refused_where_files_have_other_levels(
    quantization: dict[str, Any], tmp_path: Path
) -> None:
    target = profile(tmp_path, "mine", **quantization)
    with pytest.raises(InputError, match=f"target mine has {next(iter(quantization))}.*round: nearest"):
        make_plan(load_recipe(DIGITS, REPAIRS[1:2]), (target,))
    assert make_plan(load_recipe(DIGITS, (REPAIRS[0], REPAIRS[2])), (target,)).targets
    assert make_plan(load_recipe(DIGITS, REPAIRS[1:2]), ("iphone15",)).targets  # no static INT8 there


def test_the_plan_tells_the_repairs_for_those_who_get_them() -> None:
    rows = describe_plan(make_plan(load_recipe(DIGITS, REPAIRS), ("pixel8", "iphone15")))
    ((_, what, targets),) = [row for row in rows if row[0] == "repair"]
    assert targets == "pixel8"
    assert [part.split()[0] for part in what.split("; ")] == ["channels", "weights", "biases"]
    plain = describe_plan(make_plan(load_recipe(DIGITS), ("pixel8",)))
    assert "repair" not in [stage for stage, _, _ in plain]


def test_each_granularity_gets_an_int8_student_of_its_own(tmp_path: Path) -> None:
    names = ("pixel8", profile(tmp_path, "mine", granularity="per-tensor"), "rpi4", "iphone15")
    plan = make_plan(load_recipe(DIGITS, REPAIRS), names)
    assert static_granularities(plan.targets) == ["per-channel", "per-tensor"]
    students: Any = {"per-channel": "one", "per-tensor": "other"}
    networks: Any = Networks(None, None, None, 0, None, (), students)  # type: ignore[arg-type]
    assert [networks.int8_for(target.quantization) for target in plan.targets] == ["one", "other", "one", None]
    assert networks.int8_for(Quantization(scheme="int8-dynamic")) is None
