"""What the docs say is what the project has."""

import json
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
WEIGHTS = json.loads((ROOT / "benchmarks/results/main-dependencies.json").read_text())["figures"]["groups"]


def test_every_dependency_has_its_reason_and_its_measured_weight() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups = [project["project"]["dependencies"], *project["project"]["optional-dependencies"].values()]
    declared = {Requirement(line).name for lines in [*groups, project["dependency-groups"]["dev"]] for line in lines}
    rows = re.findall(r"^\| ([a-z0-9-]+) \| ([^|]+) \|", (ROOT / "docs/dependencies.md").read_text(), re.MULTILINE)
    described = {name: weight for name, weight in rows if name != "package"}
    assert set(described) == declared
    measured = {name: weight for group in WEIGHTS.values() for name, weight in group.items()}
    for name, weight in described.items():
        assert weight == "not in the lock" or float(weight) == measured[name], name


def test_locks_name_no_address() -> None:
    for file in (ROOT / "requirements").iterdir():
        assert "://" not in file.read_text(), file


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
IN_CODE_MARKS = r"`((?:docs|benchmarks|recipes|pipeline|targets|calibration|requirements)/[\w./-]+)`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_link_to_files_that_exist(page: Path) -> None:
    for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
        assert (page.parent / link).exists(), link
    # the pages also name files in code marks
    for name in re.findall(IN_CODE_MARKS, page.read_text()):
        assert (ROOT / name).exists(), name


def test_pages_quote_the_results_as_they_are() -> None:
    from benchmarks.quote import PAGES, quoted

    for page in PAGES:
        assert quoted(page) == page.read_text(), page
