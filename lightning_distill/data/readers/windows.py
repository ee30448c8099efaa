"""Intensity windows: the fixed range of stored values that is mapped to [0, 1]."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

#: Centre and width in HU as in radiology textbooks. Sources differ slightly, so cards show the numbers too.
WINDOWS = {
    "lung": (-600.0, 1500.0),
    "abdomen": (50.0, 400.0),
    "brain": (40.0, 80.0),
    "subdural": (80.0, 200.0),
    "bone": (400.0, 1800.0),
}
#: A name, a pair (centre, width), a list of these (one channel each), ``file`` for the window in each file, or None.
Windows = str | Sequence[float] | Sequence[str | Sequence[float]] | None


@dataclass(frozen=True)
class Window:
    """Intensity range that is mapped to [0, 1]; values outside are clipped.

    Args:
        name: Name of a CT window in HU; empty for a window that was given as numbers.
        low: Value that becomes 0: centre - width / 2.
        high: Value that becomes 1: centre + width / 2.
    """

    name: str
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.name + ', ' if self.name else ''}{self.low:g} to {self.high:g}{' HU' if self.name else ''}"


def parse_windows(window: Windows) -> list[Window]:
    """Parse the option ``window``; ``None`` and ``file`` return an empty list.

    Args:
        window: Name of a window in `WINDOWS`, pair ``(center, width)``, or list of these with one entry per channel.

    Raises:
        ValueError: The name is unknown, a pair does not have two finite numbers, or a width is not positive.
    """
    if window is None or window == "file":
        return []
    if isinstance(window, str):
        return [_parse(window)]
    if len(window) == 2 and all(isinstance(number, (int, float)) for number in window):
        return [_parse(window)]  # type: ignore[arg-type]
    if not window:
        raise ValueError(f"window={window!r} is empty; remove it, or use {', '.join(WINDOWS)}")
    return [_parse(one) for one in window]  # type: ignore[arg-type]


def describe(windows: Sequence[Window]) -> str:
    """Describe the intensity scale of windowed pixels, for cards."""
    if len(windows) > 1:
        names = "; ".join(str(window) for window in windows)
        return f"windows {names}; each a channel, as 0 to 1"
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
