"""List the files of a folder with split, labels, patient and mask, from class folders or a CSV table."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from lightning.pytorch.utilities import rank_zero_warn

from lightning_distill.data.readers import is_image

SPLITS = ("train", "val", "test")
_SPLIT_NAMES = {split: split for split in SPLITS} | {  # accepted names of the splits in folders and tables
    "training": "train", "valid": "val", "validation": "val", "dev": "val", "testing": "test",
}  # fmt: skip
_NO_FINDING = ("", "no finding")


@dataclass(frozen=True)
class Entry:
    """File of a data set.

    Args:
        path: Path below the root, e.g. ``a/b.png``.
        split: Split of the file: ``train``, ``val`` or ``test``.
        labels: Class names of the file; multi-label data may have none or several.
        patient: Number that all files of one patient share; ``None`` if unknown.
        mask: Path of the mask of a volume below the root; ``None`` if masks are not read.
    """

    path: str
    split: str
    labels: tuple[str, ...]
    patient: int | None = None
    mask: str | None = None


@dataclass(frozen=True)
class Columns:
    """Column names of a table.

    Args:
        path: Column of the paths below root.
        label: Column of the labels; ``a|b`` for several labels.
        patient: Column of the patients; the column is optional.
        split: Column of the splits (train, val or test); the column is optional.
        mask: Column of the paths of mask volumes below root, read with ``frames="mask"`` only.

    Example:
        >>> Columns(path="Image Index", label="Finding Labels").patient
        'patient'
    """

    path: str = "path"
    label: str = "label"
    patient: str = "patient"
    split: str = "split"
    mask: str = "mask"


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


def list_folders(root: Path) -> list[Entry]:
    """List the files of ``root/train/ill/x.png`` etc., or of ``root/ill/x.png`` without splits.

    Class folders may have subfolders. Hidden files are ignored. Files in other formats and links to folders below a
    class are counted in a warning.

    Raises:
        FileNotFoundError: The folder does not exist.
        PermissionError: A folder cannot be accessed.
        ValueError: There are no class folders, a class folder has no images, there are other folders beside the split
            folders, or the train folder is missing.
    """
    _check_root(root)
    folders, by_split = _folders(root), dict[str, Path]()
    for folder in folders:
        if split := _SPLIT_NAMES.get(folder.name.lower()):
            if split in by_split:
                raise ValueError(f"the folders {by_split[split].name} and {folder.name} are both {split}; keep one")
            by_split[split] = folder
    if not by_split:
        return _classes(root, root, "train")
    if "train" not in by_split:
        raise ValueError(
            f"there is a folder {shorten_list([f.name for f in by_split.values()])} but no folder train; add it"
        )
    if others := [folder.name for folder in folders if folder not in by_split.values()]:
        raise ValueError(
            f"there is a folder {shorten_list(others)} beside the split folders; move it out of root or into the splits"
        )
    return [entry for split in SPLITS if split in by_split for entry in _classes(root, by_split[split], split)]


def list_table(
    root: Path, table: Path, columns: Columns, multi_label: bool | None = None, masks: bool = False
) -> list[Entry]:
    """List the files of a CSV table with a path and a label in each row, and optionally patient, split and mask.

    Columns are separated by commas, semicolons or tabs. Labels in one cell are separated by ``|``; in multi-label data
    an empty cell and ``No Finding`` mean no label.

    Args:
        root: Folder that the paths are relative to.
        table: Path of the table.
        columns: Column names of the table.
        multi_label: Whether the labels are multi-label; ``None`` detects cells with ``|``.
        masks: Whether to read the column of the masks.

    Raises:
        FileNotFoundError: The table or the root does not exist.
        ValueError: The table is not UTF-8 or lacks a column, a path is absolute, outside of the root, missing or
            duplicated, a row has no label or patient, or a split is unknown.
    """
    _check_root(root)
    rows = list(_rows(table, columns, masks))
    if not rows:
        raise ValueError(f"{table.name} has no rows below its header; add one row per file")
    if multi_label is None:
        multi_label = any("|" in row[columns.label] for _, row in rows)
    patients: dict[str, int] = {}
    entries = []
    for line, row in rows:
        at = f"{table.name}, line {line}"
        patient = None
        if columns.patient in row:
            if not row[columns.patient]:
                raise ValueError(f"{at} has no {columns.patient}; fill in all rows, or remove the column")
            patient = patients.setdefault(row[columns.patient], len(patients))
        path, labels = _path(row[columns.path], at), _labels(row[columns.label], multi_label)
        if not labels and not multi_label:
            raise ValueError(f"{at} has no {columns.label}; fill it in, remove the row, or set multi_label=True")
        mask = _path(row[columns.mask], at, columns.mask) if masks else None
        entries.append(Entry(path, _split(row.get(columns.split), at), labels, patient, mask))
    duplicates = [path for path, count in Counter(entry.path for entry in entries).items() if count > 1]
    if duplicates:
        raise ValueError(
            f"{table.name} lists {shorten_list(duplicates)} more than once; keep one row per file, a|b for two labels"
        )
    listed = {path for entry in entries for path in (entry.path, entry.mask) if path is not None}
    if missing := [path for path in sorted(listed) if not _is_file(root / path)]:
        raise ValueError(f"{table.name} lists {shorten_list(missing)}, not found below root; correct root or the paths")
    unlisted = sum(path not in listed for path, _ in _files(root, root, {table.resolve()}))
    if unlisted:
        rank_zero_warn(f"{unlisted} images below root have no row in {table.name} and are left out")
    return entries


def _rows(table: Path, columns: Columns, masks: bool) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield line numbers and stripped cells of the used columns."""
    if not table.is_file():
        raise FileNotFoundError(f"there is no table {table.name}; correct table, or remove it to use class folders")
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            header = file.readline()
            delimiter = max(",;\t", key=header.count)
            file.seek(0)
            reader = csv.DictReader(file, delimiter=delimiter, skipinitialspace=True, strict=True)
            names = [name.strip() for name in reader.fieldnames or []]
            reader.fieldnames = names
            used = _used_columns(names, columns, masks, table.name)
            for row in reader:
                if any(row.get(name) is None for name in used):
                    raise ValueError(f"{table.name}, line {reader.line_num} has too few cells; correct the row")
                if any(cell.strip() for cell in row.get(None, [])):
                    raise ValueError(
                        f"{table.name}, line {reader.line_num} has more cells than columns; quote cells that "
                        f"contain {delimiter!r}"
                    )
                yield reader.line_num, {name: row[name].strip() for name in used}
    except UnicodeDecodeError:
        raise ValueError(f"{table.name} is not UTF-8; save it as CSV UTF-8 (in Excel: file type 'CSV UTF-8')") from None
    except csv.Error as error:
        raise ValueError(f"{table.name} is not a CSV table ({error}); save it as CSV UTF-8") from None


