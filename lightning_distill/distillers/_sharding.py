"""Distribution of the classes over processes, and over forward passes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from lightning import LightningModule

from lightning_distill.functional.chunking import even_chunk_size
from lightning_distill.functional.network import FunctionalNetwork
from lightning_distill.sets.synthetic import SyntheticSet
from lightning_distill.utils.rng import derive_seed


class ClassShardingMixin(LightningModule):
    """Module that distributes classes over processes: rank r has the classes r, r + world size, and so on.

    The random numbers of a class depend on (seed, step, class) alone, not on its rank.
    """

    seed: int
    synthetic: SyntheticSet
    network: FunctionalNetwork

    def classes(self) -> Iterator[int]:
        """Yield the classes of this rank one by one, each with a random stream of its own."""
        for label in range(self.global_rank, len(self.synthetic.counts), self.trainer.world_size):
            torch.manual_seed(*self.class_seeds([label]))
            yield label

    def class_groups(self, counts: Sequence[int]) -> list[list[int]]:
        """Return the classes of this rank in groups that go through the network at once.

        With batch norm the first rank has all classes in one group, because batch statistics cannot be split.

        Args:
            counts: Number of images of each class, for all classes.
        """
        if self.network.batch_norm:
            return [] if self.global_rank else [list(range(len(counts)))]
        own = list(range(self.global_rank, len(counts), self.trainer.world_size))
        if not own:
            return []
        size = even_chunk_size(len(own), max(1, (self.network.chunk or sum(counts)) // max(counts)))
        return [own[i : i + size] for i in range(0, len(own), size)]

    def class_seeds(self, labels: Sequence[int]) -> list[int]:
        """Return the seeds of the random transformations of some classes in this step."""
        return [derive_seed(self.seed, self.global_step, label) for label in labels]
