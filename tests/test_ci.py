"""The ready CI jobs: valid by the published schemas, and their shell steps do what they say on a small bundle."""

import json
import os
import re
import shutil
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.cli import app  # noqa: F401  # what the steps call is there
from pipeline.results import PreparedData
from tests.packed import ROOMY, STRICT, pack, report_of

ROOT = Path(__file__).parents[1]
GITHUB, GITLAB, HOOK = (ROOT / "ci" / name for name in ("github-actions.yml", "gitlab-ci.yml", "pre-commit"))
pytestmark = pytest.mark.skipif(
    shutil.which("bash") is None or shutil.which("git") is None, reason="bash and git are not installed"
)


def github() -> dict[str, Any]:
    return dict(yaml.safe_load(GITHUB.read_text()))


def github_steps() -> dict[str, str]:
    """The shell steps by name."""
    (job,) = github()["jobs"].values()
    return {step["name"]: step["run"] for step in job["steps"] if "run" in step}


def gitlab_script() -> list[str]:
    return list(yaml.safe_load(GITLAB.read_text())["edgepress-gate"]["script"])


@pytest.mark.parametrize(("file", "schema"), [(GITHUB, "github-workflows.json"), (GITLAB, "gitlab-ci.json")])
def test_the_published_schema_accepts_the_job(file: Path, schema: str) -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    pytest.importorskip("check_jsonschema", reason="check-jsonschema, which brings the schemas, is not installed")
    published = files("check_jsonschema") / "builtin_schemas/vendor" / schema
    validator = jsonschema.Draft7Validator(json.loads(published.read_text(encoding="utf-8")))
    text = file.read_text().replace("\non:\n", "\n'on':\n")  # YAML 1.1 reads it as true, GitHub does not
    assert list(validator.iter_errors(yaml.safe_load(text))) == []
    wrong = text.replace("runs-on:", "runs_on:").replace("when: always", "when: sometimes")
    assert list(validator.iter_errors(yaml.safe_load(wrong))) != []


def test_nothing_of_an_event_reaches_a_shell_unquoted() -> None:
    for step in github_steps().values():
        assert "${{" not in step
    for script in (*github_steps().values(), *gitlab_script()):
        for found in re.finditer(r"\$(RECIPE|TARGET|NAME|RELEASED|BASE|SIGNING_KEY|EDGEPRESS)\b", script):
            assert script[: found.start()].count('"') % 2 == 1, (found[0], script)


def test_the_token_of_the_job_can_only_read() -> None:
    workflow = github()
    assert workflow["permissions"] == {"contents": "read"}
    assert "pull_request_target" not in workflow[True]  # YAML 1.1 reads `on` as true


@pytest.fixture
def workplace(digits: PreparedData, tmp_path: Path) -> Path:
    """A repository whose branch main holds a release, a bundle that a run left, and `edgepress` on the path: the real
    one, but for `run`, which ends with the code in the file run-code."""
    root = tmp_path / "work"
    pack(root / "releases/digits-mobilenet/pixel8", report_of(tmp_path / "before", digits, ROOMY))
    pack(root / "artifacts/digits-mobilenet/pixel8", report_of(tmp_path / "now", digits, ROOMY))
    (root / ".gitignore").write_text("artifacts/\nreports/\nbin/\nrun-code\n")
    git(root, "init", "--quiet", "--initial-branch=main")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message=release")
    (root / "bin").mkdir()
    command = root / "bin/edgepress"
    command.write_text(
        f'#!/bin/sh\nif [ "$1" = run ]; then exit "$(cat run-code)"; fi\nexec {sys.executable} -m pipeline "$@"\n'
    )
    command.chmod(0o755)
    (root / "run-code").write_text("0")
    return root


def git(folder: Path, *arguments: str) -> None:
    settings = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *settings, *arguments], cwd=folder, check=True, capture_output=True)


