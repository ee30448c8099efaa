"""Which files there are, and what each is labelled: from class folders or from a table."""

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
_CALLED = {split: split for split in SPLITS} | {  # what others call the splits, in folders and tables
    "training": "train", "valid": "val", "validation": "val", "dev": "val", "testing": "test",
}  # fmt: skip
_NO_FINDING = ("", "no finding")


@dataclass(frozen=True)
class Entry:
    """One file.

    Args:
        path: below the root, as ``a/b.png``.
        split: ``train``, ``val`` or ``test``.
        labels: names of its classes; in multi-label data there may be none or several.
        patient: a number that files of one patient share; ``None`` where unknown.
        mask: of a volume, below the root; ``None`` where none is asked for.
    """

    path: str
    split: str
    labels: tuple[str, ...]
    patient: int | None = None
    mask: str | None = None


@dataclass(frozen=True)
class Columns:
    """What the columns of a table are called; patient and split may be absent, and ``None`` reads no mask."""

    path: str = "path"
    label: str = "label"
    patient: str = "patient"
    split: str = "split"
    mask: str | None = None


@contextmanager
def naming_below(root: Path) -> Iterator[None]:
    """Name what may not be looked at by its path below the root, and the root by its last part.

    Raises:
        PermissionError: of a file or folder.
    """
    try:
        yield
    except PermissionError as error:
        path = Path(error.filename or root)
        name = path.relative_to(root).as_posix() if path != root and path.is_relative_to(root) else path.name
        why = f"cannot look at {name}: {error.strerror}; ask for the rights, or leave it out"
        raise PermissionError(error.errno, why) from None


def list_folders(root: Path) -> list[Entry]:
    """Files of ``root/train/ill/x.png`` and so on, or of ``root/ill/x.png`` where there are no splits.

    Files may lie deeper. Hidden ones are passed over; those that are no images, and links to folders below a class, are
    counted in a warning.

    Raises:
        FileNotFoundError: there is no such folder.
        PermissionError: a folder may not be looked into.
        ValueError: no class folders, one without images, folders beside those of the splits, no train among them.
    """
    _check_root(root)
    folders, found = _folders(root), dict[str, Path]()
    for folder in folders:
        if split := _CALLED.get(folder.name.lower()):
            if split in found:
                raise ValueError(f"the folders {found[split].name} and {folder.name} are both {split}; keep one")
            found[split] = folder
    if not found:
        return _classes(root, root, "train")
    if "train" not in found:
        raise ValueError(
            f"there is a folder {shorten_list([f.name for f in found.values()])} but none called train; add it"
        )
    if others := [folder.name for folder in folders if folder not in found.values()]:
        raise ValueError(
            f"beside the folders of splits there is {shorten_list(others)}; move it away, or into the splits"
        )
    return [entry for split in SPLITS if split in found for entry in _classes(root, found[split], split)]


def list_table(root: Path, table: Path, columns: Columns, multi_label: bool | None = None) -> list[Entry]:
    """Files of a CSV table with a path below ``root`` and a label a row, and perhaps patient and split.

    ``;`` and tabs between columns are understood too. Several labels in one cell are separated by ``|``; where a cell
    has several, or ``multi_label`` says so, an empty cell and ``No Finding`` mean none.

    Raises:
        FileNotFoundError: there is no such table or root.
        ValueError: not UTF-8, missing columns, a path that is absolute, leads out of the root or comes twice, files
            that are not there, rows without a label or a patient, an unknown split.
    """
    _check_root(root)
    rows = list(_rows(table, columns))
    if not rows:
        raise ValueError(f"{table.name} has no rows below its header; add one a file")
    if multi_label is None:
        multi_label = any("|" in row[columns.label] for _, row in rows)
    patients: dict[str, int] = {}
    entries = []
    for line, row in rows:
        at = f"{table.name}, line {line}"
        patient = None
        if columns.patient in row:
            if not row[columns.patient]:
                raise ValueError(f"{at} has no {columns.patient}; fill the column, or leave it out altogether")
            patient = patients.setdefault(row[columns.patient], len(patients))
        path, labels = _path(row[columns.path], at), _labels(row[columns.label], multi_label)
        if not labels and not multi_label:
            raise ValueError(f"{at} has no {columns.label}; fill it in, drop the row, or set multi_label=True")
        mask = None if columns.mask is None else _path(row[columns.mask], at, columns.mask)
        entries.append(Entry(path, _split(row.get(columns.split), at), labels, patient, mask))
    twice = [path for path, count in Counter(entry.path for entry in entries).items() if count > 1]
    if twice:
        raise ValueError(
            f"{table.name} names {shorten_list(twice)} more than once; keep one row a file, a|b for two labels"
        )
    listed = {path for entry in entries for path in (entry.path, entry.mask) if path is not None}
    if absent := [path for path in sorted(listed) if not _is_file(root / path)]:
        raise ValueError(
            f"{table.name} names {shorten_list(absent)}, which the root does not hold; correct root or the paths"
        )
    unlisted = sum(path not in listed for path, _ in _images(root, root, {table.resolve()}))
    if unlisted:
        rank_zero_warn(f"{unlisted} images below the root have no row in {table.name}; they are left out")
    return entries


