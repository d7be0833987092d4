"""Baselines: from a folder, a report, an archive or a commit, and never from outside of what was given."""

import io
import json
import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.errors import InputError
from pipeline.gating import unpack
from pipeline.gating.baseline_source import open_baseline
from pipeline.integrity import REPORT
from pipeline.results import PreparedData
from pipeline.store import file_sha256
from tests.packed import ROOMY, pack, report_of

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
GIT_SETTINGS = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")


@pytest.fixture
def bundle(digits: PreparedData, tmp_path: Path) -> Path:
    return pack(tmp_path / "now/tiny/pixel8", report_of(tmp_path / "run", digits, ROOMY))


@pytest.fixture
def before(digits: PreparedData, tmp_path: Path) -> Path:
    """An earlier release that made fewer mistakes."""
    report = report_of(tmp_path / "earlier", digits, ROOMY, tflite=2)
    return pack(tmp_path / "before/tiny/pixel8", report)


def git(folder: Path, *arguments: str) -> str:
    command = ["git", *GIT_SETTINGS, *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def correct(name: str, bundle: Path) -> int:
    """What the baseline tells of the TFLite file: right answers of 60."""
    with open_baseline(name, bundle) as found:
        (file,) = (file for file in found.report["files"] if file["name"] == "model.int8-static.tflite")
        return int(file["accuracy"]["correct"])


def packed(bundle: Path, archive: Path, inside: str = "") -> Path:
    """`bundle` in an archive, in the folder `inside` of it."""
    files = [file for file in sorted(bundle.rglob("*")) if file.is_file()]
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as target:
            for file in files:
                target.write(file, Path(inside, file.relative_to(bundle)))
    else:
        with tarfile.open(archive, f"w:{archive.suffix.removeprefix('.').replace('tar', '')}") as target:
            target.add(bundle, inside or ".")
    return archive


def test_a_folder_and_a_report_are_baselines(bundle: Path, before: Path) -> None:
    assert correct(str(before), bundle) == correct(str(before / REPORT), bundle) == 58
    with open_baseline(str(before), bundle) as found:
        assert found.folder == before
    with open_baseline(str(before / REPORT), bundle) as found:
        assert found.folder is None


@pytest.mark.parametrize("name", ["b.zip", "b.tar", "b.gz", "b.bz2", "b.xz"])
@pytest.mark.parametrize("inside", ["", "releases/tiny/pixel8"])
def test_an_archive_of_a_bundle_is_a_baseline(
    bundle: Path, before: Path, tmp_path: Path, name: str, inside: str
) -> None:
    assert correct(str(packed(before, tmp_path / name, inside)), bundle) == 58


def test_of_several_bundles_it_is_the_one_of_the_same_recipe_and_target(
    bundle: Path, before: Path, tmp_path: Path
) -> None:
    other = json.loads((before / REPORT).read_text())
    other["target"]["id"] = "rpi4"
    pack(before.parent / "rpi4", other)
    assert correct(str(before.parents[1]), bundle) == 58
    pack(tmp_path / "before/again/pixel8", json.loads((before / REPORT).read_text()))
    with pytest.raises(InputError, match="holds 2 bundles of tiny for pixel8"):
        correct(str(tmp_path / "before"), bundle)


def test_a_changed_baseline_is_refused(bundle: Path, before: Path, tmp_path: Path) -> None:
    (before / "labels.txt").write_text("other\n")
    for name in (before, packed(before, tmp_path / "b.zip")):
        with pytest.raises(InputError, match=r"labels.txt: changed since the bundle was written"):
            correct(str(name), bundle)


@pytest.mark.parametrize("name", ["../evil.txt", "/tmp/evil.txt", "a/../../evil.txt", "a\\..\\evil.txt", "C:/evil.txt"])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_no_name_in_an_archive_leads_out_of_it(bundle: Path, tmp_path: Path, name: str, kind: str) -> None:
    archive = tmp_path / f"b.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(archive, "w") as target:
            target.writestr(zipfile.ZipInfo(name), "evil")
    else:
        with tarfile.open(archive, "w") as target:
            entry = tarfile.TarInfo(name)
            entry.size = 4
            target.addfile(entry, io.BytesIO(b"evil"))
    with pytest.raises(InputError, match="leads out of its folder"):
        correct(str(archive), bundle)
    assert not list(tmp_path.rglob("evil.txt"))


def test_links_and_devices_in_archives_are_refused(bundle: Path, tmp_path: Path) -> None:
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE):
        with tarfile.open(tmp_path / "b.tar", "w") as target:
            entry = tarfile.TarInfo("manifest.json")
            entry.type, entry.linkname = kind, "/etc/passwd"
            target.addfile(entry)
        with pytest.raises(InputError, match="a link or a device"):
            correct(str(tmp_path / "b.tar"), bundle)
    link = zipfile.ZipInfo("manifest.json")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(InputError, match="a link"):
        correct(str(tmp_path / "b.zip"), bundle)


def test_an_archive_that_swells_is_refused(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpack, "MOST_BYTES", 1000)
    with zipfile.ZipFile(tmp_path / "b.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", bytes(600))
        archive.writestr("b", bytes(600))
    with pytest.raises(InputError, match="unpacks to more than 1,000 bytes"):
        correct(str(tmp_path / "b.zip"), bundle)


