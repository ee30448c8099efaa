"""Names of sets in tables, from their paths."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from lightning_distill.sets.storage import SET
from lightning_distill.utils.short_names import distinct_ends

#: Folders that every run has; alone they name nothing.
OF_EVERY_RUN = ("best", "last")


def folder_of_set(path: str | os.PathLike[str]) -> Path:
    """Return the folder of a set, given by its file or by the folder itself.

    Args:
        path: Path of ``set.safetensors`` or of its folder.
    """
    resolved = Path(path).resolve()
    return resolved.parent if resolved.name == SET or resolved.is_file() else resolved


def short_names(paths: Sequence[str | os.PathLike[str]]) -> list[str]:
    """Return the shortest ends of paths that differ, as names of sets.

    Args:
        paths: Paths of sets.

    Raises:
        ValueError: A set is given twice.

    Example:
        >>> short_names(["runs/a/best", "runs/b/best", "gan/set.safetensors"])
        ['a/best', 'b/best', 'gan']
    """
    parts = [folder_of_set(path).parts for path in paths]
    if twice := next((path for number, path in enumerate(paths) if parts.index(parts[number]) < number), None):
        raise ValueError(f"the set {os.fspath(twice)} is given twice; give each set once")
    return distinct_ends(parts, [2 if own[-1] in OF_EVERY_RUN else 1 for own in parts])


def check_other_folder(out: str | os.PathLike[str], source: str | os.PathLike[str]) -> None:
    """Raise ValueError if a new set would be written over the one that it is made from.

    Args:
        out: Folder of the new set.
        source: Path of the set that it is made from.
    """
    if Path(out).resolve() == folder_of_set(source):
        raise ValueError(f"--out {os.fspath(out)} holds the set itself; choose another folder")
