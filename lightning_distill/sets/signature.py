"""Detached ed25519 signatures of set files.

``set.sig`` holds the 64 bytes of the signature of one file: ``set.safetensors``, ``set.npz``, or ``SHA256SUMS`` of an
export, which names the sha256 of all other files. Without this package::

    openssl pkeyutl -verify -pubin -inkey key.pub.pem -rawin -in set.safetensors -sigfile set.sig
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from lightning_distill.sets.export.folder_files import CHECKSUMS, verify_checksums
from lightning_distill.sets.export.npz import FILE as NPZ_FILE
from lightning_distill.sets.export.registry import SET
from lightning_distill.sets.keys import fingerprint, load_private_key, load_public_key
from lightning_distill.utils.atomic_files import write_files_atomically
from lightning_distill.utils.errors import UntrustedSetError

SIGNATURE = "set.sig"
#: Files that are signed, in the order in which a folder is searched.
SIGNED = (SET, NPZ_FILE, CHECKSUMS)


@dataclass(frozen=True)
class Signature:
    """A valid signature.

    Args:
        signed_file: Name of the signed file.
        fingerprint: Sha256 of the raw public key, hexadecimal.
    """

    signed_file: str
    fingerprint: str


def sign_set(path: str | os.PathLike[str], key: str | os.PathLike[str]) -> tuple[Path, str]:
    """Write ``set.sig`` beside the signed file of a set.

    Args:
        path: Set file, its folder, or an export of a set.
        key: Private ed25519 key, a PEM file.

    Returns:
        Path of the signature, and fingerprint of the public key.

    Raises:
        FileNotFoundError: Set or key does not exist.
        ValueError: The key is of another kind, encrypted without a passphrase, or no PEM file.
    """
    file, private = signed_file(path), load_private_key(key)
    target = file.with_name(SIGNATURE)
    write_files_atomically({target: private.sign(file.read_bytes())})
    return target, fingerprint(private.public_key())


def verify_set(path: str | os.PathLike[str], key: str | os.PathLike[str]) -> Signature:
    """Verify the signature of a set.

    Args:
        path: Set file, its folder, or an export of a set.
        key: Public ed25519 key, a PEM file.

    Raises:
        UntrustedSetError: There is no signature, or it is not that of this file and key.
        FileNotFoundError: Set or key does not exist.
        ValueError: The key is of another kind or no PEM file.
    """
    public, file = load_public_key(key), signed_file(path)
    from cryptography.exceptions import InvalidSignature

    name = Path(key).name
    try:
        signature = file.with_name(SIGNATURE).read_bytes()
    except FileNotFoundError:
        raise UntrustedSetError(f"{file.name} is not signed: {SIGNATURE} is not beside it; do not use it") from None
    try:
        public.verify(signature, file.read_bytes())
    except InvalidSignature:
        raise UntrustedSetError(
            f"the signature of {file.name} is not valid for {name}: another key signed it, or it was changed after it "
            "was signed; do not use it"
        ) from None
    if file.name == CHECKSUMS:
        try:
            verify_checksums(file.parent, (SIGNATURE,))
        except ValueError as error:
            raise UntrustedSetError(str(error)) from error
    return Signature(file.name, fingerprint(public))


def signed_file(path: str | os.PathLike[str]) -> Path:
    """Return the file of a set that is signed.

    Args:
        path: Set file, its folder, or an export of a set.

    Raises:
        FileNotFoundError: There is no such file.
    """
    path = Path(path)
    candidates = [path / name for name in SIGNED] if path.is_dir() else [path]
    found = next((file for file in candidates if file.is_file()), None)
    if found is None:
        raise FileNotFoundError(f"no set file {path.name!r} in {path.parent}; give {', '.join(SIGNED)} or the folder")
    return found
