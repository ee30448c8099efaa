"""List the files of a folder by class folders or by a table, in the order of the splits."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from lightning_distill.data.checks.groups import SPLITS
from lightning_distill.data.folder.class_folders import list_folders
from lightning_distill.data.folder.column_names import Columns
from lightning_distill.data.folder.files import relative_permission_errors
from lightning_distill.data.folder.index import Entry, shorten_list
from lightning_distill.data.folder.layout import find_tables
from lightning_distill.data.folder.table import list_table
from lightning_distill.data.readers import is_volume


@dataclass(frozen=True)
class Listing:
    """Arguments that determine the files of a folder.

    Args:
        root: Path of the folder.
        table: Path of the table; ``None`` uses class folders.
        pattern: Pattern of the file names in class folders.
        columns: Column names of the table.
        multi_label: Whether the labels of the table are multi-label; ``None`` detects it.
        masks: Whether to read the column of the masks.
        dicom_patients: Whether patients come from DICOM files, so that patient folders are ignored.
    """

    root: Path
    table: Path | None
    pattern: str | None
    columns: Columns
    multi_label: bool | None
    masks: bool
    dicom_patients: bool

    def entries(self, require_train: bool = True) -> list[Entry]:
        """Return the files by split and path.

        Args:
            require_train: Whether split folders without a folder train are refused.
        """
        with relative_permission_errors(self.root):
            if self.table is None:
                entries = list_folders(self.root, self.pattern, require_train)
                if self.dicom_patients:  # identifiers of DICOM files are preferred to folder names
                    entries = [replace(entry, patient=None) for entry in entries]
            else:
                table = self.table if self.table.is_file() or self.table.is_absolute() else self.root / self.table
                entries = list_table(self.root, table, self.columns, self.multi_label, self.masks)
        return sorted(entries, key=lambda entry: (SPLITS.index(entry.split), entry.path))

    def unread_tables(self) -> str:
        """Return the advice to read a table that lies below root; empty if a table is read or there is none."""
        tables = [] if self.table is not None else find_tables(self.root)
        if not tables:
            return ""
        verb = "is" if len(tables) == 1 else "are"
        return (
            f"{shorten_list(tables)} below root {verb} not read; if it has the labels or patients, set "
            f"table={tables[0]!r} (--data.table {tables[0]})"
        )


def describe_source(source: str, entries: list[Entry], slice_options: str) -> str:
    """Return the source with the selected slices appended if there are volumes."""
    return f"{source}, {slice_options}" if any(is_volume(entry.path) for entry in entries) else source