def test_damaged_archives_are_one_message(bundle: Path, before: Path, tmp_path: Path) -> None:
    whole = packed(before, tmp_path / "b.gz").read_bytes()
    (tmp_path / "cut.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="damaged, or no archive"):
        correct(str(tmp_path / "cut.gz"), bundle)
    twice = tmp_path / "twice.zip"
    with zipfile.ZipFile(twice, "w") as archive:
        archive.writestr("a", "1")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a", "2")
    with pytest.raises(InputError, match="twice"):
        correct(str(twice), bundle)


def test_what_is_no_baseline_is_refused(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.json").write_text("nothing")
    wrong = {"nowhere": "no such file or folder", "empty": "manifest.json", "text.json": "not valid JSON"}
    for name, message in wrong.items():
        with pytest.raises(InputError, match=message):
            correct(str(tmp_path / name), bundle)
    (tmp_path / "other.json").write_text('{"schema": 1, "recipe": "tiny", "target": {"id": "pixel8"}}')
    result = CliRunner().invoke(app, ["gate", str(bundle), "--baseline", str(tmp_path / "other.json")])
    assert (result.exit_code, "no whole report" in result.output) == (2, True)


@pytest.fixture
def repository(bundle: Path, before: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository whose last commit holds the earlier release where the bundle lies now."""
    root = tmp_path / "now"
    git(root, "init", "--quiet", "--initial-branch=main")
    kept = tmp_path / "kept"
    shutil.move(bundle, kept)
    shutil.copytree(before, bundle)
    packed(before, root / "release.zip")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message=release")
    git(root, "tag", "v1")
    shutil.rmtree(bundle)
    shutil.move(kept, bundle)
    monkeypatch.chdir(root)
    return root


@needs_git
@pytest.mark.parametrize(
    "name",
    [
        "git:main",
        "git:v1",
        "git:HEAD:tiny/pixel8",
        "git:v1:./tiny/pixel8/report.json",
        "git:v1:release.zip",
        "git:v1:tiny",
    ],
)
def test_a_commit_holds_a_baseline(repository: Path, bundle: Path, name: str) -> None:
    assert correct(str(bundle), bundle) == 51
    assert correct(name, bundle) == 58


@needs_git
def test_a_commit_is_read_without_its_filters(repository: Path, bundle: Path) -> None:
    """`git archive` and a checkout would change what the hashes are of."""
    (repository / ".gitattributes").write_text("*.txt eol=crlf\n*.json export-ignore\n*.tflite filter=evil\n")
    marker = repository / "ran"
    git(repository, "config", "filter.evil.smudge", f"touch {marker}")
    git(repository, "config", "filter.evil.clean", "cat")
    git(repository, "add", ".gitattributes")
    git(repository, "commit", "--quiet", "--message=attributes")
    assert correct("git:HEAD", bundle) == 58
    assert not marker.exists()


@needs_git
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("git:", "expected git:REF"),
        ("git:--output=x", "expected git:REF"),
        ("git:-p:tiny", "expected git:REF"),
        ("git:nowhere", "git knows no commit 'nowhere'"),
        ("git:main:other", "git main holds no 'other'"),
        ("git:main:../x", "without '..'"),
        ("git:main:/etc/passwd", "a path from the repository's root"),
    ],
)
def test_what_a_repository_does_not_hold_is_one_message(
    repository: Path, bundle: Path, name: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        correct(name, bundle)
    assert not (repository / "x").exists()


@needs_git
def test_links_in_a_commit_are_refused(repository: Path, bundle: Path) -> None:
    (repository / "tiny/link").mkdir()
    (repository / "tiny/link/manifest.json").symlink_to("/etc/passwd")
    git(repository, "add", "tiny/link")
    git(repository, "commit", "--quiet", "--message=link")
    with pytest.raises(InputError, match="a link or a submodule"):
        correct("git:HEAD:tiny/link", bundle)


@needs_git
def test_outside_of_a_repository_it_says_so(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(InputError, match="the current folder is in no git repository"):
        correct("git:main", bundle)
    git(tmp_path, "init", "--quiet", str(tmp_path / "elsewhere"))
    monkeypatch.chdir(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="lies outside of the repository"):
        correct("git:main", bundle)


def pointer_to(file: Path) -> None:
    """Puts a Git LFS pointer into the place of `file`."""
    size = file.stat().st_size
    file.write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{file_sha256(file)}\nsize {size}\n")


def test_lfs_pointers_prove_files_and_say_that_they_are_none(bundle: Path, before: Path) -> None:
    pointer_to(before / "model.int8-static.tflite")
    with open_baseline(str(before), bundle) as found:
        assert found.pointers == ("model.int8-static.tflite",)
    told = CliRunner().invoke(app, ["gate", str(bundle), "--baseline", str(before), "--emulate", "rpi4"])
    assert (told.exit_code, "is a Git LFS pointer" in " ".join(told.output.split())) == (2, True)
    told = CliRunner().invoke(app, ["gate", str(before)])
    assert (told.exit_code, "git lfs pull brings it" in " ".join(told.output.split())) == (2, True)


def test_a_pointer_to_another_file_proves_nothing(bundle: Path, before: Path) -> None:
    file = before / "model.int8-static.tflite"
    pointer_to(before / "labels.txt")
    file.write_text((before / "labels.txt").read_text())
    with pytest.raises(InputError, match="Git LFS pointer"):
        correct(str(before), bundle)


def test_a_report_that_is_a_pointer_can_not_be_read(bundle: Path, before: Path) -> None:
    pointer_to(before / REPORT)
    with pytest.raises(InputError, match="git lfs pull brings it"):
        correct(str(before), bundle)