def _rows(table: Path, columns: Columns) -> Iterator[tuple[int, dict[str, str]]]:
    """Line numbers and stripped cells of the columns that concern us."""
    if not table.is_file():
        raise FileNotFoundError(f"there is no table {table.name}; give its path, or leave table out for class folders")
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            header = file.readline()
            delimiter = max(",;\t", key=header.count)
            file.seek(0)
            reader = csv.DictReader(file, delimiter=delimiter, skipinitialspace=True, strict=True)
            names = [name.strip() for name in reader.fieldnames or []]
            reader.fieldnames = names
            wanted = _wanted(names, columns, table.name)
            for row in reader:
                if any(row.get(name) is None for name in wanted):
                    raise ValueError(f"{table.name}, line {reader.line_num} has too few columns; mend the row")
                if any(cell.strip() for cell in row.get(None, [])):
                    raise ValueError(
                        f"{table.name}, line {reader.line_num} has more cells than there are columns; put quotes "
                        f"around a cell with {delimiter!r} in it"
                    )
                yield reader.line_num, {name: row[name].strip() for name in wanted}
    except UnicodeDecodeError:
        raise ValueError(f"{table.name} is not UTF-8; save it as CSV UTF-8 (in Excel: file type 'CSV UTF-8')") from None
    except csv.Error as error:
        raise ValueError(f"{table.name} is no CSV table ({error}); write it again as CSV UTF-8") from None


def _wanted(names: list[str], columns: Columns, table: str) -> list[str]:
    """The columns that concern us.

    Raises:
        ValueError: one that is needed is missing, or one is there twice. A first line without any of them may be a row,
            and is not quoted.
    """
    needed = [columns.path, columns.label, *([] if columns.mask is None else [columns.mask])]
    if missing := [name for name in needed if name not in names]:
        there = f", only {', '.join(names)}" if len(missing) < len(needed) else " in its first line"
        raise ValueError(
            f"{table} has no column {shorten_list(missing)}{there}; name yours by path_column, label_column or mask_column"
        )
    wanted = [name for name in (*needed, columns.patient, columns.split) if name in names]
    if twice := [name for name in wanted if names.count(name) > 1]:
        raise ValueError(f"{table} has more than one column {shorten_list(twice)}; rename the others")
    return wanted


def _path(cell: str, at: str, what: str = "path") -> str:
    path = PurePosixPath(cell)
    if not cell or "\0" in cell:
        raise ValueError(f"{at} has no {what}; fill it in or drop the row")
    if path.is_absolute() or PureWindowsPath(cell).anchor or ".." in path.parts or ".." in PureWindowsPath(cell).parts:
        raise ValueError(f"{at} has a {what} that is absolute or leads out of the root; give paths below the root")
    return path.as_posix()


def _split(cell: str | None, at: str) -> str:
    if cell is None:
        return "train"
    if cell.lower() not in _CALLED:
        raise ValueError(f"{at} has the split {cell!r}; use {', '.join(SPLITS)}")
    return _CALLED[cell.lower()]


def _labels(cell: str, multi_label: bool) -> tuple[str, ...]:
    if not multi_label:
        return (cell,) if cell else ()
    parts = [part.strip() for part in cell.split("|")]
    return tuple(dict.fromkeys(part for part in parts if part.lower() not in _NO_FINDING))


def _check_root(root: Path) -> None:
    if not root.is_dir():
        raise FileNotFoundError(f"there is no folder {root.name or root}; give root as the folder of the images")


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not _hidden(path.name))


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _classes(root: Path, folder: Path, split: str) -> list[Entry]:
    folders = _folders(folder)
    if not folders:
        where = "the root" if folder == root else folder.name
        raise ValueError(f"{where} has no class folders; put the images into one folder a class, or give a table")
    entries, others = [], 0
    for of_class in folders:
        found = list(_images(root, of_class, set(), everything=True))
        images = [path for path, is_one in found if is_one]
        others += len(found) - len(images)
        if not images:
            raise ValueError(
                f"the class folder {of_class.relative_to(root).as_posix()} has no images; remove or fill it"
            )
        entries += [Entry(path, split, (of_class.name,)) for path in images]
    if loose := sum(path.is_file() and not _hidden(path.name) and is_image(path) for path in folder.iterdir()):
        rank_zero_warn(f"{loose} images lie beside the class folders and have no label; they are left out")
    if others:
        rank_zero_warn(
            f"{others} files below the class folders are no images that can be read, or links to folders, which are "
            "not followed; they are left out"
        )
    return entries


def _images(root: Path, folder: Path, but: set[Path], everything: bool = False) -> Iterator[tuple[str, bool]]:
    """Paths below the root of the images in a folder, however deep; with ``everything``, of other files too.

    A link to a folder is not followed, and a file that is no image. One that leads nowhere is what its ending says.
    """
    for path in sorted(_walk(folder)):
        below = path.relative_to(root)
        if any(map(_hidden, below.parts)) or not (path.is_symlink() or (path.is_file() and path.resolve() not in but)):
            continue
        is_one = is_image(path) and not path.is_dir()
        if is_one or everything:
            yield below.as_posix(), is_one


def _walk(folder: Path) -> Iterator[Path]:
    """Files and links below a folder; one that may not be looked into is no empty one."""

    def closed(error: OSError) -> None:
        raise error

    for where, folders, files in os.walk(folder, onerror=closed):
        yield from (Path(where, name) for name in files)
        yield from (path for name in folders if (path := Path(where, name)).is_symlink())


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except PermissionError:
        raise
    except OSError:  # no file can have such a name
        return False


def shorten_list(names: Sequence[str]) -> str:
    """The first three of some names, and how many more there are."""
    return ", ".join(map(repr, names[:3])) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
