"""Which classes a process works on, and how many of them at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from lightning import LightningModule

from lightning_distill.functional.chunking import even_chunk_size
from lightning_distill.functional.network import FunctionalNetwork
from lightning_distill.sets.synthetic import SyntheticSet
from lightning_distill.utils.rng import derive_seed


class ClassShardingMixin(LightningModule):
    """A module that shares classes out among processes: rank r has r, r + world size, and so on.

    What is random about a class depends on (seed, step, class) alone, so that it matters not which rank has it.
    """

    synthetic: SyntheticSet
    network: FunctionalNetwork

    def classes(self) -> Iterator[int]:
        """The classes of this rank, one by one, each with a random stream of its own."""
        for label in range(self.global_rank, len(self.synthetic.counts), self.trainer.world_size):
            torch.manual_seed(*self.class_seeds([label]))
            yield label

    def class_groups(self, counts: Sequence[int]) -> list[list[int]]:
        """The classes of this rank, as many together as go through a network at once.

        With batch norm all classes are together on the first rank, because batch statistics cannot be split.

        Args:
            counts: images of each class, of all classes.
        """
        if self.network.batch_norm:
            return [] if self.global_rank else [list(range(len(counts)))]
        mine = list(range(self.global_rank, len(counts), self.trainer.world_size))
        if not mine:
            return []
        size = even_chunk_size(len(mine), max(1, (self.network.chunk or sum(counts)) // max(counts)))
        return [mine[i : i + size] for i in range(0, len(mine), size)]

    def class_seeds(self, labels: Sequence[int]) -> list[int]:
        """Of the random transformations of these classes in this step."""
        return [derive_seed(self.hparams["seed"], self.global_step, label) for label in labels]
