"""Console of the commands: names of data and classes are printed as they are, never as markup."""

from __future__ import annotations

from rich.console import Console


def plain_console(stderr: bool = False) -> Console:
    """Return a console that takes no markup and no emoji codes from texts.

    Args:
        stderr: Whether to write to the standard error stream.
    """
    return Console(stderr=stderr, markup=False, emoji=False)
