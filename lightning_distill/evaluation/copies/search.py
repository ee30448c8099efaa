"""``CopySearch``: the tau rule for the training images of a data module, calibrated on held-out images."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_distill.data import ArrayDataModule
from lightning_distill.data.checks.arrays import Array
from lightning_distill.evaluation.copies import embedding as contrastive
from lightning_distill.evaluation.copies.detection import CopyRule
from lightning_distill.evaluation.copies.embedding import ContrastiveEmbedding
from lightning_distill.sets.formation import reduced

#: Number of real images that are read and embedded at once.
CHUNK = 1024


class CopySearch:
    """Embedding of one data set, and the tau rule for its training images.

    The embedding is trained on the training images when it is first needed. Rules are kept, one for each number of
    sub-images: real images are reduced and enlarged as the sub-images of a set are.

    Args:
        datamodule: Data with training images and the held-out split.
        split: Held-out split, ``val`` or ``test``. One half of it sets the threshold, the other gives the null rate.
        seed: Seed of the embedding and of the halves.
        device: Device of the embedding.

    Attributes:
        steps: Number of training steps of the embedding.

    Raises:
        ValueError: The data have no such split.
    """

    def __init__(
        self, datamodule: ArrayDataModule, *, split: str = "val", seed: int = 0, device: torch.device | str = "cpu"
    ) -> None:
        self.spec = datamodule.spec
        self.split, self.seed, self.device = split, seed, str(device)
        self._train, self._held_out = datamodule.all_train_arrays()[0], split_images(datamodule, split)
        self.steps = contrastive.EMBEDDING_STEPS
        self._embedding: ContrastiveEmbedding | None = None
        self._rules: dict[int, CopyRule] = {}

    @property
    def unresolvable(self) -> str:
        """Reason why there are too few images for the rule; empty where there are enough."""
        if len(self._train) >= 2 and len(self._held_out) >= 4:
            return ""
        return f"{len(self._train)} training and {len(self._held_out)} {self.split} images, the tau rule needs 2 and 4"

    @property
    def embedding(self) -> ContrastiveEmbedding:
        """Embedding of the data; trained on first use."""
        if self._embedding is None:
            self._embedding = ContrastiveEmbedding.fit(
                self._train, self.spec, steps=self.steps, seed=self.seed, device=self.device
            )
        return self._embedding

    def rule(self, formation: int = 1) -> CopyRule:
        """Return the rule for the sub-images of a set.

        Args:
            formation: Number of sub-images along each side of a stored image.

        Raises:
            ValueError: The data have too few images for the rule.
        """
        if self.unresolvable:
            raise ValueError(f"{self.spec.name} has {self.unresolvable}; use data with more images")
        if formation not in self._rules:
            train, held_out = (self._embed(images, formation) for images in (self._train, self._held_out))
            self._rules[formation] = CopyRule.calibrate(train, held_out, np.random.default_rng(self.seed))
        return self._rules[formation]

    def embed(self, pixels: Tensor) -> NDArray[np.float32]:
        """Return the embeddings ``(N, F)`` of decoded images ``(N, C, H, W)`` in pixel units."""
        return self.embedding(pixels.float())

    def _embed(self, images: Array, formation: int) -> NDArray[np.float32]:
        parts = []
        for start in range(0, len(images), CHUNK):
            part = torch.from_numpy(np.ascontiguousarray(images[start : start + CHUNK]))
            parts.append(self.embedding(reduced(part, formation)))
        return np.concatenate(parts)


def split_images(datamodule: ArrayDataModule, split: str) -> Array:
    """Return the images of a split.

    Args:
        datamodule: Data module.
        split: Name of the split.

    Raises:
        ValueError: The data have no such split, or it has no images.
    """
    if split not in datamodule.splits or not len(datamodule.splits[split][1]):
        raise ValueError(f"{datamodule.spec.name} has no {split} images; {datamodule.advise_split(split)}")
    return datamodule.splits[split][0]
