"""Sets of a table with names that tell them apart."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lightning_distill.sets.arrays import Card
from lightning_distill.sets.labeled_set import LabeledSet
from lightning_distill.sets.names import short_names
from lightning_distill.sets.storage import read_set


@dataclass(frozen=True)
class NamedSet:
    """Set with its name in the table.

    Args:
        name: Name in the table.
        stored: Set as it is stored.
        card: Card; empty for a set in memory.
    """

    name: str
    stored: LabeledSet
    card: Card = field(default_factory=dict)

    @property
    def sha256(self) -> str:
        """Digest of the set file; empty for a set in memory."""
        return str(self.card.get("sha256", ""))

    @property
    def method(self) -> str:
        """Method that made the set; empty for a set in memory."""
        return str(self.card.get("method", ""))

    @property
    def networks(self) -> set[str]:
        """Names of the networks that the card names: those of the method and of the teachers."""
        entries = (self.card.get(key) for key in ("hyper_parameters", "soft_labels"))
        return {str(entry.get("network")) for entry in entries if isinstance(entry, Mapping) and entry.get("network")}


def read_named(
    sets: Sequence[str | os.PathLike[str]] | Mapping[str, str | os.PathLike[str] | LabeledSet],
) -> list[NamedSet]:
    """Read sets and name them.

    Args:
        sets: Paths, or paths and sets by name. A path is named by the last folders that tell it from the others.

    Raises:
        FileNotFoundError: A set does not exist.
        ValueError: No set is given, or one is given twice.
    """
    if not sets:
        raise ValueError("no sets are given; name at least one: --set runs/x/best")
    if not isinstance(sets, Mapping):
        sets = dict(zip(short_names(sets), sets, strict=True))
    return [
        NamedSet(name, one) if isinstance(one, LabeledSet) else NamedSet(name, *read_set(one))
        for name, one in sets.items()
    ]
