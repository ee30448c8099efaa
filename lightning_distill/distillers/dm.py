"""Distribution matching."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from lightning_distill.distillers.base import Distiller
from lightning_distill.distillers.real_batch import RealBatch
from lightning_distill.functional.network import Parameters
from lightning_distill.objectives import mean_embedding_distance


class DMDistiller(Distiller):
    """DM: match the mean embeddings of real and synthetic images of a class in a new random network every step.

    By default each stored image holds four sub-images that start from herding picks, and lr is 4: the best recipe of
    `benchmarks/results/dm_formation.csv`. The paper and its code run 20,000 steps from random real images with lr 1
    (10 from ipc 100 on), momentum 0.5 and 256 real images per class: ``preset="paper"``. With batch norm all classes go
    through one forward pass, so that batch statistics cover all of them. The arguments are those of `Distiller`.

    Example:
        >>> DMDistiller(ipc=1, network="convnet_w16").formation
        2
        >>> DMDistiller(ipc=1, network="convnet_w16", preset="paper").lr
        1.0

    Reference:
        Zhao, Bilen: Dataset Condensation with Distribution Matching, WACV 2023, arXiv 2110.04181.
    """

    def losses(self, real: RealBatch) -> Iterator[Tensor]:
        """Yield the squared distances of mean embeddings, summed over the classes of one forward pass."""
        parameters = self.network.init_params(self.device)
        targets: dict[int, Tensor] = {}
        for labels in self.class_groups([real.per_class] * len(real.spec.balance_groups)):
            targets |= dict(zip(labels, self._means(parameters, real, labels), strict=True))
        for labels in self.class_groups(self.synthetic.counts):
            counts = [self.synthetic.counts[label] for label in labels]
            images = torch.cat([self.synthetic.of_class(label) for label in labels])
            embedded = self.network.embed(parameters, self.augment.of_classes(images, counts, self.class_seeds(labels)))
            pairs = zip(labels, embedded.split(counts), strict=True)
            yield torch.stack([mean_embedding_distance(targets[label][None], e) for label, e in pairs]).sum()

    @torch.no_grad()
    def _means(self, parameters: Parameters, real: RealBatch, labels: Sequence[int]) -> Tensor:
        """Return mean embeddings ``(L, F)``, float32, of the real images of L classes."""
        parts = [real.of_classes(labels)] if self.network.batch_norm else real.iter_chunks(labels)
        sums = []
        for x in parts:
            x = self.augment.of_classes(x, [len(x) // len(labels)] * len(labels), self.class_seeds(labels))
            sums.append(self.network.embed(parameters, x).unflatten(0, (len(labels), -1)).float().sum(1))
        return torch.stack(sums).sum(0) / real.per_class
