"""What a check has found: how bad it is, how much there is of it, and where."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

#: ``blocks``: scores on these data would be wrong. ``warns``: look at it. ``unknown``: could not be looked for.
Status = Literal["blocks", "warns", "ok", "unknown"]
#: Called with the number of images that have been looked at.
ProgressCallback = Callable[[int], object]
#: A split and a row.
Where = tuple[str, "int | None"]


@dataclass(frozen=True)
class Place:
    """An image, by its split and its row there; and the one it is about, with how much they are alike.

    Args:
        split: its name; empty where no image is meant.
        row: from 0, in the data as they were given.
        other_split: of the other image, where there is one.
        other_row: of the other image.
        value: what was measured, such as a similarity.
        kind: what has been done to the other image to make this one; empty for nothing.
    """

    split: str = ""
    row: int | None = None
    other_split: str = ""
    other_row: int | None = None
    value: float | None = None
    kind: str = ""

    @property
    def where(self) -> Where:
        """Split and row of the image."""
        return self.split, self.row

    def __str__(self) -> str:
        other = f" {'=' if self.value is None else '~'} {self.other_split} {self.other_row}"
        kind = f" {self.kind}" if self.kind else ""
        return f"{self.split} {self.row}{'' if self.other_row is None else other + kind}"


@dataclass(frozen=True)
class Finding:
    """One check.

    Args:
        check: what was looked for.
        status: how bad what was found is.
        count: how many images, groups or classes.
        found: the same in words, with what it means.
        places: every image it is about.
    """

    check: str
    status: Status
    count: int
    found: str
    places: tuple[Place, ...] = ()


def plural(count: int, word: str = "image") -> str:
    """``1 image``, ``1,200 images``, ``2 classes``."""
    return f"{count:,} {word}{'' if count == 1 else 'es' if word.endswith('s') else 's'}"
