"""List the files of a CSV table with labels, patients, splits and masks."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from lightning.pytorch.utilities import rank_zero_warn

from lightning_distill.data.checks.groups import SPLITS
from lightning_distill.data.folder.column_names import Columns, recognise_columns
from lightning_distill.data.folder.files import check_root, is_file, list_files
from lightning_distill.data.folder.index import SPLIT_NAMES, Entry, shorten_list
from lightning_distill.data.folder.names import words
from lightning_distill.data.folder.public_tables import describe_public_table
from lightning_distill.data.folder.resolve import find_named_files

#: Cells of multi-label data that mean no label, in lower case.
NO_FINDING = ("", "no finding")


def list_table(
    root: Path, table: Path, columns: Columns, multi_label: bool | None = None, masks: bool = False
) -> list[Entry]:
    """List the files of a CSV table with a path and a label in each row, and optionally patient, split and mask.

    `find_named_files` describes the search for the files. Columns are separated by commas, semicolons or tabs. Labels
    in one cell are separated by ``|``; in multi-label data an empty cell and ``No Finding`` mean no label.

    Args:
        root: Folder that the paths are relative to.
        table: Path of the table.
        columns: Column names of the table.
        multi_label: Whether the labels are multi-label; ``None`` detects cells with ``|``.
        masks: Whether to read the column of the masks.

    Raises:
        FileNotFoundError: The table or the root does not exist.
        ValueError: The table is not UTF-8 or lacks a column, a path is absolute, outside of root, missing, ambiguous
            or duplicated, a row has no label or patient, or a split is unknown.
    """
    check_root(root)
    columns, read = _read(table, columns, masks)
    rows = [(line, _one_label(row, columns, f"{table.name}, line {line}")) for line, row in read]
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
        path, labels = _path(row[columns.path], at, columns.path), _labels(row[columns.label], multi_label)
        if not labels and not multi_label:
            raise ValueError(f"{at} has no {columns.label}; fill it in, remove the row, or set multi_label=True")
        mask = _path(row[columns.mask], at, columns.mask) if masks else None
        entries.append(Entry(path, _split(row.get(columns.split), at), labels, patient, mask))
    paths = find_named_files(root, [entry.path for entry in entries], table)
    entries = [replace(entry, path=path) for entry, path in zip(entries, paths, strict=True)]
    duplicates = [path for path, count in Counter(entry.path for entry in entries).items() if count > 1]
    if duplicates:
        raise ValueError(
            f"{table.name} lists {shorten_list(duplicates)} more than once; keep one row per file, a|b for two labels"
        )
    listed = {path for entry in entries for path in (entry.path, entry.mask) if path is not None}
    if missing := sorted(entry.mask for entry in entries if entry.mask and not is_file(root / entry.mask)):
        raise ValueError(f"{table.name} lists {shorten_list(missing)}, not found below root; correct root or the paths")
    if unlisted := sum(path not in listed for path, _ in list_files(root, root, {table.resolve()})):
        rank_zero_warn(f"{unlisted} images below root have no row in {table.name} and are left out")
    _warn_of_split_lists(root, table, any(columns.split in row for _, row in rows))
    return entries


def _warn_of_split_lists(root: Path, table: Path, has_splits: bool) -> None:
    """Warn of the text files in which public data sets list their splits, if the table has no splits."""
    texts = [path.name for folder in (root, table.parent) for path in sorted(folder.glob("*.txt"))]
    lists = [name for name in dict.fromkeys(texts) if set(words(PurePosixPath(name).stem)) & SPLIT_NAMES.keys()]
    if lists and not has_splits:
        rank_zero_warn(
            f"{table.name} has no column of splits, and {shorten_list(lists)} may list them; add a column split to use "
            "them, otherwise all rows are train"
        )


def _label_columns(columns: Columns, names: Iterable[str]) -> list[str]:
    """Return the columns of the labels: one, or several 0/1 columns."""
    return [columns.label] if columns.label in names else [name.strip() for name in columns.label.split("|")]


def _one_label(row: dict[str, str], columns: Columns, at: str) -> dict[str, str]:
    """Join 0/1 columns to one cell ``a|b``.

    Raises:
        ValueError: A cell is not 0 or 1, or is -1 and ``uncertain`` is not set.
    """
    if columns.label in row:
        return row
    labels = []
    for name in _label_columns(columns, row):
        cell = row[name].removesuffix(".0").removesuffix(".") or "0"
        if cell == "-1":
            if columns.uncertain is None:
                raise ValueError(f"{at} has -1 in {name!r}, an uncertain label; set columns.uncertain to 0 or 1")
            cell = str(columns.uncertain)
        if cell not in ("0", "1"):
            raise ValueError(f"{at} has a cell in {name!r} that is not 0 or 1; correct columns.label or the cell")
        labels += [name] * (cell == "1")
    return row | {columns.label: "|".join(labels)}


def _read(table: Path, columns: Columns, masks: bool) -> tuple[Columns, list[tuple[int, dict[str, str]]]]:
    """Return the names of the columns, and line numbers and stripped cells of the used ones."""
    if not table.is_file():
        raise FileNotFoundError(f"there is no table {table.name}; correct table, or remove it to use class folders")
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            header = file.readline()
            delimiter = max(",;\t", key=header.count)
            file.seek(0)
            reader = csv.DictReader(file, delimiter=delimiter, skipinitialspace=True, strict=True)
            reader.fieldnames = names = [name.strip() for name in reader.fieldnames or []]
            columns = recognise_columns(names, columns, table.name)
            used = _used_columns(names, columns, masks, table.name)
            return columns, list(_rows(reader, used, delimiter, table.name))
    except UnicodeDecodeError:
        raise ValueError(f"{table.name} is not UTF-8; save it as CSV UTF-8 (in Excel: file type 'CSV UTF-8')") from None
    except csv.Error as error:
        raise ValueError(f"{table.name} is not a CSV table ({error}); save it as CSV UTF-8") from None


def _rows(
    reader: csv.DictReader[str], used: Collection[str], delimiter: str, table: str
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield line numbers and stripped cells of the used columns."""
    for row in reader:
        if any(row.get(name) is None for name in used):
            raise ValueError(f"{table}, line {reader.line_num} has too few cells; correct the row")
        more: Any = row.get(None, [])
        if any(cell.strip() for cell in more):
            raise ValueError(
                f"{table}, line {reader.line_num} has more cells than columns; quote cells that contain {delimiter!r}"
            )
        yield reader.line_num, {name: row[name].strip() for name in used}


def _used_columns(names: list[str], columns: Columns, masks: bool, table: str) -> list[str]:
    """Return the names of the used columns.

    Raises:
        ValueError: A required column is missing or duplicated. A first line without any of them may be a data row, so
            the message does not quote it.
    """
    required = [columns.path, *_label_columns(columns, names), *([columns.mask] if masks else [])]
    if missing := [name for name in required if name not in names]:
        present = f", only {', '.join(names)}" if len(missing) < len(required) else " in its first line"
        known = describe_public_table(names)
        advice = known or "give its name as columns.path, columns.label or columns.mask"
        raise ValueError(f"{table} has no column {shorten_list(missing)}{present}; {advice}")
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
    if cell.lower() not in SPLIT_NAMES:
        raise ValueError(f"{at} has the split {cell!r}; use {', '.join(SPLITS)}")
    return SPLIT_NAMES[cell.lower()]


def _labels(cell: str, multi_label: bool) -> tuple[str, ...]:
    if not multi_label:
        return (cell,) if cell else ()
    parts = [part.strip() for part in cell.split("|")]
    return tuple(dict.fromkeys(part for part in parts if part.lower() not in NO_FINDING))
