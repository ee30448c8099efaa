"""Gradient matching: DC, and DSA, which is DC with differentiable siamese augmentation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_distill.data import ArrayDataModule
from lightning_distill.distillers.base import Distiller
from lightning_distill.distillers.checks import refuse_unknown_distance
from lightning_distill.distillers.loops import loops
from lightning_distill.functional import descend, loss_gradient
from lightning_distill.objectives import Distance, gradient_distance


class DCDistiller(Distiller):
    """DC: a network's loss has the same gradient on synthetic as on real images of a class, while it learns from them.

    ``outer`` image steps are taken on one network, which is trained on the set for ``inner`` epochs after each but the
    last; then comes a fresh one. The papers run 1,001 networks: ``Trainer(max_steps=1001 * outer)``.

    Args:
        ipc: images per class, one number or one for each class.
        lr: of the images' SGD.
        start: how the images begin, see `Distiller`; noise in the paper.
        augmentation: of matching and inner training; none in the paper.
        distance: ``rowwise`` (the paper's), ``mse`` or ``cosine``, see `objectives.gradient_distance`.
        collective: match one gradient of all classes together (DCC, DSAC), which helps classes that look alike.
        outer: image steps on one network; ``None`` takes the papers' for this ipc, see `loops.loops`.
        inner: epochs of the network's training between two image steps; ``None`` takes the papers'.
        network_lr: of the plain SGD that trains the network.
        options: the rest of `Distiller`'s arguments.

    Reference:
        Zhao, Mopuri, Bilen: Dataset Condensation with Gradient Matching, ICLR 2021, arXiv 2006.05929.
        Lee et al.: Dataset Condensation with Contrastive Signals, ICML 2022, arXiv 2202.02916 (``collective``).
    """

    def __init__(
        self,
        ipc: int | list[int] = 10,
        lr: float = 0.1,
        start: str = "noise",
        augmentation: str | None = "none",
        distance: Distance = "rowwise",
        collective: bool = False,
        outer: int | None = None,
        inner: int | None = None,
        network_lr: float = 0.01,
        **options: Any,
    ) -> None:
        super().__init__(ipc=ipc, lr=lr, start=start, augmentation=augmentation, **options)
        refuse_unknown_distance(distance)
        self.outer, self.inner = loops(ipc, outer, inner)

    def passes(self, datamodule: ArrayDataModule) -> dict[int, int]:
        """Real gradients and inner epochs go in chunks: of what a CPU's cache holds, or of everything on a GPU."""
        on_cpu, b, n = self.trainer.strategy.root_device.type == "cpu", datamodule.real_per_class, len(self.synthetic)
        self.chunk = min(32, b) if on_cpu else max(b, 256)
        real, inner = 3 * datamodule.spec.num_classes * b, 3 * self.inner * n
        sizes = min(self.chunk, b), min(self.chunk, n)
        return {sizes[0]: real, sizes[1]: inner} if sizes[0] != sizes[1] else {sizes[0]: real + inner}

    def losses(self, x: Tensor, y: Tensor) -> Iterator[Tensor]:
        """One distance of gradients for each class, or one for all classes together."""
        if self.global_step % self.outer == 0:
            self.memory = self.network.fresh(self.device)
        if self.network.batch_norm:  # statistics of 16 real images a class, then frozen: a single image has none
            self.network.train()
            with torch.no_grad():
                self.network(self.memory, torch.cat([x[y == label][:16] for label in y.unique()]))
            self.network.train(False)
        everything = range(self.synthetic.spec.num_classes)
        if not self.hparams["collective"]:
            yield from (self._match(x, y, [label]) for label in self.classes())
        elif self.global_rank == 0:
            yield self._match(x, y, everything)

    def _match(self, x: Tensor, y: Tensor, classes: Sequence[int]) -> Tensor:
        pairs = [self.augment(x[y == label], self.synthetic.of_class(label)) for label in classes]
        real, synthetic = (torch.cat([pair[side] for pair in pairs]) for side in (0, 1))
        of_real, of_synthetic = (t[torch.isin(t, t.new_tensor(list(classes)))] for t in (y, self.synthetic.labels))
        a = loss_gradient(self.network, self.memory, real, of_real, chunk=self.chunk)
        b = loss_gradient(self.network, self.memory, synthetic, of_synthetic, twice=True)
        return gradient_distance(a, b, self.hparams["distance"])

    def after_step(self, x: Tensor, y: Tensor) -> None:
        """Train the network on the set, unless it has served."""
        if self.global_step % self.outer == 0:  # the step is counted already
            return
        sgd = torch.optim.SGD(self.network.trainable(self.memory), lr=self.hparams["network_lr"])
        images, labels = self.synthetic.images.detach(), self.synthetic.labels
        chunk = None if self.network.batch_norm else self.chunk
        self.network.train()
        for _ in range(self.inner):
            for rows in torch.randperm(len(labels)).split(256):
                descend(self.network, self.memory, sgd, self.augment.plain(images[rows]), labels[rows], chunk)


class DSADistiller(DCDistiller):
    """DSA: DC whose matching sees both images through one random transformation, and whose network trains on more.

    Args:
        ipc: images per class, one number or one for each class.
        lr: of the images' SGD.
        start: how the images begin, see `Distiller`; real images in the paper.
        augmentation: a preset of `augment.PRESETS`; ``None`` takes the data set's.
        options: the rest of `DCDistiller`'s and `Distiller`'s arguments.

    Reference:
        Zhao, Bilen: Dataset Condensation with Differentiable Siamese Augmentation, ICML 2021, arXiv 2102.08259.
    """

    def __init__(
        self,
        ipc: int | list[int] = 10,
        lr: float = 0.1,
        start: str = "real",
        augmentation: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(ipc=ipc, lr=lr, start=start, augmentation=augmentation, **options)
