"""Work spread over the processes of a run: every rank does its share, and all get the results of all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from torch import distributed

Item = TypeVar("Item")


def share(items: Sequence[Item]) -> list[Item]:
    """What falls to this rank: every n-th of n ranks; without ``torch.distributed`` everything."""
    return list(items[distributed.get_rank() :: distributed.get_world_size()]) if _several() else list(items)


def gather(mine: Sequence[Item]) -> list[Item]:
    """The inverse of `share`, on all ranks at once: every rank's items, as plain data, in their original order."""
    if not _several():
        return list(mine)
    parts: list[list[Item]] = [[]] * distributed.get_world_size()
    distributed.all_gather_object(parts, list(mine))
    return [parts[number % len(parts)][number // len(parts)] for number in range(sum(map(len, parts)))]


def _several() -> bool:
    return distributed.is_available() and distributed.is_initialized()
