"""How often gradient matching moves the images on one network, and how long that network trains in between."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

#: ipc: (image steps on one network, epochs of its training after each of them but the last), as the papers have it.
LOOPS = {1: (1, 1), 10: (10, 50), 20: (20, 25), 30: (30, 20), 40: (40, 15), 50: (50, 10)}


def default_loops(
    ipc: int | Sequence[int], outer_loop: int | None = None, inner_loop: int | None = None
) -> tuple[int, int]:
    """The papers' numbers for the listed ipc, a straight line between two of them, the last ones above 50.

    With one image step a network (ipc 1) the network is never trained, and ``inner`` does not matter.

    Args:
        ipc: images per class; of a list the largest counts.
        outer_loop: given by hand, it wins.
        inner_loop: the same.

    Returns:
        ``(outer, inner)``.

    Raises:
        ValueError: a given number is below 1.

    >>> default_loops(10), default_loops(5), default_loops(35), default_loops(100), default_loops(10, outer_loop=2)
    ((10, 50), (5, 23), (35, 18), (50, 10), (2, 50))
    """
    for name, given in (("outer_loop", outer_loop), ("inner_loop", inner_loop)):
        if given is not None and given < 1:
            raise ValueError(f"{name}={given}; it must be at least 1, or null for the papers' number")
    found = _interpolate(ipc if isinstance(ipc, int) else max(ipc))
    return outer_loop or found[0], inner_loop or found[1]


def _interpolate(ipc: int) -> tuple[int, int]:
    for low, high in pairwise(LOOPS):
        if low <= ipc <= high:
            share = (ipc - low) / (high - low)
            first, second = (round(a + share * (b - a)) for a, b in zip(LOOPS[low], LOOPS[high], strict=True))
            return first, second
    return LOOPS[max(LOOPS)] if ipc > 0 else LOOPS[1]
