"""Inner loop of trajectory matching: the training steps of a student on the synthetic set."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_distill.augmentation.siamese import SiameseAugmentation
from lightning_distill.functional.gradients import loss_gradient, mixed_derivative
from lightning_distill.functional.network import FunctionalNetwork, Parameters, uncached_autocast
from lightning_distill.functional.unroll import InnerProblem
from lightning_distill.sets.synthetic import SyntheticSet
from lightning_distill.utils.rng import derive_seed


class StudentTraining(InnerProblem):
    """Loss of a student on an augmented batch of the set, differentiable by images and soft labels.

    Args:
        network: Network of the student.
        buffers: Buffers of the network by name.
        synthetic: Synthetic set.
        augment: Augmentation, used in its plain form.
        rows: Row indices of the batch of every step.
        seed: Seed of the augmentation; step t depends on (seed, t) alone.
    """

    def __init__(
        self,
        network: FunctionalNetwork,
        buffers: Parameters,
        synthetic: SyntheticSet,
        augment: SiameseAugmentation,
        rows: Sequence[Tensor],
        seed: int,
    ) -> None:
        super().__init__(
            [synthetic.images]
            if synthetic.soft_label_logits is None
            else [synthetic.images, synthetic.soft_label_logits]
        )
        self.network, self.buffers, self.synthetic = network, buffers, synthetic
        self.augment, self.rows, self.seed = augment, rows, seed

    def loss(self, t: int, weights: list[Tensor]) -> Tensor:
        """Return the mean loss over the batch of step t."""
        images, targets = self._batch(t)
        with uncached_autocast(images.device):
            return self.network.loss(self.network.eager(self._with(weights), images), targets)

    def gradient(self, t: int, weights: list[Tensor]) -> list[Tensor]:
        """Return the gradient by the weights, compiled where the network is."""
        with torch.no_grad():
            images, targets = self._batch(t)
        return loss_gradient(self.network, self._with(weights), images, targets)

    def mixed(
        self, t: int, weights: list[Tensor], directions: list[Tensor]
    ) -> tuple[Sequence[Tensor | None], Sequence[Tensor | None]]:
        """Return the mixed derivatives, continued through augmentation and softmax."""
        images, targets = self._batch(t)
        by_weights, *by_batch = mixed_derivative(self.network, self._with(weights), images, targets, directions)
        batch = [(b, g) for b, g in zip((images, targets), by_batch, strict=False) if b.requires_grad and g is not None]
        outputs, gradients = zip(*batch, strict=True)
        return by_weights, torch.autograd.grad(outputs, self.inputs, gradients)

    def _batch(self, t: int) -> tuple[Tensor, Tensor]:
        torch.manual_seed(derive_seed(self.seed, "inner", t))
        rows = self.rows[t]
        return self.augment.plain(self.synthetic.decoded()[rows]), self.synthetic.targets()[rows]

    def _with(self, weights: list[Tensor]) -> Parameters:
        return self.buffers | dict(zip(self.network.weight_names, weights, strict=True))
