"""CSV files of rows, read by column name and written atomically."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from lightning_distill._renamed import CELLS, COLUMNS
from lightning_distill.utils.locks import locked

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T")
#: Start of a cell that spreadsheets take for a formula, the same behind an apostrophe, and what is a number after all.
FORMULA, QUOTED = re.compile(r"[=+\-@\t\r]"), re.compile(r"^'(?=[=+\-@\t\r])")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(inf|nan)")
#: The first columns of a row identify the kind of its file.
NUM_KEY_COLUMNS = 3


def read_csv(path: Path, kind: type[DataclassInstance] | None = None) -> list[dict[str, str]]:
    """Read the rows of a CSV; a missing file has none. Columns and keys of version 0.1.0 get their present names.

    Columns are matched by name: missing and additional columns are allowed.

    Args:
        path: Path of the CSV.
        kind: Dataclass of the rows. Its first columns must be in the file.

    Raises:
        ValueError: The file has rows of another kind.
    """
    if not path.is_file():
        return []
    names, rows = parse_csv(path)
    if kind is not None:
        keys = [field.name for field in fields(kind)][:NUM_KEY_COLUMNS]
        if missing := [name for name in keys if name not in names]:
            raise ValueError(f"{path.name} holds other rows: it has no column {', '.join(missing)}; use a new file")
    return rows


def parse_csv(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Return the column names and the rows of a CSV. Columns and keys of version 0.1.0 get their present names.

    Args:
        path: Path of the CSV.

    Raises:
        FileNotFoundError: The file does not exist.
        csv.Error: The file is not a CSV.
        UnicodeDecodeError: The file is not text in UTF-8.
    """
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        rows = [_with_present_names(row) for row in reader]
        return list(dict.fromkeys(COLUMNS.get(name, name) for name in reader.fieldnames or [])), rows


def _with_present_names(row: Mapping[str, str | None]) -> dict[str, str]:
    """Rename the columns and keys of version 0.1.0. Where a row has an old and a new column, a value wins over none."""
    cells: dict[str, str] = {}
    for old, cell in row.items():
        if isinstance(old, str):  # `csv` collects surplus cells below None
            name = COLUMNS.get(old, old)
            text = QUOTED.sub("", cell or "")
            cells[name] = CELLS.get(name, {}).get(text, text) or cells.get(name, "")
    return cells


def parse_row(kind: type[T], cells: Mapping[str, str]) -> T:
    """Convert cells to a row. A missing or empty cell is NaN for numbers, zero for whole numbers, or empty text.

    Args:
        kind: Dataclass with ``str``, ``int`` and ``float`` fields.
        cells: Cells by column name, as returned by `read_csv`.

    Raises:
        ValueError: A cell does not have the type of its field.
    """
    casts: dict[str, Any] = {"str": str, "int": lambda cell: int(cell or 0), "float": lambda cell: float(cell or "nan")}
    return kind(**{name: casts[str(type_)](cells.get(name, "")) for name, type_ in kind.__annotations__.items()})


def append_csv(path: Path, new_rows: Iterable[DataclassInstance]) -> None:
    """Append rows to a CSV. The file is written to a temporary name and renamed; concurrent writers wait.

    NaN becomes an empty cell. New columns are added; columns that the new rows lack are kept.

    Args:
        path: Path of the CSV. Created with its folder if missing.
        new_rows: Dataclass rows of one kind. A row with a method ``to_dict`` chooses its own columns.

    Raises:
        ValueError: The file has rows of another kind.
    """
    if not (new := list(new_rows)):
        return
    with locked(path):
        old: list[Mapping[str, object]] = [*read_csv(path, type(new[0]))]
        rows = [*old, *(row_cells(row) for row in new)]
        columns = dict.fromkeys(name for row in (*rows[len(old) :], *old) for name in row)
        write_csv(path, list(columns), rows)


def quoted(value: object) -> object:
    """Put an apostrophe before a text that a spreadsheet would run as a formula; `parse_csv` removes it.

    >>> quoted("=HYPERLINK(1)"), quoted("-0.5"), quoted("herding")
    ("'=HYPERLINK(1)", '-0.5', 'herding')
    """
    return f"'{value}" if isinstance(value, str) and FORMULA.match(value) and not NUMBER.fullmatch(value) else value


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Write a CSV to a temporary name and rename it. Missing values are empty cells.

    Args:
        path: Path of the CSV. Its folder is created if missing.
        columns: Column names in order.
        rows: Values by column name.

    Raises:
        OSError: The folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows({name: quoted(value) for name, value in row.items()} for row in rows)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def row_cells(row: DataclassInstance) -> dict[str, object]:
    """Convert a row to cells by column name, NaN to an empty cell."""
    values: dict[str, object] = row.to_dict() if hasattr(row, "to_dict") else asdict(row)
    return {name: "" if value != value else value for name, value in values.items()}
