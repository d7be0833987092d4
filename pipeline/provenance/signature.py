"""Signed bundles: the manifest, which holds the SHA-256 of every file, with a minisign signature beside it."""

import os
import stat
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import InputError
from pipeline.integrity import MANIFEST, REPORT, SIGNATURE, read_json, verify_bundle
from pipeline.provenance import minisign
from pipeline.store import write_atomic

KEY_LENGTH = 56  # letters of a public key in base64


@dataclass(frozen=True)
class Signed:
    """Who signed a bundle, and the comment that was signed with it."""

    key: str
    comment: str


def write_keys(file: Path, passphrase: str | None) -> minisign.PublicKey:
    """A new key pair: the secret key in `file`, readable by its owner alone, the public one in `file`.pub beside it.
    Raises InputError where one of the two is there already."""
    minisign.require_cryptography()
    public_file = file.with_name(f"{file.name}.pub")
    for there in (file, public_file):
        if there.exists() or there.is_symlink():
            raise InputError(f"{there}: is there already, and a key that was lost can't be made again; name another")
    key = minisign.new_key()
    file.parent.mkdir(parents=True, exist_ok=True)
    # Never readable by others, not even before a chmod; never over what is there.
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="ascii", newline="\n") as stream:
        stream.write(minisign.secret_key_text(key, passphrase))
    write_atomic(public_file, key.public.text())
    return key.public


def read_key_text(file: Path | None) -> tuple[str, str]:
    """The text of a secret key and where it is from; None reads standard input, so that a CI's secret need not be
    written to a disk. Raises InputError if it is not there, or others than its owner may read it."""
    if file is None:
        return sys.stdin.read(4096), "standard input"
    try:
        with file.open("rb") as stream:
            mode = os.fstat(stream.fileno()).st_mode
            if os.name == "posix" and stat.S_ISREG(mode) and mode & 0o077:
                raise InputError(
                    f"{file}: others may read this secret key (mode {stat.S_IMODE(mode):o}): chmod 600 {file}, and "
                    "make another key if others did"
                )
            return stream.read(4096).decode("ascii", "replace"), str(file)
    except OSError as error:
        raise InputError(
            f"{file}: can't be read: {error.strerror or error}; make a key with edgepress keygen"
        ) from None


def sign_bundle(folder: Path, key: minisign.SecretKey) -> Path:
    """Signs the bundle in `folder`, proven to be as written, and returns the signature's file; an earlier signature is
    replaced. The same bytes for the same bundle and key. Raises InputError if the bundle is changed."""
    manifest, report = verify_bundle(folder), read_json(folder / REPORT)
    told = {"recipe": report.get("recipe"), "target": manifest.get("profile", {}).get("id")}
    comment = " ".join(["edgepress bundle", *(f"{name}:{value}" for name, value in told.items())])
    comment = "".join(letter if letter.isprintable() else "?" for letter in comment)
    file = folder / SIGNATURE
    write_atomic(file, minisign.sign((folder / MANIFEST).read_bytes(), key, comment))
    return file


def trusted_keys(names: Sequence[str]) -> list[minisign.PublicKey]:
    """Public keys by the file that holds one, or written out. Raises InputError for what is neither."""
    minisign.require_cryptography()
    keys = []
    for name in names:
        if len(name) == KEY_LENGTH and name.startswith("RW") and not Path(name).exists():
            keys.append(minisign.read_public_key(name, "--trusted"))
            continue
        try:
            text = Path(name).read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            raise InputError(
                f"{name}: can't be read: {error.strerror or error}; give a public key, a .pub file"
            ) from None
        keys.append(minisign.read_public_key(text, name))
    return keys


def verify_signature(folder: Path, trusted: Sequence[minisign.PublicKey]) -> Signed:
    """Who of the `trusted` signed the manifest of the bundle in `folder`; the files are proven by `verify_bundle`.

    Raises InputError, with a message of its own, where there is no signature, where it is none of minisign's, where the
    key is none of the `trusted`, and where the manifest, the signature or its comment was changed.
    """
    file, known = folder / SIGNATURE, ", ".join(key.name for key in trusted)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected a bundle, a folder that edgepress run wrote")
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        raise InputError(
            f"{folder}: not signed (it has no {SIGNATURE}), and a signature by {known} was asked for: sign it with "
            "edgepress sign, or get the bundle from whoever released it"
        ) from None
    except OSError as error:
        raise InputError(f"{file}: can't be read: {error.strerror or error}") from None
    signature = minisign.read_signature(text, str(file))
    keys = [key for key in trusted if key.id == signature.key_id]
    if not keys:
        raise InputError(
            f"{folder}: signed by key {signature.key_name}, which is not trusted here; trusted is {known}: do not ship "
            "it, or trust that key too"
        )
    try:
        content = (folder / MANIFEST).read_bytes()
    except OSError as error:
        raise InputError(f"{folder / MANIFEST}: can't be read: {error.strerror or error}") from None
    fitting = [key for key in keys if minisign.fits(signature, content, key)]
    if not fitting:
        raise InputError(
            f"{folder}: the signature does not fit: it names key {signature.key_name}, but {MANIFEST} was changed "
            "after it was signed, or another key of that name signed it; do not ship it"
        )
    if not minisign.comment_fits(signature, fitting[0]):
        raise InputError(f"{file}: its trusted comment was changed after it was signed; sign the bundle again")
    return Signed(signature.key_name, signature.comment)


def signer(folder: Path) -> str | None:
    """The key that a bundle's signature names, unproven; None where there is no signature that can be read."""
    try:
        return minisign.read_signature((folder / SIGNATURE).read_text(encoding="utf-8"), SIGNATURE).key_name
    except (OSError, UnicodeError, InputError):
        return None
