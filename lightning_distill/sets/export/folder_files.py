"""Files that every folder export has: card, record, and the checksums of all files."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path

from lightning_distill.sets.arrays import Card
from lightning_distill.sets.export.record import CARD, RECORD, ExportRecord, PreparedSet
from lightning_distill.sets.schema import check_card
from lightning_distill.spec import DataSpec

#: Checksums of the files of a folder, in the form of ``sha256sum``.
CHECKSUMS = "SHA256SUMS"
_LINE = re.compile(r"([0-9a-f]{64})  (.+)")


def with_common_files(files: Mapping[str, bytes], prepared: PreparedSet) -> dict[str, bytes]:
    """Add card, record and checksums to the files of an export.

    Args:
        files: Content of the files of a format by relative path.
        prepared: Exported set.
    """
    every = {**files, CARD: prepared.card_json, RECORD: prepared.record.to_json().encode()}
    sums = "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in sorted(every.items()))
    return {**every, CHECKSUMS: sums.encode()}


def read_common_files(folder: Path) -> tuple[Card, DataSpec, ExportRecord]:
    """Read card, specification and record of an export.

    Raises:
        ValueError: A file is missing or is no card or record.
    """
    try:
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
        check_card(card)
        spec = DataSpec.from_dict(card["data"])
        record = ExportRecord.from_json((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, KeyError, TypeError, RecursionError, AttributeError) as error:
        raise ValueError(f"{CARD} or {RECORD} is missing or damaged ({error})") from error
    return card, spec, record


def verify_checksums(folder: Path, extra: tuple[str, ...] = ()) -> None:
    """Verify that a folder holds exactly the files of its checksums.

    Hidden files (``.gitattributes``) are not compared.

    Args:
        folder: Folder of an export.
        extra: Names of files that have no checksum.

    Raises:
        ValueError: A file was changed, is missing, or was added.
    """
    try:
        lines = (folder / CHECKSUMS).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise ValueError(f"{folder.name} has no readable {CHECKSUMS}; obtain the folder again") from None
    matches = [_LINE.fullmatch(line) for line in lines]
    sums = {match[2]: match[1] for match in matches if match}
    present = {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if not path.is_dir() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    }
    wrong = present - sums.keys() - {CHECKSUMS, *extra} | sums.keys() - present
    wrong |= {n for n in present & sums.keys() if hashlib.sha256((folder / n).read_bytes()).hexdigest() != sums[n]}
    if wrong or None in matches:
        name = sorted(wrong)[0] if wrong else CHECKSUMS
        raise ValueError(f"{name!r} in {folder.name} was added, removed or changed; obtain the folder again")