def _used_columns(names: list[str], columns: Columns, masks: bool, table: str) -> list[str]:
    """Return the names of the used columns.

    Raises:
        ValueError: A required column is missing or duplicated. A first line without any of them may be a data row, so
            the message does not quote it.
    """
    required = [columns.path, columns.label, *([columns.mask] if masks else [])]
    if missing := [name for name in required if name not in names]:
        present = f", only {', '.join(names)}" if len(missing) < len(required) else " in its first line"
        raise ValueError(
            f"{table} has no column {shorten_list(missing)}{present}; give its name as columns.path, columns.label "
            "or columns.mask"
        )
    used = [name for name in (*required, columns.patient, columns.split) if name in names]
    if duplicates := [name for name in used if names.count(name) > 1]:
        raise ValueError(f"{table} has more than one column {shorten_list(duplicates)}; rename the others")
    return used


def _path(cell: str, at: str, column: str = "path") -> str:
    path = PurePosixPath(cell)
    if not cell or "\0" in cell:
        raise ValueError(f"{at} has no {column}; fill it in or remove the row")
    if path.is_absolute() or PureWindowsPath(cell).anchor or ".." in path.parts or ".." in PureWindowsPath(cell).parts:
        raise ValueError(f"{at} has a {column} that is absolute or outside of root; give paths below root")
    return path.as_posix()


def _split(cell: str | None, at: str) -> str:
    if cell is None:
        return "train"
    if cell.lower() not in _SPLIT_NAMES:
        raise ValueError(f"{at} has the split {cell!r}; use {', '.join(SPLITS)}")
    return _SPLIT_NAMES[cell.lower()]


def _labels(cell: str, multi_label: bool) -> tuple[str, ...]:
    if not multi_label:
        return (cell,) if cell else ()
    parts = [part.strip() for part in cell.split("|")]
    return tuple(dict.fromkeys(part for part in parts if part.lower() not in _NO_FINDING))


def _check_root(root: Path) -> None:
    if not root.is_dir():
        raise FileNotFoundError(f"there is no folder {root.name or root}; set root to the folder of the images")


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not _hidden(path.name))


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _classes(root: Path, folder: Path, split: str) -> list[Entry]:
    folders = _folders(folder)
    if not folders:
        name = "root" if folder == root else folder.name
        raise ValueError(f"{name} has no class folders; put the images into one folder per class, or give table")
    entries, others = [], 0
    for class_folder in folders:
        files = list(_files(root, class_folder, set(), others=True))
        images = [path for path, supported in files if supported]
        others += len(files) - len(images)
        if not images:
            raise ValueError(
                f"the class folder {class_folder.relative_to(root).as_posix()} has no images; remove the folder or "
                "add images"
            )
        entries += [Entry(path, split, (class_folder.name,)) for path in images]
    if loose := sum(path.is_file() and not _hidden(path.name) and is_image(path) for path in folder.iterdir()):
        rank_zero_warn(f"{loose} images beside the class folders have no label and are left out")
    if others:
        rank_zero_warn(
            f"{others} files below the class folders are in unsupported formats or links to folders and are left out"
        )
    return entries


def _files(root: Path, folder: Path, skip: set[Path], others: bool = False) -> Iterator[tuple[str, bool]]:
    """Yield the paths below the root of the files in a folder and its subfolders, and whether they are images.

    Files in unsupported formats are yielded with ``others`` only. A link to a folder is not followed and counts as
    unsupported. The suffix of a broken link decides.
    """
    for path in sorted(_walk(folder)):
        below = path.relative_to(root)
        if any(map(_hidden, below.parts)) or not (path.is_symlink() or (path.is_file() and path.resolve() not in skip)):
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


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except PermissionError:
        raise
    except OSError:  # an invalid file name
        return False


def shorten_list(names: Sequence[str]) -> str:
    """Return the first three names, quoted, and the number of the others."""
    return ", ".join(map(repr, names[:3])) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
