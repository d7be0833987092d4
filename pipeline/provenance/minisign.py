"""Keys and signatures in minisign's format, which is Ed25519 (RFC 8032) over BLAKE2b (RFC 7693): what is signed here
can be verified by the minisign tool, and the other way round. Source:
 https://jedisct1.github.io/minisign/#signature-format.
"""

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.errors import InputError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

PLAIN, HASHED, SCRYPT, NO_KDF, BLAKE = b"Ed", b"ED", b"Sc", b"\0\0", b"B2"
UNTRUSTED, TRUSTED = "untrusted comment: ", "trusted comment: "
SECRET_LENGTH = 104  # key id, seed, public key, checksum
# scrypt with N = 2**17, r = 8, p = 1 (OWASP's Password Storage Cheat Sheet), as libsodium counts them.
OPERATIONS, MEMORY = 4 * 2**17 * 8, 128 * 2**17 * 8
MOST_MEMORY = 2**30  # bytes; what minisign's own keys ask for


@dataclass(frozen=True)
class PublicKey:
    """`id`: 8 bytes by which a signature names its key; `key`: 32 bytes."""

    id: bytes
    key: bytes

    @property
    def name(self) -> str:
        """The id as minisign prints it."""
        return self.id[::-1].hex().upper()

    @property
    def encoded(self) -> str:
        return _base64(PLAIN + self.id + self.key)

    def text(self) -> str:
        """The content of a .pub file."""
        return f"{UNTRUSTED}minisign public key {self.name}\n{self.encoded}\n"


@dataclass(frozen=True)
class SecretKey:
    """`seed`: 32 bytes, from which the Ed25519 key follows."""

    id: bytes
    seed: bytes

    @property
    def public(self) -> PublicKey:
        return PublicKey(self.id, _private(self.seed).public_key().public_bytes_raw())


@dataclass(frozen=True)
class Signature:
    """`hashed`: of the content's BLAKE2b-512, not of the content itself. `comment` is signed too, by `over_all`."""

    key_id: bytes
    hashed: bool
    signature: bytes
    comment: str
    over_all: bytes

    @property
    def key_name(self) -> str:
        return self.key_id[::-1].hex().upper()


def require_cryptography() -> None:
    """Raises InputError where the library that computes Ed25519 is not installed."""
    try:
        import cryptography.hazmat.primitives.asymmetric.ed25519  # noqa: F401
    except ImportError:
        raise InputError("signatures need the package cryptography: pip install 'edgepress[sign]'") from None


def new_key() -> SecretKey:
    return SecretKey(secrets.token_bytes(8), secrets.token_bytes(32))


def secret_key_text(key: SecretKey, passphrase: str | None) -> str:
    """The content of a secret key's file; without a passphrase whoever reads it can sign."""
    public = key.public
    check = _blake2b(PLAIN + key.id + key.seed + public.key, 32)
    content = key.id + key.seed + public.key + check
    kdf, salt, limits = NO_KDF, bytes(32), bytes(16)
    if passphrase:
        kdf, salt = SCRYPT, secrets.token_bytes(32)
        limits = OPERATIONS.to_bytes(8, "little") + MEMORY.to_bytes(8, "little")
        content = _masked(content, passphrase, salt, OPERATIONS, MEMORY)
    comment = f"{UNTRUSTED}minisign {'encrypted ' if passphrase else ''}secret key"
    return f"{comment}\n{_base64(PLAIN + kdf + BLAKE + salt + limits + content)}\n"


def is_locked(text: str, origin: str) -> bool:
    """Whether a secret key's file asks for a passphrase. Raises InputError if it is no such file."""
    return _secret_bytes(text, origin)[2:4] == SCRYPT


def read_secret_key(text: str, passphrase: str | None, origin: str) -> SecretKey:
    """The key in the `text` of a file. Raises InputError that names `origin` if it is no secret key of minisign's, is
    damaged, or the passphrase is missing or wrong."""
    raw = _secret_bytes(text, origin)
    kdf, salt, content = raw[2:4], raw[6:38], raw[54:]
    locked = kdf == SCRYPT
    if locked:
        if not passphrase:
            raise InputError(f"{origin}: the secret key has a passphrase, and none was given")
        operations, memory = (int.from_bytes(raw[at : at + 8], "little") for at in (38, 46))
        if memory > MOST_MEMORY:
            raise InputError(f"{origin}: asks for {memory:,} bytes to be unlocked, at most {MOST_MEMORY:,} are given")
        content = _masked(content, passphrase, salt, operations, memory)
    key_id, seed, public, check = content[:8], content[8:40], content[40:72], content[72:]
    unchecked = not locked and check == bytes(32)  # as the tool leaves it with -W
    if not unchecked and not hmac.compare_digest(_blake2b(PLAIN + key_id + seed + public, 32), check):
        raise InputError(f"{origin}: " + ("the passphrase is wrong, or the key is damaged" if locked else "damaged"))
    key = SecretKey(key_id, seed)
    if key.public.key != public:
        raise InputError(f"{origin}: damaged: its public key is not that of its secret key")
    return key


