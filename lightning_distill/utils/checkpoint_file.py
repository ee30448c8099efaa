"""Digest of checkpoint files: damaged ones are refused.

A checkpoint is the archive of ``torch.save`` with its sha256 as the comment of the archive, so every tool that reads
such archives reads it. Checkpoints without a digest are verified by the checksums of the archive's records.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import zipfile
from pathlib import Path

SUFFIX = ".ckpt"
_PREFIX = b"lightning_distill sha256="
_LENGTH = len(_PREFIX) + 64
#: Start and size of the last record of an archive without a comment.
_END, _END_SIZE = b"PK\x05\x06", 22


class DamagedCheckpointError(ValueError):
    """A checkpoint is truncated, or its bytes differ from those that were written."""


class PickledCheckpointError(ValueError):
    """A checkpoint holds Python objects beside tensors and plain data; they may run code and are not read."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(
            f"checkpoint {Path(path).name} holds Python objects, which may run code and are never read; keep plain "
            "data and tensors in checkpoints"
        )


def with_digest(archive: bytes) -> bytes:
    """Return an archive of ``torch.save`` with its sha256 as the comment.

    Args:
        archive: Archive without a comment.
    """
    head = archive[:-2] + _LENGTH.to_bytes(2, "little")  # the last field is the length of the comment
    return head + _PREFIX + hashlib.sha256(head).hexdigest().encode()


def verify(data: bytes, name: str) -> None:
    """Raise `DamagedCheckpointError` unless the bytes of a checkpoint are those that were written.

    Args:
        data: Content of the file.
        name: Name of the file, for the message.
    """
    head, comment = data[:-_LENGTH], data[-_LENGTH:]
    if comment.startswith(_PREFIX):
        problem = None if hashlib.sha256(head).hexdigest().encode() == comment[len(_PREFIX) :] else "its sha256 differs"
    elif data[-_END_SIZE:].startswith(_END) and data.endswith(b"\0\0"):
        problem = _checksum_problem(data)  # of Lightning or of an earlier version
    else:
        problem = "it is truncated or no checkpoint"
    if problem is not None:
        raise DamagedCheckpointError(f"checkpoint {name} is damaged: {problem}; resume from another one of its folder")


def verify_file(path: str | os.PathLike[str]) -> None:
    """Raise `DamagedCheckpointError` for a local checkpoint file that is damaged; remote and missing ones pass.

    Args:
        path: Path of the file.
    """
    if not is_remote(path) and Path(path).is_file():
        verify(Path(path).read_bytes(), Path(path).name)


def _checksum_problem(data: bytes) -> str | None:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            bad = archive.testzip()
    except (zipfile.BadZipFile, OSError, ValueError, EOFError, NotImplementedError, RuntimeError) as error:
        return str(error) or "its records cannot be read"
    return None if bad is None else f"the checksum of {bad} differs"


def is_remote(path: str | os.PathLike[str]) -> bool:
    """Return True for a URL."""
    return re.match(r"[a-zA-Z][a-zA-Z0-9+.-]+://", os.fspath(path)) is not None
