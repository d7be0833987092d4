"""Getting the runtimes for pages, with a stand-in for npm that needs no network: planned, whole or not there."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from targets.browser.packages import (
    LOCK,
    MANIFEST,
    ROOM,
    SIZES,
    InstallPlan,
    checked,
    install,
    installed,
    is_whole,
    plan_install,
)
from targets.errors import TargetError
from tests.targets.browser.npm import stand_in


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with stand_in(tmp_path, monkeypatch) as folder:
        yield folder


def again() -> None:
    checked.cache_clear()  # as a new process


def test_the_plan_says_what_it_costs_before_anything_is_fetched(programs: Path) -> None:
    plan = plan_install()
    assert plan.download == sum(entry["bytes"] for entry in json.loads(SIZES.read_text()).values())
    assert 40e6 < plan.download < plan.disk
    assert [row[0].split()[0] for row in plan.rows()[:2]] == ["@litertjs/core", "onnxruntime-web"]
    assert sum(float(row[1]) for row in plan.rows()) == pytest.approx(plan.download / 1e6, abs=0.2)
    assert not (programs / "npm.arguments").exists()
    assert not is_whole()


def test_an_installation_is_whole_holds_what_a_page_needs_and_leaves_nothing_beside(programs: Path) -> None:
    install(plan_install())
    assert is_whole()
    found = installed()
    assert sorted(found.versions) == ["@litertjs/core", "@litertjs/wasm-utils", "onnxruntime-web"]
    assert all(place.read_text() == f"{name}\n" for name, place in found.files().items())
    assert not (found.folder / "onnxruntime-web/dist/ort.webgpu.js").exists()
    assert not ROOM.work.exists()
    given = (programs / "npm.arguments").read_text().split()
    assert given[:2] == ["ci", "--ignore-scripts"]


def test_a_try_that_fails_leaves_the_old_one_and_what_was_fetched(programs: Path) -> None:
    install(plan_install())
    old = (ROOM.folder / "installed.json").read_bytes()
    fetched = ROOM.work / "fetched/fetched"
    for said, told in (
        ("npm error code EINTEGRITY\nnpm error sha512-abc integrity checksum failed\n", r"not the one edgepress pins"),
        ("npm error code ENOTFOUND\nnpm error network getaddrinfo\n", r"ENOTFOUND network getaddrinfo; see that npm"),
        ("npm error code ENOSPC\nnpm error no space left\n", "no space left; make room"),
        ("Segmentation fault\n", r"exit code 1; see that npm"),
    ):
        (programs / "npm.broken").write_text(said)
        with pytest.raises(TargetError, match=told) as error:
            install(plan_install())
        assert "\n" not in str(error.value)
    assert (ROOM.folder / "installed.json").read_bytes() == old
    assert fetched.read_text() == "fetched\n" * 4
    (programs / "npm.broken").unlink()
    install(plan_install())
    assert is_whole()


def test_each_way_not_to_be_as_installed_is_told(programs: Path) -> None:
    with pytest.raises(TargetError, match=r"not installed: .*install-browser'"):
        installed()
    install(plan_install())
    file = installed().folder / "@litertjs/core/dist/index.js"
    content = file.read_bytes()
    file.write_bytes(content + b"x")
    again()
    with pytest.raises(TargetError, match=r"index\.js: changed, so what it computes can't be trusted; run"):
        installed()
    file.unlink()
    with pytest.raises(TargetError, match=r"index\.js: missing"):
        installed()
    file.write_bytes(content)
    (file.parent / "more.js").write_text("more")
    with pytest.raises(TargetError, match=r"more\.js: not of this installation"):
        installed()
    (file.parent / "more.js").unlink()
    assert is_whole()


def test_another_lock_asks_for_another_installation(programs: Path) -> None:
    install(plan_install())
    record = ROOM.folder / "installed.json"
    content = json.loads(record.read_text())
    record.write_text(json.dumps({**content, "lock": "0" * 64}))
    again()
    with pytest.raises(TargetError, match="holds other versions of the runtimes than this edgepress pins"):
        installed()
    record.write_text("{}")
    with pytest.raises(TargetError, match="not the record of an installation"):
        installed()


@pytest.mark.parametrize("program", ["node", "npm"])
def test_without_node_or_npm_it_is_told_what_to_install(
    program: str, programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (programs / program).unlink()
    monkeypatch.setenv("PATH", str(programs))
    with pytest.raises(TargetError, match=rf"no {program} here.*apt-get install npm"):
        plan_install()


def test_too_little_space_is_told_before_anything_is_fetched(tmp_path: Path) -> None:
    plan = InstallPlan(tmp_path / "browser", {"a 1": 40_000_000, "b 2": 10_000_000})
    ROOM.refuse_without_space(plan.folder, plan.disk, plan.disk)
    with pytest.raises(
        TargetError, match=r"100 MB free, 275 MB needed on the way to the runtimes for browsers; .*EDGEPRESS_CACHE"
    ):
        ROOM.refuse_without_space(plan.folder, plan.disk, 100_000_000)


def test_every_package_is_pinned_by_its_hash_and_has_its_size() -> None:
    packages = {name: entry for name, entry in json.loads(LOCK.read_text())["packages"].items() if name}
    sizes = json.loads(SIZES.read_text())
    assert {name.removeprefix("node_modules/") for name in packages} == set(sizes)
    for name, entry in packages.items():
        assert entry["integrity"].startswith("sha512-")
        assert "resolved" not in entry  # npm asks the registry that it is set to
        assert sizes[name.removeprefix("node_modules/")]["version"] == entry["version"]
    assert all(version[0].isdigit() for version in json.loads(MANIFEST.read_text())["dependencies"].values())
