"""Locks between processes: of one file, and of a folder that one run owns. They end with their process."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

#: Lock file in an owned folder. It stays there; the lock itself is one of the operating system's.
LOCK = ".lock"
#: Locks of the folders that this process owns, and the number of claims on each.
_OWNED: dict[Path, tuple[BaseFileLock, int]] = {}


class FolderInUseError(OSError):
    """A folder belongs to a run that is still going."""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file against other processes of this machine; wait for it.

    Args:
        path: File that is read, changed and written inside the block. The lock is a file in the temporary folder.
    """
    name = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:24]
    with FileLock(Path(tempfile.gettempdir()) / f"lightning_distill-{name}.lock"):
        yield


def try_lock(path: Path) -> BaseFileLock | None:
    """Take the lock of a lock file without waiting; ``None`` where another process has it.

    The lock ends with ``release()`` and with the process, however that ends.

    Args:
        path: Lock file, which is created with its folder and stays there. All machines that share the disk see it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return None
    return lock


def claim_folder(folder: str | os.PathLike[str]) -> None:
    """Own a folder until `release_folder`, as the only process; claims of one process add up.

    Args:
        folder: Folder of a run, which is created. On a disk without locks nothing is claimed.

    Raises:
        FolderInUseError: Another process owns the folder; the message names it.
        OSError: The folder cannot be written.
    """
    path = Path(folder).resolve()
    if path in _OWNED:
        lock, claims = _OWNED[path]
        _OWNED[path] = lock, claims + 1
        return
    try:
        taken = try_lock(path / LOCK)
    except NotImplementedError:
        return
    if taken is None:
        raise FolderInUseError(
            f"{folder} belongs to a run that is still going; wait for its end or stop it, or choose another folder"
        )
    _OWNED[path] = taken, 1


def release_folder(folder: str | os.PathLike[str]) -> None:
    """Take back one claim on a folder; without claims it is free. A folder that is not owned is left alone.

    Args:
        folder: Folder given to `claim_folder`.
    """
    path = Path(folder).resolve()
    if path not in _OWNED:
        return
    lock, claims = _OWNED.pop(path)
    if claims > 1:
        _OWNED[path] = lock, claims - 1
    else:
        lock.release()


@contextmanager
def owned(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Own a folder inside the block, see `claim_folder`.

    Args:
        folder: Folder of a run.

    Raises:
        FolderInUseError: Another process owns the folder.
    """
    claim_folder(folder)
    try:
        yield
    finally:
        release_folder(folder)
