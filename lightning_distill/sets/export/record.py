"""Record of an export: what the files hold beside images, labels and card; and the interface of a format."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lightning_distill.sets.arrays import Arrays, Card
from lightning_distill.spec import DataSpec

#: File of the record in the folder of an export, and of the card.
RECORD, CARD = "export.json", "card.json"
VERSION = 1
#: Classes are listed in a text up to this number.
LISTED = 20


@dataclass(frozen=True)
class ExportRecord:
    """Entries that a reader needs beside images, labels and card.

    Args:
        to: Name of the format.
        pixels: Sentence on the rounding of the pixels.
        formation: Number of sub-images along each side of an exported image; 1 where they were decoded.
        lr: Learned learning rate, or None.
        version: Version of the format.
    """

    to: str
    pixels: str
    formation: int = 1
    lr: float | None = None
    version: int = VERSION

    def to_json(self) -> str:
        """Return the record as JSON."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> ExportRecord:
        """Read a record.

        Args:
            text: JSON of the record.

        Raises:
            ValueError: The text is no record, or one of a later version.
        """
        try:
            record = cls(**json.loads(text))
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"{RECORD} is no record of an export") from error
        if record.version != VERSION:
            raise ValueError(f"the export has version {record.version!r}; this release reads {VERSION}")
        valid = type(record.formation) is int and (record.lr is None or type(record.lr) in (int, float))
        if not valid or not isinstance(record.to, str):
            raise ValueError(f"{RECORD} has entries of another type")
        return record

    def arrays(self) -> Arrays:
        """Return the arrays of a set file that the record holds."""
        arrays: Arrays = {}
        if self.formation != 1:
            arrays["formation"] = np.array(self.formation, np.int64)
        if self.lr is not None:
            arrays["lr"] = np.array(self.lr, np.float32)
        return arrays


@dataclass(frozen=True)
class PreparedSet:
    """A set in the form that is exported.

    Args:
        codes: Pixels ``(N, C, H, W)`` as they are written.
        arrays: Arrays of the set as they are read back.
        card: Card with the digest of these arrays.
        record: Record of the export.
        spec: Specification of the card.
    """

    codes: NDArray[np.generic]
    arrays: Arrays
    card: Card
    record: ExportRecord
    spec: DataSpec

    @property
    def card_json(self) -> bytes:
        """Card as JSON."""
        return json.dumps(self.card, indent=2, ensure_ascii=False).encode()


@dataclass(frozen=True)
class ExportFormat:
    """A file format that sets are exported to and read from.

    Args:
        name: Name of the format, the value of ``to``.
        pixels: Dtype of written pixels: ``uint8``, or ``stored`` for that of the set.
        channels: Allowed numbers of channels; empty for any number.
        write: Function that returns the content of each file by its relative path.
        read: Function that reads arrays and card from a file or folder.
    """

    name: str
    pixels: str
    channels: tuple[int, ...]
    write: Callable[[PreparedSet], Mapping[str, bytes]]
    read: Callable[[Path], tuple[Arrays, Card]]
