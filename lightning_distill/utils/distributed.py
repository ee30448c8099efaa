"""Work spread over the processes of a run: every rank does its share, and all get the results of all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from torch import distributed

Item = TypeVar("Item")


def rank_and_world_size() -> tuple[int, int]:
    """This rank, and the number of ranks; without ``torch.distributed`` 0 of 1."""
    several = distributed.is_available() and distributed.is_initialized()
    return (distributed.get_rank(), distributed.get_world_size()) if several else (0, 1)


def shard(items: Sequence[Item]) -> list[Item]:
    """What falls to this rank: every n-th of n ranks."""
    rank, ranks = rank_and_world_size()
    return list(items[rank::ranks])


def gather_shards(mine: Sequence[Item]) -> list[Item]:
    """The inverse of `share`, on all ranks at once: every rank's items, as plain data, in their original order."""
    _, ranks = rank_and_world_size()
    if ranks == 1:
        return list(mine)
    parts: list[list[Item]] = [[]] * ranks
    distributed.all_gather_object(parts, list(mine))
    return [parts[number % ranks][number // ranks] for number in range(sum(map(len, parts)))]
