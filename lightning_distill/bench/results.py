"""CSV rows of timings with their provenance."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from lightning_distill._version import __version__
from lightning_distill.utils.csv_rows import read_csv, write_csv
from lightning_distill.utils.hardware import machine_description
from lightning_distill.utils.locks import locked

Row = dict[str, str]
#: Milliseconds per step with quartiles for both implementations, their ratio, and the warm-up in seconds.
TIME_COLUMNS = (
    "ours_ms", "ours_q1", "ours_q3", "textbook_ms", "textbook_q1", "textbook_q3", "ratio", "pairs", "warm_up_s",
)  # fmt: skip
PROVENANCE_COLUMNS = ("machine", "threads", "torch", "lightning_distill", "date", "command")


def provenance(command: str) -> Row:
    """Return the provenance columns of a row.

    Args:
        command: Command line that reproduces the row.
    """
    values = (
        machine_description(),
        torch.get_num_threads(),
        torch.__version__,
        __version__,
        datetime.date.today(),
        command,
    )
    return dict(zip(PROVENANCE_COLUMNS, map(str, values), strict=True))


class ResumableCsv:
    """CSV filled row by row; existing rows of this version can be skipped.

    Args:
        path: Path of the CSV.
        keys: Columns that identify a row.
        columns: Further columns, followed by `PROVENANCE_COLUMNS`.
        overwrite: Whether existing rows are measured again.
    """

    def __init__(self, path: Path, keys: Sequence[str], columns: Sequence[str], overwrite: bool = False) -> None:
        self.path, self.keys, self.columns = (
            path,
            tuple(keys),
            tuple(dict.fromkeys((*keys, *columns, *PROVENANCE_COLUMNS))),
        )
        self._overwrite = overwrite
        self._done: set[tuple[str, ...]] = set()
        self.refresh()

    def refresh(self) -> None:
        """Read the rows that other processes added; those of this version count as done unless all are overwritten."""
        self.rows = read_csv(self.path)
        if not self._overwrite:
            self._done |= {self._key(row) for row in self.rows if row["lightning_distill"] == __version__}

    def is_missing(self, *key: object) -> bool:
        """Return True if the row with this key has to be measured."""
        return tuple(map(str, key)) not in self._done

    def put(self, row: Mapping[str, object]) -> None:
        """Add a row, or replace the row with its key, and write the file."""
        text = {name: str(row.get(name, "")) for name in self.columns}
        with locked(self.path):
            self.rows = read_csv(self.path)  # another process may have added rows
            key, keys = self._key(text), [self._key(old) for old in self.rows]
            place = keys.index(key) if key in keys else len(keys)
            self.rows[place : place + 1] = [text]
            self._done.add(key)
            write_csv(self.path, self.columns, self.rows)

    def _key(self, row: Row) -> tuple[str, ...]:
        return tuple(row[name] for name in self.keys)
