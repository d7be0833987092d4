"""Signed bundles: who signed is proven, and each way in which a signature can fail has its own message."""

import json
import os
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("cryptography", reason="signing needs the package cryptography")

from typer.testing import CliRunner

from pipeline.bundle import rewrite_report
from pipeline.cli import app
from pipeline.gate import decide
from pipeline.integrity import MANIFEST, REPORT, SIGNATURE, read_json, verify_bundle
from pipeline.results import PreparedData
from tests.packed import ROOMY, pack, report_of, seal

MINISIGN = shutil.which("minisign")


def call(*arguments: object, typed: str = "", **variables: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(map(str, arguments)), input=typed, env=variables)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


@pytest.fixture
def bundle(digits: PreparedData, tmp_path: Path) -> Path:
    return pack(tmp_path / "tiny/pixel8", report_of(tmp_path / "run", digits, ROOMY))


@pytest.fixture
def key(tmp_path: Path) -> Path:
    assert call("keygen", tmp_path / "release.key", "--no-passphrase")[0] == 0
    return tmp_path / "release.key"


def test_keygen_writes_a_pair_that_only_its_owner_may_read(tmp_path: Path) -> None:
    code, text = call("keygen", tmp_path / "keys/a", "--json", EDGEPRESS_KEY_PASSPHRASE="open sesame")
    told = json.loads(text)
    secret, public = tmp_path / "keys/a", tmp_path / "keys/a.pub"
    assert code == 0
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert "encrypted secret key" in secret.read_text()
    assert public.read_text().splitlines()[1] == told["key"]
    assert told["id"] in public.read_text()


def test_keygen_never_replaces_a_key(key: Path) -> None:
    before = key.read_bytes()
    code, text = call("keygen", key, "--no-passphrase")
    assert (code, "is there already" in text) == (2, True)
    assert key.read_bytes() == before
    key.unlink()
    assert call("keygen", key, "--no-passphrase")[0] == 2  # the public one is still there
    assert not key.exists()


def test_keygen_without_a_terminal_asks_for_the_variable(tmp_path: Path) -> None:
    code, text = call("keygen", tmp_path / "a")
    assert (code, "EDGEPRESS_KEY_PASSPHRASE" in text) == (2, True)
    assert not (tmp_path / "a").exists()


def test_a_signed_bundle_passes_the_gate_of_who_trusts_the_key(bundle: Path, key: Path) -> None:
    assert call("sign", bundle, "--key", key)[0] == 0
    code, text = call("gate", bundle, "--trusted", f"{key}.pub", "--json")
    signature = json.loads(text)["signature"]
    assert code == 0
    assert signature["trusted"] is True
    assert signature["comment"] == "edgepress bundle recipe:tiny target:pixel8"
    written_out = Path(f"{key}.pub").read_text().splitlines()[1]
    assert call("gate", bundle, "--trusted", written_out)[0] == 0
    assert call("gate", bundle, EDGEPRESS_TRUSTED=f"{key}.pub")[0] == 0


def test_signing_twice_gives_the_same_bytes(bundle: Path, key: Path) -> None:
    call("sign", bundle, "--key", key)
    first = (bundle / SIGNATURE).read_bytes()
    call("sign", bundle, "--key", key)
    assert (bundle / SIGNATURE).read_bytes() == first


def test_without_trusted_the_gate_says_whose_signature_it_did_not_prove(bundle: Path, key: Path) -> None:
    _, text = call("gate", bundle, "--json")
    assert json.loads(text)["signature"] is None
    call("sign", bundle, "--key", key)
    code, text = call("gate", bundle)
    assert (code, "--trusted KEY.pub proves it" in text) == (0, True)


def break_file(bundle: Path) -> None:
    (bundle / "labels.txt").write_text("other\n")


def break_manifest(bundle: Path) -> None:
    """As one would who changes a file and its hash."""
    break_file(bundle)
    seal(bundle)


def remove_signature(bundle: Path) -> None:
    (bundle / SIGNATURE).unlink()


def cut_signature(bundle: Path) -> None:
    file = bundle / SIGNATURE
    file.write_text(file.read_text()[:80])


def change_comment(bundle: Path) -> None:
    file = bundle / SIGNATURE
    file.write_text(file.read_text().replace("target:pixel8", "target:rpi4"))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (break_file, "labels.txt: changed since the bundle was written"),
        (break_manifest, "manifest.json was changed after it was signed"),
        (remove_signature, "not signed"),
        (cut_signature, "no signature of minisign's, or cut short"),
        (change_comment, "its trusted comment was changed"),
    ],
)
def test_each_damage_has_its_own_message(bundle: Path, key: Path, damage: Any, message: str) -> None:
    call("sign", bundle, "--key", key)
    damage(bundle)
    code, text = call("gate", bundle, "--trusted", f"{key}.pub")
    assert code == 2
    assert message in " ".join(text.split())
    assert "Traceback" not in text


