"""``lightning-distill export``: write a set for other tools, and sign it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from lightning_distill.commands._console import plain_console
from lightning_distill.sets.exporting import export_set
from lightning_distill.sets.keys import create_key_pair, load_private_key
from lightning_distill.sets.signature import sign_set
from lightning_distill.sets.storage import read_set


def export(
    synthetic_set: str | None = None,
    *,
    to: Literal["imagefolder", "npz", "hf"] | None = None,
    out: str | None = None,
    decode: bool = True,
    sign: str | None = None,
    new_key: str | None = None,
) -> Path:
    """Write a set as image folder, npz file or Hugging Face data set, and sign it.

    ``lightning-distill export runs/digits/best --to hf --out digits-hf --sign key.pem``. Without ``--to``, ``--sign``
    signs the set itself. `load_set` and ``inspect`` read every export.

    Args:
        synthetic_set: Path of ``set.safetensors`` or of its folder, given before all options.
        to: Format: ``imagefolder`` (PNG files in class folders and ``labels.csv``), ``npz`` (``set.npz`` in MedMNIST's
            form) or ``hf`` (Hugging Face data set with Croissant metadata).
        out: Folder to write; it must not exist, or be empty.
        decode: Whether images with sub-images are decoded, for readers that do not know sub-images.
        sign: Private ed25519 key, a PEM file; writes ``set.sig``. The passphrase of an encrypted key is taken from the
            environment variable ``LIGHTNING_DISTILL_PASSPHRASE``.
        new_key: File for a new private key; its public key is written beside it. Needs no set.

    Returns:
        Path of the export, of the signature, or of the public key.

    Raises:
        FileNotFoundError: Set or key does not exist.
        FileExistsError: The folder has files, or the key exists.
        ValueError: Options do not go together, the key is no private ed25519 key, or the format does not hold the
            images.
        MissingExtraError: A key is given and cryptography is not installed.
        OSError: The folder cannot be written.
    """
    console = plain_console()
    if (to is None) != (out is None):
        raise ValueError("--to FORMAT and --out FOLDER belong together; without both, --sign signs the set itself")
    if synthetic_set is None and (to is not None or sign is not None or new_key is None):
        raise ValueError("give a set, export SET --to imagefolder --out FOLDER, or a file for a new key, --new_key")
    if synthetic_set is not None and new_key is None and to is None and sign is None:
        raise ValueError("export needs --to FORMAT --out FOLDER, --sign KEY, or both")
    path = Path()
    if new_key is not None:
        private, path = create_key_pair(new_key)
        console.print(f"private key, keep it: {private}; public key, for receivers: {path}", soft_wrap=True)
    if sign is not None:
        load_private_key(sign)  # before anything is written
    if synthetic_set is None:
        return path
    if to is not None and out is not None:
        path = export_set(synthetic_set, out, to=to, decode=decode)
        console.print(f"{to}: {path}", soft_wrap=True)
    if sign is not None:
        signed = synthetic_set if to is None or out is None else out
        read_set(signed)  # a damaged set is not signed
        path, fingerprint = sign_set(signed, sign)
        console.print(f"signature: {path}, public key sha256 {fingerprint}", soft_wrap=True)
    return path
