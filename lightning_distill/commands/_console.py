"""Console of the commands: names of data and classes are printed as they are, never as markup."""

from __future__ import annotations

from rich.console import Console


def plain_console(stderr: bool = False) -> Console:
    """Return a console that takes no markup and no emoji codes from texts.

    Args:
        stderr: Whether to write to the standard error stream.
    """
    return Console(stderr=stderr, markup=False, emoji=False)


def printable(text: object, most: int = 600) -> str:
    r"""Return text that a stranger wrote in a form that cannot control the terminal: one line, escapes shown, cut.

    Args:
        text: Text, such as an entry of the card of a received set.
        most: Largest number of characters.

    Example:
        >>> printable("two" + chr(10) + "lines" + chr(27))
        'two lines\\x1b'
    """
    words = " ".join(str(text).split())
    shown = "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape", "replace").decode() for letter in words
    )
    return shown if len(shown) <= most else f"{shown[:most]}... ({len(shown) - most} more characters)"
