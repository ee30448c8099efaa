"""Distribution matching."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from lightning_distill.distillers._options import DMOptions, Unpack
from lightning_distill.distillers.base import Distiller
from lightning_distill.distillers.real_batch import RealBatch
from lightning_distill.functional.network import Parameters
from lightning_distill.objectives.embedding import get_embedding_distance
from lightning_distill.utils.rng import derive_seed


class DMDistiller(Distiller):
    """DM: match the embeddings of real and synthetic images of a class in a new random network every step.

    By default each stored image holds four sub-images that start from herding picks, and lr is 4: the recipe of
    `benchmarks/results/dm_formation.csv`. The paper and its code match the means and run 20,000 steps from random real
    images with lr 1 (10 from ipc 100 on), momentum 0.5 and 256 real images per class: ``preset="paper"``. With batch
    norm all classes go through one forward pass, so that batch statistics cover all of them.

    Args:
        ipc: Images per class, one number or one for each class.
        objective: Distance of embeddings: ``mean`` (the paper's), ``characteristic`` (characteristic functions, NCFM)
            or ``mmd`` (all moments, M3D), see `objectives.embedding`.
        options: Other arguments of `Distiller`.

    Raises:
        ValueError: The objective is unknown.

    Example:
        >>> DMDistiller(ipc=1, network="convnet_w16").formation
        2
        >>> DMDistiller(ipc=1, network="convnet_w16", preset="paper").lr
        1.0

    Reference:
        Zhao, Bilen: Dataset Condensation with Distribution Matching, WACV 2023, arXiv 2110.04181.
        Wang et al.: Dataset Distillation with Neural Characteristic Function, CVPR 2025, arXiv 2502.20653.
        Zhang et al.: M3D, AAAI 2024, arXiv 2312.15927.
    """

    def __init__(self, ipc: int | list[int] = 10, *, objective: str = "mean", **options: Unpack[DMOptions]) -> None:
        super().__init__(ipc=ipc, **options)
        self.objective, self.embedding_distance = objective, get_embedding_distance(objective)

    def surrogate(self) -> Parameters:
        """Return the parameters of the network of this step: a new random network."""
        return self.network.init_params(self.device)

    def losses(self, real: RealBatch) -> Iterator[Tensor]:
        """Yield the distances of embeddings, summed over the classes of one forward pass."""
        parameters = self.surrogate()
        targets: dict[int, Tensor] = {}
        for labels in self.class_groups([real.per_class] * len(real.spec.balance_groups)):
            targets |= dict(zip(labels, self._embed_real(parameters, real, labels), strict=True))
        for labels in self.class_groups(self.synthetic.counts):
            embedded = self.network.embed(parameters, self.augmented(labels))
            parts = embedded.split([self.synthetic.counts[label] for label in labels])
            pairs = zip(labels, parts, strict=True)
            yield torch.stack([self._distance(label, targets[label], part) for label, part in pairs]).sum()

    def augmented(self, labels: Sequence[int]) -> Tensor:
        """Return the synthetic images of some classes under the transformations of this step."""
        images = torch.cat([self.synthetic.of_class(label) for label in labels])
        counts = [self.synthetic.counts[label] for label in labels]
        return self.augment.of_classes(images, counts, self.class_seeds(labels))

    def _distance(self, label: int, real: Tensor, synthetic: Tensor) -> Tensor:
        if self.objective != "mean":  # the means need no random numbers, and a seed takes time
            torch.default_generator.manual_seed(derive_seed(self.seed, self.global_step, label, "objective"))
        return self.embedding_distance(real, synthetic)

    @torch.no_grad()
    def _embed_real(self, parameters: Parameters, real: RealBatch, labels: Sequence[int]) -> Tensor:
        """Return embeddings ``(L, B, F)``, float32, of the real images of L classes, or their means ``(L, 1, F)``."""
        parts = [real.of_classes(labels)] if self.network.batch_norm else real.iter_chunks(labels)
        embedded = []
        for x in parts:
            x = self.augment.of_classes(x, [len(x) // len(labels)] * len(labels), self.class_seeds(labels))
            rows = self.network.embed(parameters, x).unflatten(0, (len(labels), -1)).float()
            embedded.append(rows.sum(1, keepdim=True) if self.objective == "mean" else rows)
        if self.objective == "mean":  # a mean needs no memory for every image
            return torch.stack(embedded).sum(0) / real.per_class
        return torch.cat(embedded, 1)
