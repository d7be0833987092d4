"""The commands that make keys and sign bundles."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.parts import AsJson, BundleFolder, answers, print_json

PASSPHRASE = "EDGEPRESS_KEY_PASSPHRASE"  # noqa: S105  # the variable's name
NEW_PASSPHRASE = "Passphrase of the new key (none: whoever reads the file can sign)"  # noqa: S105


@answers
def keygen_command(
    file: Annotated[Path, typer.Argument(help="Where the secret key goes; KEY.pub is beside it.", metavar="KEY")],
    passphrase: Annotated[
        bool, typer.Option(help=f"Locks it with a passphrase: that in {PASSPHRASE}, or one that is asked for.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Makes a key pair to sign bundles with, in minisign's format: KEY, for you alone, and KEY.pub, for everyone."""
    from pipeline.errors import InputError
    from pipeline.provenance.signature import write_keys

    secret = None
    if passphrase:
        secret = os.environ.get(PASSPHRASE)
        if not secret:
            if not sys.stdin.isatty():
                raise InputError(f"nobody is here to be asked for a passphrase: set {PASSPHRASE}, or --no-passphrase")
            secret = typer.prompt(
                NEW_PASSPHRASE, default="", hide_input=True, confirmation_prompt=True, show_default=False
            )
    public = write_keys(file, secret or None)
    if as_json:
        print_json({"secret_key": str(file), "public_key": f"{file}.pub", "id": public.name, "key": public.encoded})
    else:
        print(f"{file}: the secret key{'' if secret else ', not locked'}; keep it out of the repository")
        print(f"{file}.pub: the public key {public.name}: {public.encoded}")


@answers
def sign_command(
    bundle: BundleFolder,
    key: Annotated[str, typer.Option("--key", help="The secret key, a file; - reads it from standard input.")],
    as_json: AsJson = False,
) -> None:
    """Signs a bundle whose files are proven: writes manifest.json.minisig, which edgepress gate --trusted and the
    minisign tool verify."""
    from pipeline.provenance.minisign import is_locked, read_secret_key, require_cryptography
    from pipeline.provenance.signature import read_key_text, sign_bundle

    require_cryptography()
    text, origin = read_key_text(None if key == "-" else Path(key))
    secret = _passphrase(origin) if is_locked(text, origin) else None
    found = read_secret_key(text, secret, origin)
    file = sign_bundle(bundle, found)
    if as_json:
        print_json({"signature": str(file), "key": found.public.name})
    else:
        print(f"{file}: signed by {found.public.name}")


def _passphrase(origin: str) -> str:
    from pipeline.errors import InputError

    known = os.environ.get(PASSPHRASE)
    if known:
        return known
    if not sys.stdin.isatty():
        raise InputError(f"{origin}: the secret key has a passphrase, and nobody is here to be asked: set {PASSPHRASE}")
    return str(typer.prompt("Passphrase of the key", hide_input=True))
