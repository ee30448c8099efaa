"""Distribution matching."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from lightning_distill.distillers.base import Distiller
from lightning_distill.objectives import mean_embedding_distance


class DMDistiller(Distiller):
    """DM: a fresh random network every step; real and synthetic images of a class agree in their mean embedding.

    Paper and reference code run 20,000 steps with lr 1 (10 from ipc 100 on), momentum 0.5, 256 real images a class.
    With batch norm all classes go through one forward, so that the batch statistics see all of them.

    Args: see `Distiller`.

    Reference:
        Zhao, Bilen: Dataset Condensation with Distribution Matching, WACV 2023, arXiv 2110.04181.
    """

    def losses(self, x: Tensor, y: Tensor) -> Iterator[Tensor]:
        """One squared distance of mean embeddings for each class."""
        parameters = self.network.fresh(self.device)
        if self.network.batch_norm:
            yield from self._joint(parameters, x, y)
            return
        for label in self.classes():
            real, synthetic = self.augment(x[y == label], self.synthetic.of_class(label))
            with torch.no_grad():
                target = self.network.embed(parameters, real)  # (B, F)
            yield mean_embedding_distance(target, self.network.embed(parameters, synthetic))

    def _joint(self, parameters: dict[str, Tensor], x: Tensor, y: Tensor) -> Iterator[Tensor]:
        """The sum over classes from one forward of all of them; batch statistics cannot be split over ranks."""
        if self.global_rank > 0:
            return
        pairs = [
            self.augment(x[y == label], self.synthetic.of_class(label))
            for label in range(self.synthetic.spec.num_classes)
        ]
        reals, synthetics = ([pair[side] for pair in pairs] for side in (0, 1))
        with torch.no_grad():
            targets = self.network.embed(parameters, torch.cat(reals)).split([len(r) for r in reals])
        embedded = self.network.embed(parameters, torch.cat(synthetics)).split(self.synthetic.counts)
        yield torch.stack([mean_embedding_distance(t, e) for t, e in zip(targets, embedded, strict=True)]).sum()
