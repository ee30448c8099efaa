"""Timings as CSV rows, each with what it was made by."""

from __future__ import annotations

import csv
import datetime
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch

from lightning_distill._version import __version__
from lightning_distill.utils.hardware import machine_description

Row = dict[str, str]
#: Of two sides in turn: milliseconds of a step with quartiles, ratio, and the seconds until ours was warm.
TIMES = (
    "ours_ms", "ours_q1", "ours_q3", "textbook_ms", "textbook_q1", "textbook_q3", "ratio", "pairs", "warm_up_s",
)  # fmt: skip
ABOUT = ("machine", "threads", "torch", "lightning_distill", "date", "command")


def about(command: str) -> Row:
    """What every row says of its making; ``command`` is what a reader types to get it again."""
    values = (
        machine_description(),
        torch.get_num_threads(),
        torch.__version__,
        __version__,
        datetime.date.today(),
        command,
    )
    return dict(zip(ABOUT, map(str, values), strict=True))


def read_rows(path: Path) -> list[Row]:
    """The rows of a CSV; none where there is no file."""
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Write a CSV beside the old one and rename it: a crash loses nothing. Absent values stay empty.

    Raises:
        OSError: the folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    os.replace(temporary, path)


class ResumableCsv:
    """A CSV filled row by row; a row that is there already, made by this version, need not be made again.

    Args:
        path: of the CSV.
        keys: columns that name a row.
        columns: the others, before what `about` says.
        again: whether every row is made anew.
    """

    def __init__(self, path: Path, keys: Sequence[str], columns: Sequence[str], again: bool = False) -> None:
        self.path, self.keys, self.columns = path, tuple(keys), tuple(dict.fromkeys((*keys, *columns, *ABOUT)))
        self.rows = read_rows(path)
        kept = [] if again else [row for row in self.rows if row["lightning_distill"] == __version__]
        self._done = {self._key(row) for row in kept}

    def lacks(self, *key: object) -> bool:
        """Whether the row of this key is to be made."""
        return tuple(map(str, key)) not in self._done

    def put(self, row: Mapping[str, object]) -> None:
        """Add a row, or put it in the place of the one with its key, and write the file."""
        text = {name: str(row.get(name, "")) for name in self.columns}
        key, keys = self._key(text), [self._key(old) for old in self.rows]
        place = keys.index(key) if key in keys else len(keys)
        self.rows[place : place + 1] = [text]
        self._done.add(key)
        write_rows(self.path, self.columns, self.rows)

    def _key(self, row: Row) -> tuple[str, ...]:
        return tuple(row[name] for name in self.keys)
