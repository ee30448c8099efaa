"""Windows: which numbers become black and which white, fixed before any picture is seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

#: Centre and width in HU, as radiology textbooks set them; sources differ a little, so cards say the numbers too.
WINDOWS = {
    "lung": (-600.0, 1500.0),
    "abdomen": (50.0, 400.0),
    "brain": (40.0, 80.0),
    "subdural": (80.0, 200.0),
    "bone": (400.0, 1800.0),
}
#: One name, one (centre, width), several of either as channels, ``file`` for the file's own, or none.
Windows = str | Sequence[float] | Sequence[str] | Sequence[Sequence[float]] | None


@dataclass(frozen=True)
class Window:
    """Black at ``low`` and below, white at ``high`` and above.

    Args:
        name: of a CT window in HU; empty for one that was given as numbers.
        low: centre - width / 2.
        high: centre + width / 2.
    """

    name: str
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.name + ', ' if self.name else ''}{self.low:g} to {self.high:g}{' HU' if self.name else ''}"


def parse_windows(window: Windows) -> list[Window]:
    """The windows that were asked for; none for ``None`` and for ``file``.

    Args:
        window: a name of `WINDOWS`, ``(center, width)``, or a list of these, one a channel.

    Raises:
        ValueError: an unknown name, not two numbers, a width that is not positive.
    """
    if window is None or window == "file":
        return []
    if isinstance(window, str):
        return [_parse(window)]
    if len(window) == 2 and all(isinstance(number, (int, float)) for number in window):
        return [_parse(window)]  # type: ignore[arg-type]
    if not window:
        raise ValueError(f"window={window!r} names none; leave it out, or use {', '.join(WINDOWS)}")
    return [_parse(one) for one in window]  # type: ignore[arg-type]


def describe(windows: Sequence[Window]) -> str:
    """The scale of pixels that were windowed, for cards."""
    if len(windows) > 1:
        said = "; ".join(str(window) for window in windows)
        return f"windows {said}; each a channel, as 0 to 1"
    return f"{'CT ' if windows[0].name else ''}window {windows[0]} as 0 to 1"


def _parse(window: str | Sequence[float]) -> Window:
    if isinstance(window, str):
        if window not in WINDOWS:
            raise ValueError(f"unknown window={window!r}; use {', '.join(WINDOWS)}, (center, width) or 'file'")
        center, width = WINDOWS[window]
        return Window(window, center - width / 2, center + width / 2)
    if isinstance(window, (int, float)) or len(window) != 2:
        raise ValueError(f"window={window!r}; give a name of {', '.join(WINDOWS)}, or the two numbers (center, width)")
    center, width = map(float, window)
    if not (math.isfinite(center) and math.isfinite(width) and width > 0):
        raise ValueError(f"window={tuple(window)!r}; center and width must be finite and the width above 0")
    return Window("", center - width / 2, center + width / 2)
