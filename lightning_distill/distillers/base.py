"""The base of every method: it owns everything but the loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Literal, cast

import torch
from lightning import LightningDataModule, LightningModule
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler

from lightning_distill.augment import SiameseAugmentation
from lightning_distill.data import ArrayDataModule
from lightning_distill.functional import CompileMode, Stateless, count_flops
from lightning_distill.isolation import derive_seed, sandbox
from lightning_distill.networks import check_network, create_network
from lightning_distill.spec import DataSpec
from lightning_distill.synthetic import SmallClass, SyntheticSet


class Distiller(LightningModule, ABC):
    """A distillation method: a LightningModule whose only parameters are the synthetic images.

    A method fills in `losses`, and where it must `after_step` and `start`. Step k draws from (seed, k) alone, so a
    resumed run is the run it resumes. Scores come from `StudentEvaluation`, in Lightning's own validation loop.

    Args:
        ipc: images per class, one number or one for each class.
        lr: learning rate of the images (SGD, normalised space).
        momentum: of the same SGD.
        init: how the images begin: ``real``, ``noise``, ``kmeans``, ``herding`` or ``kcenter``.
        network: the surrogate, by our names or timm's.
        augmentation: a preset of `augment.PRESETS`; ``None`` takes the data set's.
        seed: of everything drawn.
        on_small_class: where a class has fewer images than its ipc: ``error``, ``fewer`` or ``repeat``.
        gradient_clip: largest norm of the gradient of all images; ``None`` does not clip.
        lr_schedule: ``constant`` or ``cosine`` (to zero at ``Trainer(max_steps)``).
        compile: ``auto``, ``off`` or ``max``, see `functional.Stateless`.

    Raises:
        ValueError: unknown names, ipc below one, data a single-label method cannot use.
        FloatingPointError: the loss is not finite; the step is named and the last checkpoint stays.
    """

    synthetic: SyntheticSet

    def __init__(
        self,
        ipc: int | list[int] = 10,
        lr: float = 1.0,
        momentum: float = 0.5,
        init: str = "real",
        network: str = "convnet",
        augmentation: str | None = None,
        seed: int = 0,
        on_small_class: SmallClass = "error",
        gradient_clip: float | None = None,
        lr_schedule: Literal["constant", "cosine"] = "constant",
        compile: CompileMode = "auto",
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.automatic_optimization = False  # global_step then counts the steps of the one optimizer, the images'
        if min([ipc] if isinstance(ipc, int) else ipc) < 1:
            raise ValueError(f"ipc={ipc}; every class needs at least 1 image")
        check_network(network)

    @abstractmethod
    def losses(self, x: Tensor, y: Tensor) -> Iterator[Tensor]:
        """Yield scalar losses; each is differentiated before the next is asked for, so one graph is alive at a time.

        Args:
            x: normalised real images ``(K * B, C, H, W)``, B of every class.
            y: their labels ``(K * B,)``.
        """

    def after_step(self, x: Tensor, y: Tensor) -> None:
        """What comes after the images' step, e.g. training an online network. Same arguments as `losses`."""

    def start(self, datamodule: ArrayDataModule) -> SyntheticSet:
        """The set to begin with."""
        hp, (images, labels) = self.hparams, datamodule.train_arrays()
        return SyntheticSet.begin(images, labels, datamodule.spec, hp.ipc, hp.init, hp.seed, hp.on_small_class)

    def classes(self) -> Iterator[int]:
        """The classes of this rank, each with a random stream of its own: which rank has it changes nothing."""
        for label in range(self.global_rank, self.synthetic.spec.num_classes, self.trainer.world_size):
            torch.manual_seed(derive_seed(self.hparams.seed, self.global_step, label))
            yield label

    def setup(self, stage: str) -> None:
        """Find shape, classes and statistics in the data, and make the set unless a checkpoint brought it."""
        datamodule = data_of(self.trainer.datamodule)  # type: ignore[attr-defined]
        spec = datamodule.spec
        if spec.task == "multi-label":
            raise ValueError(f"{spec.name} is multi-label; {type(self).__name__} matches one class at a time")
        if "16" in str(self.trainer.precision) and "bf16" not in str(self.trainer.precision):
            raise ValueError(f"precision={self.trainer.precision} underflows small gradients; use bf16-mixed")
        if not hasattr(self, "synthetic"):
            self.synthetic = self.start(datamodule)
        elif (self.synthetic.spec.shape, self.synthetic.spec.class_names) != (spec.shape, spec.class_names):
            raise ValueError(f"this set stands for {self.synthetic.spec.name}, not {spec.name}; make a new distiller")
        if stage == "fit":
            self.prepare(datamodule)

    def prepare(self, datamodule: ArrayDataModule) -> None:
        """Build the surrogate network and the augmentation for this data; nothing here is checkpointed."""
        hp, spec = self.hparams, datamodule.spec
        build = partial(create_network, hp.network, spec.shape[0], spec.num_classes, spec.shape[1:])
        rows = spec.num_classes * (datamodule.real_per_class + 3 * max(self.synthetic.counts))  # backward costs twice
        flops = max(self.trainer.max_steps, 0) * rows * count_flops(build, spec.shape)
        sizes = (max(self.synthetic.counts), datamodule.real_per_class)
        self.network = Stateless(build, flops=flops, compile=hp.compile, sizes=sizes)
        self.augment = SiameseAugmentation(hp.augmentation or spec.augmentation, spec.shape[1:])

    def training_step(self, batch: Sequence[Tensor], batch_idx: int) -> None:
        """Differentiate every loss, add up, step once."""
        x, y = self.synthetic.spec.normalize(batch[0]), batch[1]
        images, step = list(self.synthetic.parameters()), self.global_step
        optimizer = cast(torch.optim.Optimizer, self.optimizers())
        gradients, total = [torch.zeros_like(p) for p in images], torch.zeros((), device=self.device)
        with sandbox(derive_seed(self.hparams.seed, step)):
            for loss in self.losses(x, y):
                for sum_, gradient in zip(gradients, torch.autograd.grad(loss, images), strict=True):
                    sum_ += gradient
                total += loss.detach()
        total = cast(Tensor, self.trainer.strategy.reduce(total, reduce_op="sum"))
        if not total.isfinite():
            raise FloatingPointError(f"distill/loss is {total.item()} at step {step}; lower lr={self.hparams.lr}")
        # One backward for all losses is one all-reduce; DDP averages over ranks, the objective is a sum.
        optimizer.zero_grad()
        linear = sum((p * g).sum() for p, g in zip(images, gradients, strict=True))
        self.manual_backward(linear * self.trainer.world_size)
        if self.hparams.gradient_clip is not None:
            nn.utils.clip_grad_norm_(images, self.hparams.gradient_clip)
        optimizer.step()
        cast(LRScheduler, self.lr_schedulers()).step()
        with sandbox(derive_seed(self.hparams.seed, step, "after")):
            self.after_step(x, y)
        self.log("distill/loss", total, prog_bar=True)

    def validation_step(self, batch: Sequence[Tensor], batch_idx: int) -> None:
        """Nothing: validating is training students, which `StudentEvaluation` does."""

    test_step = validation_step

    def configure_optimizers(self) -> tuple[list[torch.optim.Optimizer], list[LRScheduler]]:
        """SGD over the set, and its schedule."""
        hp, steps = self.hparams, max(self.trainer.max_steps, 1)
        sgd = torch.optim.SGD(self.synthetic.parameters(), lr=hp.lr, momentum=hp.momentum)
        constant = torch.optim.lr_scheduler.ConstantLR(sgd, 1.0, 0)
        return [sgd], [CosineAnnealingLR(sgd, steps) if hp.lr_schedule == "cosine" else constant]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what the set stands for: with it, the checkpoint alone makes the set again."""
        checkpoint["spec"] = self.synthetic.spec.to_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Make room for the checkpoint's images when no data module has."""
        if not hasattr(self, "synthetic"):
            labels = checkpoint["state_dict"]["synthetic.labels"]
            self.synthetic = SyntheticSet(labels.cpu(), DataSpec.from_dict(checkpoint["spec"]))


def data_of(datamodule: LightningDataModule | None) -> ArrayDataModule:
    """The trainer's data module, if a distiller can draw from it; a TypeError that says how to wrap it if not."""
    if isinstance(datamodule, ArrayDataModule):
        return datamodule
    raise TypeError(
        f"a distiller draws class-balanced batches; {type(datamodule).__name__} gives none. "
        "Use fit(model, datamodule=BalancedDataModule(your_datamodule))"
    )