def shell(root: Path, script: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """As a runner calls a step: bash that stops at the first error."""
    known = {"RECIPE": "r.yaml", "NAME": "digits-mobilenet", "RELEASED": "releases", "TARGET": "pixel8", "BASE": "HEAD"}
    known |= {"PATH": f"{root / 'bin'}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    known |= {"GITHUB_STEP_SUMMARY": str(root / "reports/summary.md"), "HOME": str(root)}
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
    return subprocess.run(command, cwd=root, env=known | variables, capture_output=True, text=True, check=False)


def replace_bundle(root: Path, digits: PreparedData, place: str, **more: Any) -> None:
    shutil.rmtree(root / place)
    pack(root / place, report_of(root / "reports/scratch", digits, more.pop("budgets", ROOMY), **more))


@pytest.mark.parametrize("which", ["github", "gitlab"])
def test_the_gate_step_judges_against_the_base_branch(workplace: Path, digits: PreparedData, which: str) -> None:
    script = github_steps()["Gate"] if which == "github" else gitlab_script()[1]
    passed = shell(workplace, script)
    assert passed.returncode == 0, passed.stderr + passed.stdout
    answer = json.loads((workplace / "reports/pixel8.json").read_text())
    assert "baseline.accuracy" in {check["name"] for check in answer["checks"]}
    assert (workplace / "reports/pixel8.xml").read_text().startswith("<?xml")
    summary = workplace / ("reports/summary.md" if which == "github" else "reports/pixel8.md")
    assert "### tiny for Google Pixel 8: passed" in summary.read_text()
    replace_bundle(workplace, digits, "artifacts/digits-mobilenet/pixel8", onnx=20)
    failed = shell(workplace, script)
    assert failed.returncode == 1
    assert "baseline.accuracy" in failed.stdout


@pytest.mark.parametrize("which", ["github", "gitlab"])
def test_the_first_release_has_no_baseline(workplace: Path, which: str) -> None:
    script = github_steps()["Gate"] if which == "github" else gitlab_script()[1]
    told = shell(workplace, script, RELEASED="nowhere")
    assert told.returncode == 0, told.stderr
    assert "holds no release for pixel8 yet" in told.stdout


def test_gitlab_fetches_the_target_branch(workplace: Path, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", str(workplace), str(clone))
    shutil.copytree(workplace / "artifacts", clone / "artifacts")
    shutil.copytree(workplace / "bin", clone / "bin")
    told = shell(clone, gitlab_script()[1], CI_MERGE_REQUEST_TARGET_BRANCH_NAME="main")
    assert told.returncode == 0, told.stderr
    answer = json.loads((clone / "reports/pixel8.json").read_text())
    assert "baseline.size" in {check["name"] for check in answer["checks"]}


@pytest.mark.parametrize(("code", "ends"), [("0", 0), ("1", 0), ("2", 1)])
def test_a_missed_budget_leaves_the_verdict_to_the_gate_and_wrong_input_ends_the_job(
    workplace: Path, code: str, ends: int
) -> None:
    (workplace / "run-code").write_text(code)
    for script in (github_steps()["Run the recipe"], gitlab_script()[0]):
        assert shell(workplace, script).returncode == ends


def test_the_sign_step_signs_with_the_secret_and_without_one_does_nothing(workplace: Path) -> None:
    pytest.importorskip("cryptography", reason="signing needs the package cryptography")
    script, bundle = github_steps()["Sign"], workplace / "artifacts/digits-mobilenet/pixel8"
    assert shell(workplace, script, SIGNING_KEY="").returncode == 0
    assert not (bundle / "manifest.json.minisig").exists()
    locked = {"EDGEPRESS_KEY_PASSPHRASE": "open sesame"}
    assert shell(workplace, "edgepress keygen reports/key", **locked).returncode == 0
    secret = (workplace / "reports/key").read_text()
    told = shell(workplace, script, SIGNING_KEY=secret, **locked)
    assert told.returncode == 0, told.stderr
    assert shell(workplace, f"edgepress gate {bundle} --trusted reports/key.pub").returncode == 0


def test_the_hook_gates_what_is_about_to_be_committed(workplace: Path, digits: PreparedData) -> None:
    place = "releases/digits-mobilenet/pixel8"
    assert shell(workplace, str(HOOK)).stdout == ""  # nothing staged
    replace_bundle(workplace, digits, place, tflite=5)
    git(workplace, "add", "--all")
    better = shell(workplace, str(HOOK))
    assert better.returncode == 0, better.stderr + better.stdout
    assert better.stdout.count(place) == 1
    assert "baseline.accuracy" in better.stdout
    replace_bundle(workplace, digits, place, budgets=STRICT)
    git(workplace, "add", "--all")
    assert shell(workplace, str(HOOK)).returncode == 1
    (workplace / place / "labels.txt").write_text("other\n")
    assert shell(workplace, f"{HOOK} {place}/labels.txt README.md").returncode == 2
