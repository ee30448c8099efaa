"""Short names of paths, for tables."""

from __future__ import annotations

from collections.abc import Sequence


def distinct_ends(paths: Sequence[Sequence[str]], least: Sequence[int] | None = None) -> list[str]:
    """Return the shortest end of each path that no other path has; equal paths keep their shortest end.

    Args:
        paths: Parts of each path.
        least: Smallest number of parts in the name of each path; default: 1.

    Example:
        >>> distinct_ends([("runs", "a", "dm"), ("runs", "b", "dm"), ("runs", "c")])
        ['a/dm', 'b/dm', 'c']
    """
    names = []
    for number, own in enumerate(map(tuple, paths)):
        others = [tuple(other) for other in paths if tuple(other) != own]
        first = min(len(own), 1 if least is None else least[number])
        length = next((n for n in range(first, len(own) + 1) if all(other[-n:] != own[-n:] for other in others)), first)
        names.append("/".join(own[-length:]))
    return names
