"""Keys and signatures in minisign's format, held against the minisign tool itself where it is installed."""

import base64
import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("cryptography", reason="signing needs the package cryptography")

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.provenance import minisign

MINISIGN = shutil.which("minisign")
needs_tool = pytest.mark.skipif(MINISIGN is None, reason="the minisign tool is not installed")
CONTENT = b'{"files": {}}\n'


def tool(*arguments: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    assert MINISIGN is not None
    return subprocess.run([MINISIGN, *arguments], input=typed, capture_output=True, text=True, check=False)


@pytest.fixture
def key() -> minisign.SecretKey:
    return minisign.SecretKey(bytes(range(8)), bytes(32))


def damaged(text: str, line: int) -> str:
    """`text` with one bit of a base64 line turned over."""
    lines = text.splitlines()
    raw = bytearray(base64.b64decode(lines[line]))
    raw[-1] ^= 1
    lines[line] = base64.b64encode(raw).decode()
    return "\n".join(lines) + "\n"


def test_a_public_key_is_that_of_rfc_8032(key: minisign.SecretKey) -> None:
    secret = minisign.SecretKey(
        bytes(8), bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    )
    assert secret.public.key.hex() == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    assert key.public.name == "0706050403020100"  # the id is a little-endian number


def test_what_is_signed_verifies_and_what_is_changed_does_not(key: minisign.SecretKey) -> None:
    text = minisign.sign(CONTENT, key, "bundle of today")
    signature = minisign.read_signature(text, "s")
    assert minisign.fits(signature, CONTENT, key.public)
    assert minisign.comment_fits(signature, key.public)
    assert signature.comment == "bundle of today"
    assert signature.key_name == key.public.name
    assert not minisign.fits(signature, CONTENT + b" ", key.public)
    assert not minisign.fits(signature, CONTENT, minisign.PublicKey(key.id, minisign.new_key().public.key))
    assert not minisign.fits(signature, CONTENT, minisign.PublicKey(key.id, bytes([255]) * 32))
    assert not minisign.fits(minisign.read_signature(damaged(text, 1), "s"), CONTENT, key.public)
    assert not minisign.comment_fits(minisign.read_signature(damaged(text, 3), "s"), key.public)
    other = minisign.read_signature(text.replace("of today", "of tomorrow"), "s")
    assert minisign.fits(other, CONTENT, key.public)
    assert not minisign.comment_fits(other, key.public)


def test_the_same_content_and_key_give_the_same_signature(key: minisign.SecretKey) -> None:
    assert minisign.sign(CONTENT, key, "x") == minisign.sign(CONTENT, key, "x")


def test_it_is_the_hash_of_the_content_that_is_signed(key: minisign.SecretKey) -> None:
    """So a signature of the hash as it is, minisign's older form, verifies too."""
    text = minisign.sign(CONTENT, key, "x")
    raw = base64.b64decode(text.splitlines()[1])
    assert raw[:2] == b"ED"
    older = base64.b64encode(b"Ed" + raw[2:]).decode()
    lines = [text.splitlines()[0], older, *text.splitlines()[2:]]
    signature = minisign.read_signature("\n".join(lines), "s")
    assert minisign.fits(signature, hashlib.blake2b(CONTENT).digest(), key.public)
    assert not minisign.fits(signature, CONTENT, key.public)


def test_a_key_without_a_passphrase_reads_back(key: minisign.SecretKey) -> None:
    text = minisign.secret_key_text(key, None)
    assert not minisign.is_locked(text, "k")
    assert minisign.read_secret_key(text, None, "k") == key
    assert minisign.read_public_key(key.public.text(), "k") == key.public
    assert minisign.read_public_key(key.public.encoded, "k") == key.public


def test_a_passphrase_locks_a_key(key: minisign.SecretKey) -> None:
    text = minisign.secret_key_text(key, "open sesame")
    assert minisign.is_locked(text, "k")
    assert base64.b64encode(key.seed).decode() not in text
    assert key.seed not in base64.b64decode(text.splitlines()[1])
    assert minisign.read_secret_key(text, "open sesame", "k") == key
    with pytest.raises(InputError, match="the passphrase is wrong"):
        minisign.read_secret_key(text, "open says me", "k")
    with pytest.raises(InputError, match="has a passphrase, and none was given"):
        minisign.read_secret_key(text, None, "k")


@pytest.mark.parametrize(
    ("operations", "memory", "expected"),
    [
        (33554432, 1073741824, (2**20, 8, 1)),  # minisign's own keys
        (524288, 16777216, (2**14, 8, 1)),  # libsodium's interactive limits
        (minisign.OPERATIONS, minisign.MEMORY, (2**17, 8, 1)),
        (1, 16777216, (2**10, 8, 1)),  # time is shorter than memory: 32768 operations at the least
    ],
)
def test_scrypts_parameters_are_those_that_libsodium_picks(
    operations: int, memory: int, expected: tuple[int, int, int]
) -> None:
    assert minisign.scrypt_parameters(operations, memory) == expected


def test_a_key_that_asks_for_too_much_memory_is_refused(key: minisign.SecretKey) -> None:
    raw = bytearray(base64.b64decode(minisign.secret_key_text(key, "x").splitlines()[1]))
    raw[46:54] = (2**40).to_bytes(8, "little")
    with pytest.raises(InputError, match="at most 1,073,741,824 are given"):
        minisign.read_secret_key(base64.b64encode(raw).decode(), "x", "k")


def test_a_damaged_key_is_told_from_a_wrong_passphrase(key: minisign.SecretKey) -> None:
    with pytest.raises(InputError, match="k: damaged"):
        minisign.read_secret_key(damaged(minisign.secret_key_text(key, None), 1), None, "k")


@settings(max_examples=20)
@given(text=st.text(max_size=300))
def test_what_is_no_key_and_no_signature_is_refused(text: str) -> None:
    for read in (minisign.read_signature, minisign.read_public_key, minisign.is_locked):
        with pytest.raises(InputError, match="minisign"):
            read(text, "file")


@needs_tool
def test_the_minisign_tool_verifies_what_is_signed_here(key: minisign.SecretKey, tmp_path: Path) -> None:
    file, public = tmp_path / "manifest.json", tmp_path / "key.pub"
    file.write_bytes(CONTENT)
    public.write_text(key.public.text())
    signature = tmp_path / "manifest.json.minisig"
    signature.write_text(minisign.sign(CONTENT, key, "bundle of today"))
    told = tool("-V", "-m", str(file), "-p", str(public))
    assert told.returncode == 0, told.stderr
    assert "Trusted comment: bundle of today" in told.stdout
    by_key = tool("-V", "-m", str(file), "-P", key.public.encoded)
    assert by_key.returncode == 0
    file.write_bytes(CONTENT + b" ")
    assert tool("-V", "-m", str(file), "-p", str(public)).returncode != 0


@needs_tool
def test_the_minisign_tool_signs_with_a_key_made_here(key: minisign.SecretKey, tmp_path: Path) -> None:
    file, secret = tmp_path / "manifest.json", tmp_path / "key"
    file.write_bytes(CONTENT)
    for passphrase in (None, "open sesame"):
        secret.write_text(minisign.secret_key_text(key, passphrase))
        typed = f"{passphrase}\n" if passphrase else ""
        told = tool("-S", "-s", str(secret), "-m", str(file), "-t", "by the tool", typed=typed)
        assert told.returncode == 0, told.stderr + told.stdout
        signature = minisign.read_signature((tmp_path / "manifest.json.minisig").read_text(), "s")
        assert minisign.fits(signature, CONTENT, key.public)
        assert minisign.comment_fits(signature, key.public)
        assert signature.comment == "by the tool"


@needs_tool
@pytest.mark.parametrize("older", [False, True])
def test_what_the_minisign_tool_signed_with_its_own_key_verifies_here(tmp_path: Path, older: bool) -> None:
    file, secret, public = tmp_path / "m", tmp_path / "key", tmp_path / "key.pub"
    file.write_bytes(CONTENT)
    assert tool("-G", "-W", "-s", str(secret), "-p", str(public)).returncode == 0
    options = ["-l"] if older else []
    assert tool("-S", *options, "-s", str(secret), "-m", str(file)).returncode == 0
    signature = minisign.read_signature((tmp_path / "m.minisig").read_text(), "s")
    assert signature.hashed is not older
    assert minisign.fits(signature, CONTENT, minisign.read_public_key(public.read_text(), "p"))
    key = minisign.read_secret_key(secret.read_text(), None, "k")
    assert key.public == minisign.read_public_key(public.read_text(), "p")
    assert minisign.sign(CONTENT, key, "x").count("\n") == 4
