"""``lightning-distill signals-merge``: add the signal banks of several sites."""

from __future__ import annotations

from pathlib import Path

from lightning_distill.commands._console import plain_console
from lightning_distill.sets.storage import check_file_writable
from lightning_distill.signals import merge_banks, read_bank, write_bank


def signals_merge(banks: list[str], *, out: str = "merged.safetensors") -> Path:
    """Add the signal banks of several sites: the bank of all their images together.

    Args:
        banks: Files of ``signals`` with equal draws, mean and std.
        out: File to write.

    Returns:
        Path of the file.

    Raises:
        ValueError: The banks differ in draws, statistic, image size, classes, or mean and std.
        FileNotFoundError: There is no such file.
    """
    check_file_writable(out)
    merged = merge_banks([read_bank(path) for path in banks])
    path = write_bank(out, merged)
    plain_console().print(
        f"{len(banks)} banks of {int(merged.counts[0].sum())} images together: {path}", soft_wrap=True
    )
    return path
