"""Divide work among the ranks of a run, and gather the results on all of them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TypeVar

from torch import distributed

Item = TypeVar("Item")


def rank_and_world_size() -> tuple[int, int]:
    """Return this rank and the number of ranks; ``(0, 1)`` without ``torch.distributed``."""
    initialized = distributed.is_available() and distributed.is_initialized()
    return (distributed.get_rank(), distributed.get_world_size()) if initialized else (0, 1)


def warn_on_first_rank(message: str) -> None:
    """Warn on the first rank only; ``rank_zero_warn`` needs Lightning to have set the rank."""
    if rank_and_world_size()[0] == 0:
        warnings.warn(message, stacklevel=3)


def shard(items: Sequence[Item]) -> list[Item]:
    """Return this rank's share of the items: every n-th item, for n ranks.

    Example:
        >>> shard(["a", "b"])  # in a single process
        ['a', 'b']
    """
    rank, ranks = rank_and_world_size()
    return list(items[rank::ranks])


def gather_shards(items: Sequence[Item]) -> list[Item]:
    """Return the items of all ranks in the order that `shard` divided them from. To be called by every rank.

    Args:
        items: Results of this rank, one for each item of its share, that can be pickled.
    """
    _, ranks = rank_and_world_size()
    if ranks == 1:
        return list(items)
    parts: list[list[Item]] = [[]] * ranks
    distributed.all_gather_object(parts, list(items))
    return [parts[number % ranks][number // ranks] for number in range(sum(map(len, parts)))]
