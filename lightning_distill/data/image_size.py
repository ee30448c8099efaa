"""Size of square images, as one number or as height and width."""

from __future__ import annotations

#: Height and width in pixels: one number for both, or a pair of equal numbers.
ImageSize = int | tuple[int, int]


def square_side(size: ImageSize) -> int:
    """Return the side of square images.

    Args:
        size: Side in pixels, or height and width.

    Raises:
        ValueError: Height and width differ.

    Example:
        >>> square_side(64), square_side((64, 64))
        (64, 64)
    """
    sides = {size} if isinstance(size, int) else {*size}
    if len(sides) != 1:
        raise ValueError(f"size={size!r}: images are square here; give one number, and fit='pad' or 'crop' as you need")
    return sides.pop()
