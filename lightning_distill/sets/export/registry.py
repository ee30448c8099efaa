"""Formats that sets are exported to, and the search for the format of a file or folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lightning_distill.sets.arrays import Arrays, Card, unreadable
from lightning_distill.sets.export.hugging_face import HUGGING_FACE
from lightning_distill.sets.export.image_folder import IMAGE_FOLDER
from lightning_distill.sets.export.npz import FILE as NPZ_FILE
from lightning_distill.sets.export.npz import NPZ
from lightning_distill.sets.export.record import RECORD, ExportFormat, ExportRecord

FORMATS = {target.name: target for target in (IMAGE_FOLDER, NPZ, HUGGING_FACE)}
#: File of a set. It is read where a folder holds an export, too.
SET = "set.safetensors"


@dataclass(frozen=True)
class FoundExport:
    """An export on disk.

    Args:
        path: File or folder that its format reads.
    """

    path: Path

    @property
    def name(self) -> str:
        """Name in error messages."""
        return self.path.name or str(self.path)

    def read(self) -> tuple[Arrays, Card]:
        """Read arrays and card.

        Raises:
            ValueError: A file is missing, damaged, or of an unknown format.
        """
        try:
            return self._format().read(self.path)
        except (ValueError, TypeError, IndexError, KeyError, AttributeError, OverflowError) as error:
            raise unreadable(self.name, error) from error

    def _format(self) -> ExportFormat:
        if self.path.is_file():
            return NPZ
        record = ExportRecord.from_json((self.path / RECORD).read_text(encoding="utf-8", errors="replace"))
        if record.to not in FORMATS:
            raise ValueError(f"unknown format {record.to!r}; this release reads {', '.join(FORMATS)}")
        return FORMATS[record.to]


def find_export(path: Path) -> FoundExport | None:
    """Return the export at a path: an npz file, or a folder with ``set.npz`` or a record; None for anything else."""
    if path.is_file():
        return FoundExport(path) if path.suffix.lower() == ".npz" else None
    if (path / SET).is_file():
        return None
    if (path / NPZ_FILE).is_file():
        return FoundExport(path / NPZ_FILE)
    return FoundExport(path) if (path / RECORD).is_file() else None
