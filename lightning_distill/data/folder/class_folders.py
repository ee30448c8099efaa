"""List the files of class folders, with or without a folder for each split."""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from lightning.pytorch.utilities import rank_zero_warn

from lightning_distill.data.folder.files import check_root, hidden, list_files
from lightning_distill.data.folder.index import Entry
from lightning_distill.data.folder.layout import find_class_folders, find_tables
from lightning_distill.data.folder.masks import asks_for_masks, check_sequences, find_masks
from lightning_distill.data.folder.names import are_cases
from lightning_distill.data.readers import is_image


def list_folders(root: Path, pattern: str | None = None, require_train: bool = True) -> list[Entry]:
    """List the files of ``root/train/ill/x.png``, ``root/ill/train/x.png`` or, without splits, ``root/ill/x.png``.

    Class folders may have subfolders. Hidden files are ignored. Masks, files in other formats and links to folders
    below a class are counted in a warning. Patient folders below all classes number the patients.

    Args:
        root: Folder of the data set.
        pattern: Pattern of the file names, e.g. ``*_t1.nii.gz``; a pattern with a word for masks selects masks, too.
        require_train: Whether split folders without a folder train are refused.

    Raises:
        FileNotFoundError: The folder does not exist.
        PermissionError: A folder cannot be accessed.
        ValueError: There are no class folders, the folders are no classes, a class folder has no images, there are
            other folders beside the split folders, the train folder is missing, or a case has several volumes.
    """
    check_root(root)
    entries, others, loose = [], 0, set[Path]()
    for folder, split, label in find_class_folders(root, require_train):
        files = list(list_files(root, folder, set(), others=True))
        images = [path for path, supported in files if supported]
        others += len(files) - len(images)
        if pattern is not None:
            images = [path for path in images if fnmatch(PurePosixPath(path).name.lower(), pattern.lower())]
        if not images:
            raise ValueError(_no_images(root, folder, pattern))
        entries += [Entry(path, split, (label,)) for path in images]
        beside = (path for path in folder.parent.iterdir() if path.is_file() and not hidden(path.name))
        loose |= {path for path in beside if path not in loose and is_image(path)}
    entries = _without_masks(root, entries, pattern)
    check_sequences([entry.path for entry in entries])
    entries = _with_patients(entries)
    if loose:
        rank_zero_warn(f"{len(loose)} images beside the class folders have no label and are left out")
    if others:
        rank_zero_warn(
            f"{others} files below the class folders are in unsupported formats or links to folders and are left out"
        )
    return entries


def _without_masks(root: Path, entries: list[Entry], pattern: str | None) -> list[Entry]:
    """Leave out masks, with a warning that counts them."""
    if asks_for_masks(pattern):
        return entries
    masks = set[str]()
    for split, label in {(entry.split, entry.labels[0]) for entry in entries}:
        paths = [entry.path for entry in entries if (entry.split, entry.labels[0]) == (split, label)]
        depth = max((n + 1 for n, part in enumerate(PurePosixPath(paths[0]).parts[:-1]) if part == label), default=0)
        found = find_masks(paths, depth)
        if len(found) == len(paths):
            raise ValueError(
                f"the class {label!r} has masks only; add its images, or set pattern='*mask*' to read masks"
            )
        masks |= found
    if masks:
        rank_zero_warn(f"{len(masks)} masks are left out; pattern='*mask*' (or the word in their names) reads masks")
    return [entry for entry in entries if entry.path not in masks]


def _with_patients(entries: list[Entry]) -> list[Entry]:
    """Set the patients if all files lie in patient folders below their class, e.g. ``ill/patient_01/x.dcm``."""
    folders = [_patient_folder(entry) for entry in entries]
    numbers = {name: number for number, name in enumerate(sorted(set(folders)))}
    if "" in numbers or len(numbers) < 2:
        return entries
    return [replace(entry, patient=numbers[name]) for entry, name in zip(entries, folders, strict=True)]


def _patient_folder(entry: Entry) -> str:
    folders = (name for name in PurePosixPath(entry.path).parts[:-1] if name not in entry.labels)
    return next((name for name in folders if are_cases([name, name])), "")


def _no_images(root: Path, folder: Path, pattern: str | None) -> str:
    name = folder.relative_to(root).as_posix()
    if pattern is not None:
        return f"the class folder {name} has no images that match pattern={pattern!r}; correct pattern"
    if tables := find_tables(root):
        return (
            f"the class folder {name} has no images; remove the folder or add images, or, if {tables[0]} has the "
            f"labels, set table={tables[0]!r}"
        )
    return f"the class folder {name} has no images; remove the folder or add images"
