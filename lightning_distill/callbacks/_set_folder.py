"""Folders ``best`` and ``last`` of a run: owned by one run, written atomically, and written again after a kill."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from lightning_distill.sets.labeled_set import LabeledSet
from lightning_distill.sets.picture_file import write_picture
from lightning_distill.sets.storage import SET, Card, check_writable, mend_set, read_set, save_set
from lightning_distill.utils.atomic_files import write_files_atomically
from lightning_distill.utils.locks import claim_folder, release_folder

BEST, LAST = "best", "last"


class SetFolder:
    """Folder with the best and the last set of a run.

    Args:
        path: Folder.

    Attributes:
        best_file: Content of the file of the best set, ``None`` before there is one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.best_file: bytes | None = None
        self._owned = False

    def check(self) -> None:
        """Raise an OSError if the folder cannot be written."""
        check_writable(self.path)

    def open(self) -> None:
        """Own the folder, and make its sets whole after a kill.

        Raises:
            FolderInUseError: The folder belongs to a run that is still going.
        """
        if not self._owned:
            claim_folder(self.path)
            self._owned = True
        for name in (BEST, LAST):
            mend_set(self.path / name)
            self.draw(name)

    def close(self) -> None:
        """Release the folder."""
        if self._owned:
            release_folder(self.path)
            self._owned = False

    def has(self, name: str) -> bool:
        """Return True if the set of this name is there."""
        return (self.path / name / SET).is_file()

    def read(self, name: str) -> tuple[LabeledSet, Card]:
        """Return the set of this name and its card."""
        return read_set(self.path / name)

    def write(self, name: str, labeled_set: LabeledSet, card: Card) -> None:
        """Write the set of this name; the file of the best one is remembered."""
        path = save_set(self.path / name, labeled_set, card)
        if name == BEST:
            self.best_file = path.read_bytes()
        self.draw(name)

    def draw(self, name: str) -> None:
        """Write the picture of the set of this name, unless it is there; a set that cannot be read has none."""
        if self.has(name):
            with suppress(ValueError):  # its reader refuses it
                write_picture(self.path / name, *read_set(self.path / name))

    def restore_best(self) -> bool:
        """Write the best set again where it is missing or differs; return whether it did."""
        path = self.path / BEST / SET
        if self.best_file is None or (path.is_file() and path.read_bytes() == self.best_file):
            return False
        path.parent.mkdir(parents=True, exist_ok=True)
        write_files_atomically({path: self.best_file})
        mend_set(path.parent)
        self.draw(BEST)
        return True
