"""Gradient matching: DC, and DSA, which is DC with differentiable siamese augmentation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from lightning_distill.data import ArrayDataModule
from lightning_distill.distillers._options import DistillerOptions, DSAOptions, Unpack
from lightning_distill.distillers.base import Distiller
from lightning_distill.distillers.real_batch import RealBatch
from lightning_distill.functional.gradients import loss_gradient, mixed_derivative, optimizer_step
from lightning_distill.functional.unroll import scalar_with_gradient
from lightning_distill.objectives import Distance, gradient_distance

#: Batch size of the training of the network.
BATCH_SIZE = 256
#: The papers' values: ipc: (image steps per network, training epochs of the network after each step but the last).
LOOPS = {1: (1, 1), 10: (10, 50), 20: (20, 25), 30: (30, 20), 40: (40, 15), 50: (50, 10)}


def default_loops(
    ipc: int | Sequence[int], outer_loop: int | None = None, inner_loop: int | None = None
) -> tuple[int, int]:
    """Return the papers' loop counts for the listed ipc, linear interpolation between, and the last ones above 50.

    With one image step per network (ipc 1) the network is never trained, and ``inner_loop`` has no effect.

    Args:
        ipc: Images per class; the largest number of a list counts.
        outer_loop: Image steps per network; ``None`` takes the papers'.
        inner_loop: Training epochs of the network between image steps; ``None`` takes the papers'.

    Returns:
        The pair ``(outer_loop, inner_loop)``.

    Raises:
        ValueError: A number is below 1.

    >>> default_loops(10), default_loops(5), default_loops(35), default_loops(100), default_loops(10, outer_loop=2)
    ((10, 50), (5, 23), (35, 18), (50, 10), (2, 50))
    """
    for name, value in (("outer_loop", outer_loop), ("inner_loop", inner_loop)):
        if value is not None and value < 1:
            raise ValueError(f"{name}={value}; it must be at least 1, or null for the papers' number")
    outer, inner = _interpolate(ipc if isinstance(ipc, int) else max(ipc))
    return outer_loop or outer, inner_loop or inner


def _interpolate(ipc: int) -> tuple[int, int]:
    for low, high in pairwise(LOOPS):
        if low <= ipc <= high:
            share = (ipc - low) / (high - low)
            first, second = (round(a + share * (b - a)) for a, b in zip(LOOPS[low], LOOPS[high], strict=True))
            return first, second
    return LOOPS[max(LOOPS)] if ipc > 0 else LOOPS[1]


class DCDistiller(Distiller):
    """DC: match the gradients of a network's loss on real and synthetic images of a class while the network trains.

    The images take ``outer_loop`` steps on one network, which is trained on the set for ``inner_loop`` epochs after
    each step but the last; then a new network follows. The papers use 1,001 networks, which is
    ``Trainer(max_steps=1001 * outer_loop)``.

    Args:
        ipc: Images per class, one number or one for each class.
        lr: Learning rate of the SGD optimizer for the synthetic images, in normalised units; ``None`` takes that of the
            preset: proportional to the pixels of an image by default, and 0.1 with ``preset="paper"``.
        init: Initialisation of the images: ``real``, ``noise``, ``kmeans``, ``herding`` or ``kcenter``; ``None`` takes
            that of the preset: ``real`` by default, and ``noise`` with ``preset="paper"``.
        augmentation: Preset of `augmentation.presets.PRESETS` for matching and for training the network; ``none`` in
            the paper, and ``None`` takes the data set's.
        distance: Distance of gradients: ``rowwise`` (the paper's), ``mse`` or ``cosine``, see
            `objectives.gradient_distance`.
        collective: Whether to match one gradient of all classes together (DCC, DSAC), which helps similar classes.
        outer_loop: Image steps per network; ``None`` takes the papers' number for this ipc, see `default_loops`.
        inner_loop: Training epochs of the network between image steps; ``None`` takes the papers' number.
        network_lr: Learning rate of the plain SGD that trains the network.
        gradient_precision: Precision of the matched gradients: ``32-true`` or ``bf16-mixed``; ``None`` takes the
            trainer's, which the training of the network always has.
        options: Other arguments of `Distiller`.

    Raises:
        ValueError: ``outer_loop`` or ``inner_loop`` is below 1.

    Example:
        >>> distiller = DCDistiller(ipc=10, network="convnet_w16")
        >>> distiller.outer_loop, distiller.inner_loop
        (10, 50)

    Reference:
        Zhao, Mopuri, Bilen: Dataset Condensation with Gradient Matching, ICLR 2021, arXiv 2006.05929.
        Lee et al.: Dataset Condensation with Contrastive Signals, ICML 2022, arXiv 2202.02916 (``collective``).
    """

    def __init__(
        self,
        ipc: int | list[int] = 10,
        *,
        lr: float | None = None,
        init: str | None = None,
        augmentation: str | None = "none",
        distance: Distance = "rowwise",
        collective: bool = False,
        outer_loop: int | None = None,
        inner_loop: int | None = None,
        network_lr: float = 0.01,
        gradient_precision: Literal["32-true", "bf16-mixed"] | None = None,
        **options: Unpack[DistillerOptions],
    ) -> None:
        super().__init__(ipc=ipc, lr=lr, init=init, augmentation=augmentation, **options)
        self.distance, self.collective = distance, collective
        self.network_lr, self.gradient_precision = network_lr, gradient_precision
        self.outer_loop, self.inner_loop = default_loops(ipc, outer_loop, inner_loop)

    @property
    def set_passes(self) -> int:
        """Passes of the set in a step: one, and one for each epoch of the network's training."""
        return 1 + self.inner_loop * (self.outer_loop > 1)

    def configure_network(self, datamodule: ArrayDataModule, batch_sizes: Sequence[int] | None = None) -> None:
        """Build the network, padded to the real and synthetic images of a class and to batches of its training."""
        sizes = [datamodule.real_per_class, max(self.synthetic.counts), min(sum(self.synthetic.counts), BATCH_SIZE)]
        super().configure_network(datamodule, batch_sizes or sizes)

    def losses(self, real: RealBatch) -> Iterator[Tensor]:
        """Yield one distance of gradients for each class, or one for all classes together."""
        if self.global_step % self.outer_loop == 0:
            self.extra_state = self.network.init_params(self.device)
        every_class = range(len(self.synthetic.counts))
        if self.network.batch_norm:  # statistics of 16 real images a class, then frozen: a single image has none
            self.network.train()
            with torch.no_grad():
                self.network(self.extra_state, real.of_classes(every_class, first=16))
            self.network.train(False)
        if not self.collective:
            yield from (self._match(real, [label]) for label in self.classes())
        elif self.global_rank == 0:
            yield self._match(real, every_class)

    def _match(self, real: RealBatch, labels: Sequence[int]) -> Tensor:
        device, seeds, counts = (
            self.device,
            self.class_seeds(labels),
            [self.synthetic.counts[label] for label in labels],
        )
        x = self.augment.of_classes(real.of_classes(labels), [real.per_class] * len(labels), seeds)
        images = torch.cat([self.synthetic.of_class(label) for label in labels])
        s = self.augment.of_classes(images, counts, seeds)
        of_x, of_s = (real.spec.targets(torch.tensor(labels, device=device).repeat_interleave(
                      torch.tensor(n, device=device))) for n in (real.per_class, counts))  # fmt: skip
        with self._precision():
            a, b = (loss_gradient(self.network, self.extra_state, i.detach(), y) for i, y in ((x, of_x), (s, of_s)))
            b = [gradient.requires_grad_() for gradient in b]
            distance = gradient_distance(a, b, self.distance)
            directions = [torch.zeros_like(g) if v is None else v for g, v in
                          zip(b, torch.autograd.grad(distance, b, allow_unused=True), strict=True)]  # fmt: skip
            _, by_images, _ = mixed_derivative(self.network, self.extra_state, s.detach(), of_s, directions)
        return scalar_with_gradient(distance, [s], [by_images])

    def _precision(self) -> torch.autocast:
        kind, requested = self.device.type, self.gradient_precision
        on = torch.is_autocast_enabled(kind) if requested is None else requested == "bf16-mixed"
        return torch.autocast(kind, dtype=torch.bfloat16, enabled=on)

    def after_step(self, real: RealBatch) -> None:
        """Train the network on the set, unless a new network follows."""
        if self.global_step % self.outer_loop == 0:  # global_step includes this step
            return
        sgd = torch.optim.SGD(self.network.require_grad(self.extra_state), lr=self.network_lr)
        images, targets = self.synthetic.decoded().detach(), self.synthetic.targets()
        self.network.train()
        for _ in range(self.inner_loop):
            for rows in torch.randperm(len(targets)).split(BATCH_SIZE):
                optimizer_step(self.network, self.extra_state, sgd, self.augment.plain(images[rows]), targets[rows])


class DSADistiller(DCDistiller):
    """DSA: DC with one random transformation shared by the real and synthetic images of a class.

    The network is trained with the same augmentation.

    Args:
        ipc: Images per class, one number or one for each class.
        lr: Learning rate of the SGD optimizer for the synthetic images, in normalised units; ``None`` takes that of the
            preset: proportional to the pixels of an image by default, and 0.1 with ``preset="paper"``.
        init: Initialisation of the images: ``real``, ``noise``, ``kmeans``, ``herding`` or ``kcenter``; ``None`` takes
            that of the preset, ``real``.
        augmentation: Preset of `augmentation.presets.PRESETS`; ``None`` takes the data set's.
        options: Other arguments of `DCDistiller` and `Distiller`.

    Example:
        >>> DSADistiller(ipc=1, network="convnet_w16").init
        'real'

    Reference:
        Zhao, Bilen: Dataset Condensation with Differentiable Siamese Augmentation, ICML 2021, arXiv 2102.08259.
    """

    def __init__(
        self,
        ipc: int | list[int] = 10,
        *,
        lr: float | None = None,
        init: str | None = None,
        augmentation: str | None = None,
        **options: Unpack[DSAOptions],
    ) -> None:
        super().__init__(ipc=ipc, lr=lr, init=init, augmentation=augmentation, **options)
