"""Find files and folders below a root, without following links to folders or showing absolute paths in errors."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lightning_distill.data.readers import is_image


@contextmanager
def relative_permission_errors(root: Path) -> Iterator[None]:
    """Replace absolute paths in permission errors by paths below the root.

    Args:
        root: Folder of the files; the errors show its last part only.

    Raises:
        PermissionError: A file or folder cannot be accessed.
    """
    try:
        yield
    except PermissionError as error:
        path = Path(error.filename or root)
        name = path.relative_to(root).as_posix() if path != root and path.is_relative_to(root) else path.name
        why = f"cannot access {name}: {error.strerror}; change its permissions, or remove it"
        raise PermissionError(error.errno, why) from None


def check_root(root: Path) -> None:
    """Raise FileNotFoundError if the root is no folder."""
    if not root.is_dir():
        raise FileNotFoundError(f"there is no folder {root.name or root}; set root to the folder of the images")


def subfolders(folder: Path) -> list[Path]:
    """Return the folders in a folder, sorted, without hidden ones."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and not hidden(path.name))


def hidden(name: str) -> bool:
    """Return whether a name is that of a hidden file or of macOS metadata."""
    return name.startswith(".") or name == "__MACOSX"


def list_files(root: Path, folder: Path, skip: set[Path], others: bool = False) -> Iterator[tuple[str, bool]]:
    """Yield the paths below the root of the files in a folder and its subfolders, and whether they are images.

    A link to a folder is not followed and counts as unsupported. The suffix of a broken link decides.

    Args:
        root: Folder that the paths are relative to.
        folder: Folder that is searched.
        skip: Resolved paths that are left out.
        others: Whether files in unsupported formats are yielded too.
    """
    for path in sorted(_walk(folder)):
        below = path.relative_to(root)
        if any(map(hidden, below.parts)) or not (path.is_symlink() or (path.is_file() and path.resolve() not in skip)):
            continue
        supported = is_image(path) and not path.is_dir()
        if supported or others:
            yield below.as_posix(), supported


def _walk(folder: Path) -> Iterator[Path]:
    """Yield files and links below a folder; an inaccessible folder raises an error instead of counting as empty."""

    def reraise(error: OSError) -> None:
        raise error

    for parent, folders, files in os.walk(folder, onerror=reraise):
        yield from (Path(parent, name) for name in files)
        yield from (path for name in folders if (path := Path(parent, name)).is_symlink())


def is_file(path: Path) -> bool:
    """Return whether a path is a file; an inaccessible one raises PermissionError."""
    try:
        return path.is_file()
    except PermissionError:
        raise
    except OSError:  # an invalid file name
        return False
