"""Find the split and class folders below a root, and refuse folders that only look like classes."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from lightning_distill.data.checks.groups import SPLITS
from lightning_distill.data.folder.files import hidden, subfolders
from lightning_distill.data.folder.index import shorten_list
from lightning_distill.data.folder.masks import image_name
from lightning_distill.data.folder.names import (
    affixed_split_of,
    are_cases,
    are_folds,
    are_parts,
    are_sources,
    is_container,
    is_mask_folder,
    split_of,
)
from lightning_distill.data.readers import is_image


class ClassFolder(NamedTuple):
    """Folder with the images of one class in one split.

    Args:
        path: Path of the folder.
        split: Split: ``train``, ``val`` or ``test``.
        label: Name of the class.
    """

    path: Path
    split: str
    label: str


def find_class_folders(root: Path, require_train: bool = True) -> list[ClassFolder]:
    """Find ``root/train/ill``, ``root/ill/train`` or ``root/ill``; see `names` for the accepted names of splits.

    Single folders around the data set, containers such as ``images``, and folders of masks are passed over.

    Args:
        root: Folder of the data set.
        require_train: Whether split folders without a folder train are refused.

    Raises:
        ValueError: There are no class folders, the folders are something else, or the split folders are inconsistent.
    """
    folder = _unwrap(root)
    by_split = _splits(root, folder)
    if not by_split:
        return _of_classes(root, _classes(root, folder, "root"), require_train)
    if require_train and "train" not in by_split:
        names = shorten_list([f.name for f in by_split.values()])
        raise ValueError(f"there is a folder {names} but no folder train; add it")
    found = []
    for split in (split for split in SPLITS if split in by_split):
        folder = _unwrap_split(by_split[split], split)
        classes = _classes(root, folder, folder.relative_to(root).as_posix())
        found += [ClassFolder(path, split, path.name) for path in classes]
    return found


def find_tables(root: Path) -> list[str]:
    """Return the paths below the root of CSV tables in the root and its folders, for error messages."""
    tables = [path for pattern in ("*.csv", "*/*.csv", "*.tsv") for path in sorted(root.glob(pattern))]
    return [path.relative_to(root).as_posix() for path in tables if not hidden(path.name)]


def only_table(root: Path) -> Path | None:
    """Return the one table of a folder whose images lie together, in it or in one folder below; else ``None``.

    Args:
        root: Folder of the data set.
    """
    try:
        inner = subfolders(root)
        place = inner[0] if len(inner) == 1 and not _has_images(root) else root
        if not _has_images(place) or any(_has_images(folder) for folder in subfolders(place)):
            return None
        tables = [path for path in sorted(root.iterdir()) if path.suffix.lower() in (".csv", ".tsv")]
    except OSError:  # no such folder, or no permission: reading it says so
        return None
    return tables[0] if len(tables) == 1 and not hidden(tables[0].name) else None


def _visible(folder: Path) -> list[Path]:
    """Return the folders in a folder without those of masks, unless all are."""
    folders = subfolders(folder)
    names = {path.name.lower() for path in folders}
    masks = {path for path in folders if is_mask_folder(path.name) or image_name(path.name).lower() in names}
    return [path for path in folders if path not in masks] or folders


def _has_images(folder: Path) -> bool:
    return any(path.is_file() and not hidden(path.name) and is_image(path) for path in folder.iterdir())


def _unwrap(root: Path) -> Path:
    """Descend through single folders around the data set, up to a folder of splits, of classes, or of one class."""
    folder = root
    while len(inner := _visible(folder)) == 1 and not _has_images(folder):
        if split_of(inner[0].name) or _has_images(inner[0]) or not _visible(inner[0]):
            break
        folder = inner[0]
    return folder


def _unwrap_split(folder: Path, split: str) -> Path:
    """Descend through containers (``train/images``) and repeated names (``seg_train/seg_train``) in a split."""
    while len(inner := _visible(folder)) == 1 and not _has_images(folder) and _visible(inner[0]):
        named = affixed_split_of(inner[0].name)
        if _has_images(inner[0]) or not (is_container(inner[0].name) or (named and named[0] == split)):
            break
        folder = inner[0]
    return folder


def _splits(root: Path, folder: Path) -> dict[str, Path]:
    folders = _visible(folder)
    named = [(split, path) for path in folders if (split := split_of(path.name))]
    if not named:
        affixed = {path: found for path in folders if (found := affixed_split_of(path.name))}
        rests = {rest for _, rest in affixed.values()}
        crossed = len(set(affixed.values())) > len(rests) > 1
        if crossed and len(affixed) == len(folders):
            names = shorten_list([path.name for path in folders])
            raise ValueError(
                f"the folders {names} name a split and a class each; make a folder per split with folders of classes"
            )
        if len(rests) == 1 and len({split for split, _ in affixed.values()}) > 1:
            named = [(split, path) for path, (split, _) in affixed.items()]
            if are_cases([path.name for path in folders]):
                named = []
    by_split: dict[str, Path] = {}
    for split, path in named:
        if split in by_split:
            raise ValueError(f"the folders {by_split[split].name} and {path.name} are both {split}; keep one")
        by_split[split] = path
    others = [path for path in folders if path not in by_split.values()]
    if by_split and others and "train" in by_split:
        names = shorten_list([path.name for path in others])
        copies = [path.name for path in others if {split_of(inner.name) for inner in subfolders(path)} >= {*by_split}]
        advice = f"{copies[0]} holds a copy of them; remove it" if copies else "move it out of root or into the splits"
        raise ValueError(f"there is a folder {names} beside the split folders; {advice}")
    return by_split


def _classes(root: Path, folder: Path, name: str) -> list[Path]:
    """Return the class folders in a folder."""
    folders = _visible(folder)
    tables = find_tables(root)
    table = f"table, e.g. {shorten_list(tables[:1])}" if tables else "table"
    if not folders:
        raise ValueError(f"{name} has no class folders; put the images into one folder per class, or give {table}")
    names = [path.name for path in folders]
    if are_folds(names):
        raise ValueError(f"the folders {shorten_list(names)} are folds of a cross-validation; set root to one of them")
    if are_parts(names):
        raise ValueError(f"the folders {shorten_list(names)} are parts of one set of images, not classes; give {table}")
    if are_cases(names):
        raise ValueError(
            f"the folders {shorten_list(names)} are patients, not classes; put them into one folder per class, or give "
            f"{table}"
        )
    containers = all(is_container(one) or is_mask_folder(one) or split_of(one) for one in names)
    containers = containers and not all(map(str.isdecimal, names))
    if containers or (len(folders) == 1 and len(subfolders(folder)) > 1):  # one folder, and masks beside it
        raise ValueError(
            f"{name} has the folder {shorten_list(names)} and no class folders; put the images into one folder per "
            f"class, or give {table}"
        )
    _check_nesting(folders)
    return folders


def _check_nesting(folders: list[Path]) -> None:
    names = {path.name for path in folders}
    inside = {path.name: {inner.name for inner in subfolders(path)} for path in folders}
    for name, inner in inside.items():
        if len(names) > 2 and inner >= names - {name}:
            raise ValueError(f"the folder {name!r} holds a copy of the class folders beside it; remove it")
    shared = set.intersection(*inside.values())
    if len(folders) > 1 and len(shared) > 1 and are_sources(sorted(names)):
        raise ValueError(
            f"each of the folders {shorten_list(sorted(names))} has the folders {shorten_list(sorted(shared))}; put "
            f"these on top (one folder per class), or give a table with a patient column"
        )


def _of_classes(root: Path, folders: list[Path], require_train: bool) -> list[ClassFolder]:
    """Return class folders without splits, or with split folders inside of each class."""
    inside = {path: _visible(path) for path in folders}
    split_inside = {path: all(split_of(inner.name) for inner in inner_folders) and bool(inner_folders)
                    for path, inner_folders in inside.items()}  # fmt: skip
    if not any(split_inside.values()):
        return [ClassFolder(path, "train", path.name) for path in folders]
    for path in folders:
        if not split_inside[path] or _has_images(path):
            known = next(one.name for one in folders if split_inside[one])
            raise ValueError(
                f"the class folder {known} has split folders and {path.name} has other files or folders; give each "
                "class the same split folders"
            )
    found = [ClassFolder(inner, split_of(inner.name) or "", path.name) for path in folders for inner in inside[path]]
    if require_train and not any(one.split == "train" for one in found):
        raise ValueError(
            f"the class folders have no folder train, only {shorten_list(sorted({one.split for one in found}))}; add it"
        )
    return sorted(found, key=lambda one: SPLITS.index(one.split))
