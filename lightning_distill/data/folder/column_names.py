"""Recognise the columns of a table by their usual names, where no other names are given."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from lightning.pytorch.utilities import rank_zero_info

from lightning_distill.data.folder.index import shorten_list
from lightning_distill.data.folder.public_tables import describe_public_table


@dataclass(frozen=True)
class Columns:
    """Column names of a table.

    Args:
        path: Column of the paths below root. A table without ``path`` may call it ``file``, ``filename``, ``image``.
        label: Column of the labels; a cell ``a|b`` has several labels. Several column names joined by ``|`` are 0/1
            columns, one per label. A table without ``label`` may call it ``class``, ``diagnosis``, ``target``.
        patient: Column of the patients; the column is optional. A table without ``patient`` may call it
            ``patient_id``, ``pid``, ``subject``, ``case``.
        split: Column of the splits (train, val or test); the column is optional.
        mask: Column of the paths of mask volumes below root, read with ``frames="mask"`` only.
        uncertain: Replacement of cells -1 in 0/1 columns: 0 or 1. ``None`` refuses them.

    Raises:
        ValueError: ``uncertain`` is neither 0 nor 1.

    Example:
        >>> Columns(path="Image Index", label="Finding Labels").patient
        'patient'
    """

    path: str = "path"
    label: str = "label"
    patient: str = "patient"
    split: str = "split"
    mask: str = "mask"
    uncertain: int | None = None

    def __post_init__(self) -> None:
        if self.uncertain not in (None, 0, 1):
            raise ValueError(f"uncertain={self.uncertain}; it must be 0 or 1")


#: Usual names of each column, in lower case and without separators.
USUAL = {
    "path": {"path", "file", "filename", "filepath", "image", "imagefile", "imagename", "imagepath", "img"},
    "label": {"label", "class", "diagnosis", "target", "category"},
    "patient": {"patient", "patientid", "pid", "subject", "subjectid", "case", "caseid"},
    "split": {"split", "subset", "partition"},
}


def recognise_columns(names: Sequence[str], columns: Columns, table: str) -> Columns:
    """Replace default column names that a table does not have by the usual name that it has, and say so.

    Columns of public tables are not guessed: their error message gives the right ones.

    Args:
        names: Columns of the table.
        columns: Column names that were asked for.
        table: Name of the table, for messages.

    Raises:
        ValueError: Several columns have usual names of the same kind.

    Example:
        >>> recognise_columns(["File", "diagnosis", "age"], Columns(), "table.csv").path
        'File'
    """
    if describe_public_table(names):
        return columns
    found: dict[str, str] = {}
    defaults = {field.name: field.default for field in fields(Columns)}
    for kind, usual in USUAL.items():
        if getattr(columns, kind) != defaults[kind] or kind in names:
            continue
        matches = [name for name in names if re.sub(r"[\W_]", "", name).lower() in usual]
        if len(matches) > 1:
            raise ValueError(f"{table}: {shorten_list(matches)} may be the {kind}; name one as columns.{kind}")
        if matches:
            found[kind] = matches[0]
    if found:
        read = ", ".join(f"{kind} = {name!r}" for kind, name in found.items())
        rank_zero_info(f"{table}: {read}; columns.path, columns.label and columns.patient name others")
    return replace(columns, **found)  # type: ignore[arg-type]  # ``uncertain``, the only number, is never found