def test_a_key_that_is_not_trusted_is_foreign(bundle: Path, key: Path, tmp_path: Path) -> None:
    call("keygen", tmp_path / "other.key", "--no-passphrase")
    call("sign", bundle, "--key", tmp_path / "other.key")
    code, text = call("gate", bundle, "--trusted", f"{key}.pub")
    assert (code, "which is not trusted here" in text) == (2, True)
    both = ("--trusted", f"{key}.pub", "--trusted", tmp_path / "other.key.pub")
    assert call("gate", bundle, *both)[0] == 0


def test_another_key_of_the_same_name_does_not_fit(bundle: Path, key: Path) -> None:
    """A key's name is no proof: only the signature is."""
    from pipeline.provenance import minisign

    call("sign", bundle, "--key", key)
    trusted = minisign.read_public_key(Path(f"{key}.pub").read_text(), "k")
    forged = minisign.SecretKey(trusted.id, bytes(32))
    (bundle / SIGNATURE).write_text(minisign.sign((bundle / MANIFEST).read_bytes(), forged, "x"))
    code, text = call("gate", bundle, "--trusted", f"{key}.pub")
    assert (code, "the signature does not fit" in text) == (2, True)


def test_a_changed_bundle_is_not_signed(bundle: Path, key: Path) -> None:
    break_file(bundle)
    code, text = call("sign", bundle, "--key", key)
    assert (code, "changed since the bundle was written" in text) == (2, True)
    assert not (bundle / SIGNATURE).exists()


@pytest.mark.skipif(os.name != "posix", reason="modes of files are POSIX's")
def test_a_key_that_others_may_read_is_refused(bundle: Path, key: Path) -> None:
    key.chmod(0o644)
    code, text = call("sign", bundle, "--key", key)
    assert (code, "chmod 600" in text) == (2, True)


def test_a_ci_hands_the_key_over_by_standard_input(bundle: Path, tmp_path: Path) -> None:
    locked = {"EDGEPRESS_KEY_PASSPHRASE": "open sesame"}
    call("keygen", tmp_path / "a", **locked)
    text = (tmp_path / "a").read_text()
    assert call("sign", bundle, "--key", "-", typed=text, **locked)[0] == 0
    assert call("gate", bundle, "--trusted", tmp_path / "a.pub")[0] == 0
    code, said = call("sign", bundle, "--key", "-", typed=text, EDGEPRESS_KEY_PASSPHRASE="guess")
    assert (code, "the passphrase is wrong" in said) == (2, True)
    code, said = call("sign", bundle, "--key", "-", typed=text)
    assert (code, "set EDGEPRESS_KEY_PASSPHRASE" in said) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("sign", "BUNDLE", "--key", "nowhere.key"), "nowhere.key: can't be read"),
        (("sign", "BUNDLE", "--key", "-"), "standard input: no secret key of minisign's"),
        (("gate", "BUNDLE", "--trusted", "nowhere.pub"), "nowhere.pub: can't be read"),
        (("gate", "BUNDLE", "--trusted", "KEY"), "no public key of minisign's"),
    ],
)
def test_what_is_no_key_is_one_message(bundle: Path, key: Path, arguments: tuple[str, ...], message: str) -> None:
    places = {"BUNDLE": str(bundle), "KEY": str(key)}
    code, text = call(*(places.get(argument, argument) for argument in arguments))
    assert (code, message in " ".join(text.split())) == (2, True), text


def test_a_new_report_takes_the_signature_away(bundle: Path, key: Path) -> None:
    """It was of another manifest."""
    call("sign", bundle, "--key", key)
    report = read_json(bundle / REPORT)
    files = ("MODEL_CARD.md", "report.html")
    assert SIGNATURE not in read_json(bundle / MANIFEST)["files"]
    rewrite_report(bundle, report, decide(report))
    assert not (bundle / SIGNATURE).exists()
    assert set(files) <= set(verify_bundle(bundle)["files"])


@pytest.mark.skipif(MINISIGN is None, reason="the minisign tool is not installed")
def test_anyone_can_verify_a_bundle_with_minisign(bundle: Path, key: Path) -> None:
    call("sign", bundle, "--key", key)
    assert MINISIGN is not None
    command = [MINISIGN, "-V", "-m", str(bundle / MANIFEST), "-p", f"{key}.pub"]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    assert "Trusted comment: edgepress bundle recipe:tiny target:pixel8" in told.stdout
