"""Improved distribution matching."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from lightning_distill.data import ArrayDataModule
from lightning_distill.distillers._options import IDMOptions, Unpack
from lightning_distill.distillers.dm import DMDistiller
from lightning_distill.distillers.network_queue import NetworkQueue
from lightning_distill.distillers.real_batch import RealBatch
from lightning_distill.functional.network import Parameters
from lightning_distill.utils.rng import derive_seed

#: Batch size of the training of the networks, and the number of networks at the start of a run.
BATCH_SIZE, FIRST_NETWORKS = 256, 3


class IDMDistiller(DMDistiller):
    r"""IDM: match embeddings in networks from a queue that are trained on real images meanwhile, with a class term.

    Every step draws one network of the queue. The loss of a class c with synthetic images :math:`s_m` is

    .. math:: \bigl\| \tfrac1B \sum_b \psi(x_b) - \tfrac1M \sum_m \psi(s_m) \bigr\|^2
        + \lambda \cdot 100\,a \cdot \tfrac1M \sum_m \mathrm{CE}(s_m, c)

    with a the network's accuracy on its latest training batch. After the step, ``trained_networks`` networks of the
    queue take ``train_steps`` SGD steps each (momentum 0.9, weight decay 5e-4), and every ``push_every`` steps a new
    random network joins the queue.

    The paper's code trains on batches of the natural class ratio, and steps the images class by class; here batches are
    balanced, and the classes take one step together. The paper stores several small images in one: ``formation=2``.

    Args:
        ipc: Images per class, one number or one for each class.
        lr: Learning rate of the SGD optimizer for the synthetic images, in normalised units; ``None`` takes that of the
            preset: 1 by default, and 0.2 with ``preset="paper"``.
        ce_weight: Weight of the cross-entropy, the paper's 0.1 to 0.8; 0 leaves it out.
        queue_size: Largest number of networks in the queue; each is kept in memory and in the checkpoint.
        push_every: Number of steps between two new networks; the paper has 30, and 5 for one image per class.
        trained_networks: Number of networks that are trained after each step.
        train_steps: Number of SGD steps of each of them.
        network_lr: Learning rate of the SGD optimizer of the networks.
        options: Other arguments of `DMDistiller` and `Distiller`.

    Raises:
        ValueError: A number is out of range.

    Example:
        >>> IDMDistiller(ipc=10, network="convnet_w16").queue_size
        100

    Reference:
        Zhao, Li, Qin, Yu: Improved Distribution Matching for Dataset Condensation, CVPR 2023, arXiv 2307.09742.
    """

    fixed_args: ClassVar[list[str]] = ["pool", "pool_images", "signals"]

    def __init__(
        self,
        ipc: int | list[int] = 10,
        *,
        lr: float | None = None,
        ce_weight: float = 0.5,
        queue_size: int = 100,
        push_every: int = 30,
        trained_networks: int = 2,
        train_steps: int = 10,
        network_lr: float = 0.01,
        **options: Unpack[IDMOptions],
    ) -> None:
        super().__init__(ipc=ipc, lr=lr, pool=None, pool_images="batch", signals=None, **options)
        counts = {"queue_size": queue_size, "push_every": push_every, "train_steps": train_steps}
        for name, value in (counts | {"trained_networks": trained_networks}).items():
            if value < 1:
                raise ValueError(f"{name}={value}; it must be at least 1")
        if not ce_weight >= 0:
            raise ValueError(f"ce_weight={ce_weight}; it must be at least 0 (0 leaves the cross-entropy out)")
        self.ce_weight, self.queue_size, self.push_every = ce_weight, queue_size, push_every
        self.trained_networks, self.train_steps, self.network_lr = trained_networks, train_steps, network_lr

    def configure_network(self, datamodule: ArrayDataModule, batch_sizes: Sequence[int] | None = None) -> None:
        """Build the network, padded to the images of a class and to the batches of its training."""
        real = datamodule.real_per_class
        batch = min(BATCH_SIZE, real * len(datamodule.spec.balance_groups))
        super().configure_network(datamodule, batch_sizes or [max(self.synthetic.counts), real, batch])

    def losses(self, real: RealBatch) -> Iterator[Tensor]:
        """Yield the distances of embeddings, and the weighted cross-entropies of the synthetic images."""
        if self.global_step == 0:
            self.extra_state = {}
            for _ in range(min(FIRST_NETWORKS, self.queue_size)):
                self._push()
        yield from super().losses(real)
        number = self._drawn()
        weight = self.ce_weight * 100 * NetworkQueue(self.extra_state).accuracy(number)
        if weight == 0:
            return
        parameters = self.surrogate()
        for labels in self.class_groups(self.synthetic.counts):
            counts = torch.tensor([self.synthetic.counts[label] for label in labels], device=self.device)
            targets = real.spec.targets(torch.tensor(labels, device=self.device).repeat_interleave(counts))
            logits = self.network(parameters, self.augmented(labels))
            yield weight * (self.network.loss(logits, targets, "none") / counts.repeat_interleave(counts)).sum()

    def surrogate(self) -> Parameters:
        """Return the parameters of the network that this step draws from the queue, without their gradients."""
        return {key: tensor.clone() for key, tensor in NetworkQueue(self.extra_state).weights(self._drawn()).items()}

    def after_step(self, real: RealBatch) -> None:
        """Train networks of the queue on real images, and let a new one join."""
        queue, spec = NetworkQueue(self.extra_state), real.spec
        labels = torch.arange(len(spec.balance_groups), device=self.device).repeat_interleave(real.per_class)
        numbers = queue.numbers
        for index in torch.randperm(len(numbers))[: self.trained_networks].tolist():
            rows = [torch.randperm(len(labels))[:BATCH_SIZE].to(self.device) for _ in range(self.train_steps)]
            batches = [(spec.normalize(real.pixels[r]), spec.targets(labels[r])) for r in rows]
            queue.train(numbers[index], self.network, batches, spec.task, lr=self.network_lr)
        if self.global_step % self.push_every == 0:  # global_step includes this step
            self._push()

    def _push(self) -> None:
        parameters = self.network.init_params(self.device)
        NetworkQueue(self.extra_state).push(parameters, self.network, self.queue_size)

    def _drawn(self) -> int:
        numbers = NetworkQueue(self.extra_state).numbers
        return numbers[derive_seed(self.seed, self.global_step, "network") % len(numbers)]
