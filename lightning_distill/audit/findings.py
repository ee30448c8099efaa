"""Result of an audit check: status, count, description and affected images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

#: ``blocks``: scores on these data would be wrong. ``warns``: needs inspection. ``unknown``: not checkable.
Status = Literal["blocks", "warns", "ok", "unknown"]
#: Function that is called with the number of images processed since the last call.
ImageCountCallback = Callable[[int], object]
#: Split name and row.
Where = tuple[str, "int | None"]


@dataclass(frozen=True)
class Place:
    """Image of a finding by split and row, and the image that it matches, if any.

    Args:
        split: Split of the image; empty if the finding has no image.
        row: Row of the image in the raw split, from 0.
        other_split: Split of the matching image; empty if there is none.
        other_row: Row of the matching image.
        value: Measured value, such as a similarity.
        kind: Transform between the images, such as ``mirrored left-right``; empty for none.
    """

    split: str = ""
    row: int | None = None
    other_split: str = ""
    other_row: int | None = None
    value: float | None = None
    kind: str = ""

    @property
    def where(self) -> Where:
        """Return the split and row of the image."""
        return self.split, self.row

    def __str__(self) -> str:
        other = f" {'=' if self.value is None else '~'} {self.other_split} {self.other_row}"
        kind = f" {self.kind}" if self.kind else ""
        return f"{self.split} {self.row}{'' if self.other_row is None else other + kind}"


@dataclass(frozen=True)
class Finding:
    """Result of one check.

    Args:
        check: Name of the check.
        status: Severity: ``blocks``, ``warns``, ``ok`` or ``unknown``.
        count: Number of affected images, groups or classes.
        found: Description of the result and of its remedy.
        places: All affected images.

    Example:
        >>> finding = Finding("constant images", "warns", 1, "1 image", (Place("train", 4),))
        >>> ", ".join(map(str, finding.places))
        'train 4'
    """

    check: str
    status: Status
    count: int
    found: str
    places: tuple[Place, ...] = ()


def plural(count: int, word: str = "image") -> str:
    """Format a count with its noun: ``1 image``, ``1,200 images``, ``2 classes``."""
    return f"{count:,} {word}{'' if count == 1 else 'es' if word.endswith('s') else 's'}"