def read_public_key(text: str, origin: str) -> PublicKey:
    """The key in the `text` of a .pub file, or in its second line alone. Raises InputError if it is none."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith(UNTRUSTED)]
    raw = _bytes(lines[0]) if len(lines) == 1 else None
    if raw is None or len(raw) != 42 or raw[:2] != PLAIN:
        raise InputError(f"{origin}: no public key of minisign's; expected a .pub file of edgepress keygen or minisign")
    return PublicKey(raw[2:10], raw[10:])


def sign(content: bytes, key: SecretKey, comment: str) -> str:
    """The .minisig of `content`; the same bytes for the same content, key and comment (of one line)."""
    assert comment.isprintable(), "minisign keeps it on one line"
    private = _private(key.seed)
    signature = private.sign(_blake2b(content, 64))
    over_all = private.sign(signature + comment.encode())
    first = f"{UNTRUSTED}signature from minisign secret key {key.public.name}"
    return f"{first}\n{_base64(HASHED + key.id + signature)}\n{TRUSTED}{comment}\n{_base64(over_all)}\n"


def read_signature(text: str, origin: str) -> Signature:
    """Raises InputError if `text` is no signature of minisign's."""
    lines = text.splitlines()
    first, second = (_bytes(lines[at]) for at in (1, 3)) if len(lines) == 4 else (None, None)
    whole = first is not None and second is not None and len(first) == 74 and len(second) == 64
    if not whole or not lines[2].startswith(TRUSTED) or first is None or second is None:
        raise InputError(f"{origin}: no signature of minisign's, or cut short; sign the bundle again")
    if first[:2] not in (PLAIN, HASHED):
        raise InputError(f"{origin}: signed by an algorithm that is not known ({first[:2]!r}), expected Ed25519")
    comment = lines[2].removeprefix(TRUSTED)
    return Signature(first[2:10], first[:2] == HASHED, first[10:], comment, second)


def fits(signature: Signature, content: bytes, key: PublicKey) -> bool:
    """Whether `key` signed `content`."""
    return _verified(signature.signature, _blake2b(content, 64) if signature.hashed else content, key)


def comment_fits(signature: Signature, key: PublicKey) -> bool:
    """Whether `key` signed the trusted comment with the signature."""
    return _verified(signature.over_all, signature.signature + signature.comment.encode(), key)


def scrypt_parameters(operations: int, memory: int) -> tuple[int, int, int]:
    """N, r and p as libsodium's `crypto_pwhash_scryptsalsa208sha256` picks them from its limits."""
    operations, r = max(operations, 32768), 8
    short_of_time = operations < memory // 32
    largest = operations // (4 * r) if short_of_time else memory // (128 * r)
    power = next(power for power in range(1, 64) if 2**power > largest // 2)
    p = 1 if short_of_time else min(operations // 4 // 2**power, 0x3FFFFFFF) // r
    return 2**power, r, p


def _masked(content: bytes, passphrase: str, salt: bytes, operations: int, memory: int) -> bytes:
    """`content` with the passphrase's stream over it; twice is nothing."""
    n, r, p = scrypt_parameters(operations, memory)
    room = 128 * r * (n + p + 2) + 2**20
    stream = hashlib.scrypt(passphrase.encode(), salt=salt, n=n, r=r, p=p, maxmem=room, dklen=len(content))
    return bytes(a ^ b for a, b in zip(content, stream, strict=True))


def _secret_bytes(text: str, origin: str) -> bytes:
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith(UNTRUSTED)]
    raw = _bytes(lines[0]) if len(lines) == 1 else None
    if raw is None or len(raw) != 54 + SECRET_LENGTH or raw[:2] != PLAIN or raw[4:6] != BLAKE:
        raise InputError(f"{origin}: no secret key of minisign's; expected what edgepress keygen or minisign -G wrote")
    if raw[2:4] not in (SCRYPT, NO_KDF):
        raise InputError(f"{origin}: locked in a way that is not known ({raw[2:4]!r}), expected scrypt or none")
    return raw


def _verified(signature: bytes, content: bytes, key: PublicKey) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(key.key).verify(signature, content)
    except (InvalidSignature, ValueError):  # ValueError: the key is no point of the curve
        return False
    return True


def _private(seed: bytes) -> "Ed25519PrivateKey":
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(seed)


def _blake2b(content: bytes, size: int) -> bytes:
    return hashlib.blake2b(content, digest_size=size).digest()


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _bytes(line: str) -> bytes | None:
    try:
        return base64.b64decode(line.strip(), validate=True)
    except ValueError:  # letters that are no base64, or no ASCII
        return None
