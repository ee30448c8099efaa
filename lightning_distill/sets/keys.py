"""Ed25519 keys in PEM files: make a pair, read one. Keys and passphrases never enter a message."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_distill.utils.atomic_files import write_files_atomically
from lightning_distill.utils.errors import MissingExtraError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

#: Environment variable with the passphrase of an encrypted private key.
PASSPHRASE = "LIGHTNING_DISTILL_PASSPHRASE"
#: Largest size of a key file in bytes.
MAX_KEY_BYTES = 1 << 16


def create_key_pair(path: str | os.PathLike[str]) -> tuple[Path, Path]:
    """Write a new ed25519 key pair; the private key is readable by its owner only.

    It is encrypted where the environment variable ``LIGHTNING_DISTILL_PASSPHRASE`` has a passphrase.

    Args:
        path: File of the private key, ``key.pem``. The public key becomes ``key.pub.pem`` beside it.

    Returns:
        Paths of the private and of the public key.

    Raises:
        FileExistsError: One of the files exists.
        MissingExtraError: cryptography is not installed.
    """
    require_cryptography()
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    private, public = Path(path), Path(path).with_suffix(f".pub{Path(path).suffix or '.pem'}")
    if existing := next((file for file in (private, public) if file.exists()), None):
        raise FileExistsError(f"{existing} exists; a key is never overwritten, choose another file for --new_key")
    passphrase = _passphrase()
    key = Ed25519PrivateKey.generate()
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase is not None:
        encryption = serialization.BestAvailableEncryption(passphrase)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    private.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(private, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(pem)
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    write_files_atomically({public: key.public_key().public_bytes(serialization.Encoding.PEM, form)})
    return private, public


def load_private_key(path: str | os.PathLike[str]) -> Ed25519PrivateKey:
    """Read a private ed25519 key.

    Args:
        path: PEM file. For an encrypted one the passphrase is taken from ``LIGHTNING_DISTILL_PASSPHRASE``.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The key is of another kind, public, encrypted without a passphrase, or no PEM file.
    """
    require_cryptography()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    name, content = Path(path).name, _read_pem(path)
    if b"PRIVATE KEY" not in content:
        raise ValueError(f"{name} is a public key or a certificate; --sign needs the private key")
    encrypted = b"ENCRYPTED" in content
    passphrase = _passphrase() if encrypted else None
    if encrypted and passphrase is None:
        raise ValueError(f"{name} has a passphrase; set the environment variable {PASSPHRASE} to it")
    try:
        key = load_pem_private_key(content, passphrase)
    except Exception:
        cause = f"or {PASSPHRASE} is not its passphrase" if encrypted else "or damaged"
        raise ValueError(f"{name} is no readable private key, {cause}; {_how_to_make()}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError(f"{name} is no ed25519 key; {_how_to_make()}")
    return key


def load_public_key(path: str | os.PathLike[str]) -> Ed25519PublicKey:
    """Read a public ed25519 key.

    Args:
        path: PEM file.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The key is of another kind, private, or no PEM file.
    """
    require_cryptography()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    name, content = Path(path).name, _read_pem(path)
    if b"PRIVATE KEY" in content:
        raise ValueError(f"{name} is a private key; --verify takes its public key, which openssl pkey -pubout writes")
    try:
        key = load_pem_public_key(content)
    except Exception:
        raise ValueError(f"{name} is no readable public key; ask the sender for the PEM file") from None
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError(f"{name} is no ed25519 key; ask the sender for the one that signed the set")
    return key


def fingerprint(key: Ed25519PublicKey) -> str:
    """Return the sha256 of the 32 bytes of a public key, hexadecimal."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()


def require_cryptography() -> None:
    """Raise MissingExtraError if cryptography is not installed."""
    try:
        import cryptography.hazmat.primitives.asymmetric.ed25519  # noqa: F401
    except ImportError:
        raise MissingExtraError("signatures need cryptography: pip install 'lightning-distill[sign]'") from None


def _read_pem(path: str | os.PathLike[str]) -> bytes:
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no key file {path.name!r} in {path.parent}; check the path")
    with path.open("rb") as file:
        content = file.read(MAX_KEY_BYTES)
    if b"OPENSSH" in content or content.startswith(b"ssh-"):
        raise ValueError(f"{path.name} is an OpenSSH key, which is not read; {_how_to_make()}")
    if b"-----BEGIN " not in content:
        raise ValueError(f"{path.name} is no PEM file; {_how_to_make()}")
    return content


def _passphrase() -> bytes | None:
    return os.environ[PASSPHRASE].encode() if os.environ.get(PASSPHRASE) else None


def _how_to_make() -> str:
    return "lightning-distill export --new_key key.pem makes a key"
