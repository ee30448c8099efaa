"""Leakage audit in the card of a set, bound to the arrays of the set."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from lightning_distill.sets.arrays import set_to_arrays
from lightning_distill.sets.card import AUDIT
from lightning_distill.sets.export.registry import find_export
from lightning_distill.sets.labeled_set import LabeledSet
from lightning_distill.sets.storage import SET, digest, read_set, save_set
from lightning_distill.utils.json_values import without_nan

#: Version of the record.
FORMAT = 1


def bind_audit(result: Mapping[str, object], labeled_set: LabeledSet) -> dict[str, object]:
    """Return the record of an audit for the card of a set.

    Its hash covers the result and all arrays of the set: it holds for this set and no other, and a changed number is
    noticed. The hash is no signature: who can write the file can write a new audit too.

    Args:
        result: Result of the audit as plain data.
        labeled_set: Set that was audited.
    """
    record = {"format": FORMAT, "set_sha256": digest(set_to_arrays(labeled_set)), "result": without_nan(result)}
    return {**record, "sha256": _hash(record)}


def read_audit(card: Mapping[str, object], labeled_set: LabeledSet) -> dict[str, object] | None:
    """Return the result of the audit in a card; ``None`` for a card without one.

    Args:
        card: Card of the set.
        labeled_set: The set itself.

    Raises:
        ValueError: The audit is that of another set, was changed after it was written, or is no audit.
    """
    record = card.get(AUDIT)
    if record is None:
        return None
    if not isinstance(record, Mapping) or not isinstance(record.get("result"), Mapping):
        raise ValueError("the card holds an audit that is not readable; audit the set again")
    if record.get("format") != FORMAT:
        raise ValueError(f"the audit has the format {record.get('format')!r}, this version reads {FORMAT}")
    if record.get("set_sha256") != digest(set_to_arrays(labeled_set)):
        raise ValueError("the audit in the card is that of another set (its sha256 differs); audit this set")
    if record.get("sha256") != _hash({key: value for key, value in record.items() if key != "sha256"}):
        raise ValueError("the audit in the card was changed after it was written (sha256 differs); audit the set again")
    return dict(record["result"])


def check_attachable(path: str | os.PathLike[str]) -> Path:
    """Return the folder of a set file that an audit can be written into.

    Args:
        path: File ``set.safetensors``, or its folder.

    Raises:
        ValueError: It is an export, whose files an audit would change, or a file of another name.
    """
    path = Path(path)
    if find_export(path) is not None:
        raise ValueError(f"{path.name} is an export; attach the audit to its set.safetensors, and export that again")
    if not path.is_dir() and path.name != SET:
        raise ValueError(f"an audit is attached to a file {SET}, not to {path.name}; rename it, in a folder of its own")
    return path if path.is_dir() else path.parent


def attach_audit(path: str | os.PathLike[str], result: Mapping[str, object]) -> None:
    """Write the result of an audit into the card of a set file, in place of an earlier one.

    Args:
        path: File ``set.safetensors``, or its folder.
        result: Result of the audit as plain data.

    Raises:
        FileNotFoundError: The set does not exist.
        ValueError: It is no intact set, an export, or a file of another name.
    """
    folder = check_attachable(path)
    labeled_set, card = read_set(path)
    save_set(folder, labeled_set, {**card, AUDIT: bind_audit(result, labeled_set)})


def _hash(record: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(json.loads(json.dumps(record)), sort_keys=True).encode()).hexdigest()
