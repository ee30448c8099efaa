"""Gradient matching: DC, and DSA, which is DC with differentiable siamese augmentation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from lightning_distill.data import ArrayDataModule
from lightning_distill.distillers._validation import refuse_unknown_distance
from lightning_distill.distillers.base import Distiller
from lightning_distill.distillers.dc_loops import default_loops
from lightning_distill.distillers.real_batch import RealBatch
from lightning_distill.functional.gradients import loss_gradient, mixed_derivative, optimizer_step
from lightning_distill.functional.unroll import scalar_with_gradient
from lightning_distill.objectives import Distance, gradient_distance


class DCDistiller(Distiller):
    """DC: a network's loss has the same gradient on synthetic as on real images of a class, while it learns from them.

    ``outer_loop`` image steps are taken on one network, which is trained on the set for ``inner_loop`` epochs after each but the
    last; then comes a fresh one. The papers run 1,001 networks: ``Trainer(max_steps=1001 * outer_loop)``.

    Args:
        ipc: images per class, one number or one for each class.
        lr: of the images' SGD.
        init: how the images begin, see `Distiller`; noise in the paper.
        augmentation: of matching and inner training; none in the paper.
        distance: ``rowwise`` (the paper's), ``mse`` or ``cosine``, see `objectives.gradient_distance`.
        collective: match one gradient of all classes together (DCC, DSAC), which helps classes that look alike.
        outer_loop: image steps on one network; ``None`` takes the papers' for this ipc, see `loops.loops`.
        inner_loop: epochs of the network's training between two image steps; ``None`` takes the papers'.
        network_lr: of the plain SGD that trains the network.
        gradient_precision: of the gradients that are matched, ``32-true`` or ``bf16-mixed``; ``None`` takes the
            trainer's, which the network's training always has.
        options: the rest of `Distiller`'s arguments.

    Reference:
        Zhao, Mopuri, Bilen: Dataset Condensation with Gradient Matching, ICLR 2021, arXiv 2006.05929.
        Lee et al.: Dataset Condensation with Contrastive Signals, ICML 2022, arXiv 2202.02916 (``collective``).
    """

    def __init__(
        self,
        ipc: int | list[int] = 10,
        lr: float = 0.1,
        init: str = "noise",
        augmentation: str | None = "none",
        distance: Distance = "rowwise",
        collective: bool = False,
        outer_loop: int | None = None,
        inner_loop: int | None = None,
        network_lr: float = 0.01,
        gradient_precision: Literal["32-true", "bf16-mixed"] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(ipc=ipc, lr=lr, init=init, augmentation=augmentation, **options)
        refuse_unknown_distance(distance)
        self.outer_loop, self.inner_loop = default_loops(ipc, outer_loop, inner_loop)

    def passes(self, datamodule: ArrayDataModule) -> dict[int, int]:
        """Real gradients, synthetic gradients and the way back through them, inner epochs."""
        classes, real, synthetic = len(self.synthetic.counts), datamodule.real_per_class, max(self.synthetic.counts)
        sizes = ((real, 3 * classes * real), (synthetic, 9 * classes * synthetic))
        found: dict[int, int] = {}
        for size, images in (*sizes, (min(len(self.synthetic), 256), 3 * self.inner_loop * len(self.synthetic))):
            found[size] = found.get(size, 0) + images
        return found

    def losses(self, real: RealBatch) -> Iterator[Tensor]:
        """One distance of gradients for each class, or one for all classes together."""
        if self.global_step % self.outer_loop == 0:
            self.extra_state = self.network.init_params(self.device)
        everything = range(len(self.synthetic.counts))
        if self.network.batch_norm:  # statistics of 16 real images a class, then frozen: a single image has none
            self.network.train()
            with torch.no_grad():
                self.network(self.extra_state, real.of_classes(everything, first=16))
            self.network.train(False)
        if not self.hparams["collective"]:
            yield from (self._match(real, [label]) for label in self.classes())
        elif self.global_rank == 0:
            yield self._match(real, everything)

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
            distance = gradient_distance(a, b, self.hparams["distance"])
            directions = [torch.zeros_like(g) if v is None else v for g, v in
                          zip(b, torch.autograd.grad(distance, b, allow_unused=True), strict=True)]  # fmt: skip
            _, by_images, _ = mixed_derivative(self.network, self.extra_state, s.detach(), of_s, directions)
        return scalar_with_gradient(distance, [s], [by_images])

    def _precision(self) -> torch.autocast:
        kind, asked = self.device.type, self.hparams["gradient_precision"]
        on = torch.is_autocast_enabled(kind) if asked is None else asked == "bf16-mixed"
        return torch.autocast(kind, dtype=torch.bfloat16, enabled=on)

    def after_step(self, real: RealBatch) -> None:
        """Train the network on the set, unless it has served."""
        if self.global_step % self.outer_loop == 0:  # the step is counted already
            return
        sgd = torch.optim.SGD(self.network.require_grad(self.extra_state), lr=self.hparams["network_lr"])
        images, targets = self.synthetic.images.detach(), self.synthetic.targets()
        self.network.train()
        for _ in range(self.inner_loop):
            for rows in torch.randperm(len(targets)).split(256):
                optimizer_step(self.network, self.extra_state, sgd, self.augment.plain(images[rows]), targets[rows])


class DSADistiller(DCDistiller):
    """DSA: DC whose matching sees both images through one random transformation, and whose network trains on more.

    Args:
        ipc: images per class, one number or one for each class.
        lr: of the images' SGD.
        init: how the images begin, see `Distiller`; real images in the paper.
        augmentation: a preset of `presets.PRESETS`; ``None`` takes the data set's.
        options: the rest of `DCDistiller`'s and `Distiller`'s arguments.

    Reference:
        Zhao, Bilen: Dataset Condensation with Differentiable Siamese Augmentation, ICML 2021, arXiv 2102.08259.
    """

    def __init__(
        self,
        ipc: int | list[int] = 10,
        lr: float = 0.1,
        init: str = "real",
        augmentation: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(ipc=ipc, lr=lr, init=init, augmentation=augmentation, **options)
