"""Rows of one kind, dataclasses, in a CSV that grows."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T")


def read_csv(path: Path, kind: type[DataclassInstance]) -> list[dict[str, str]]:
    """The rows that are there; none where there is no file.

    Args:
        path: of the CSV.
        kind: the dataclass its rows were made from.

    Raises:
        ValueError: the file has other columns.
    """
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        rows = list(reader)
    if reader.fieldnames != [field.name for field in fields(kind)]:
        raise ValueError(f"{path.name} has other columns ({', '.join(reader.fieldnames or [])}); use a new file")
    return rows


def parse_row(kind: type[T], cells: Mapping[str, str]) -> T:
    """The row that these cells were written from; an empty cell of a number is NaN.

    Args:
        kind: a dataclass of ``str``, ``int`` and ``float`` fields.
        cells: a row as `read_csv` gives it.

    Raises:
        ValueError: a cell that is not of its field's type.
    """
    casts: dict[str, Any] = {"str": str, "int": int, "float": lambda cell: float(cell or "nan")}
    return kind(**{name: casts[str(type_)](cells[name]) for name, type_ in kind.__annotations__.items()})


def append_csv(path: Path, rows: Iterable[DataclassInstance]) -> None:
    """Add rows to a CSV, which is written anew beside the old one and renamed: a crash loses nothing.

    What was not measured (NaN) is an empty cell.

    Raises:
        ValueError: the file has other columns.
    """
    if not (new := list(rows)):
        return
    old = read_csv(path, type(new[0]))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(new[0])], lineterminator="\n")
        writer.writeheader()
        writer.writerows([*old, *(_cells(row) for row in new)])
    os.replace(temporary, path)


def _cells(row: DataclassInstance) -> dict[str, object]:
    return {name: "" if value != value else value for name, value in asdict(row).items()}
