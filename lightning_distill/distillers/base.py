"""The base of every method: it owns everything but the loss."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from lightning_distill._renamed import RenamedArguments
from lightning_distill.augmentation.siamese import SiameseAugmentation
from lightning_distill.data import ArrayDataModule, require_array_datamodule
from lightning_distill.distillers._checkpoint import CheckpointMixin
from lightning_distill.distillers._sharding import ClassShardingMixin
from lightning_distill.distillers._validation import (
    log_performance_hints,
    validate_data,
    validate_finite,
    validate_options,
)
from lightning_distill.distillers.real_batch import RealBatch
from lightning_distill.functional.build import build_functional_network
from lightning_distill.functional.chunking import retry_with_smaller_chunk
from lightning_distill.functional.compile import CompileMode
from lightning_distill.functional.gradients import accumulate_gradients
from lightning_distill.sets.coresets import Ratio
from lightning_distill.sets.synthetic import SmallClass, SyntheticSet
from lightning_distill.utils.rng import derive_seed, isolated_rng


class Distiller(ClassShardingMixin, CheckpointMixin, RenamedArguments, ABC):
    """A distillation method: a LightningModule whose only parameters are the synthetic images.

    A method fills in `losses`, where it must `after_step` and `init`. Step k draws from (seed, k) alone.

    Args:
        ipc: images per class, one number or one for each class.
        class_ratio: ``balanced``, or ``natural``: as many images in all, in the ratio of the real classes.
        lr: of the images' SGD, in normalised space.
        momentum: of the same.
        init: how the images begin: ``real``, ``noise``, ``kmeans``, ``herding`` or ``kcenter``.
        network: the surrogate, by our names or timm's.
        augmentation: a preset of `presets.PRESETS`; ``None`` takes the data set's.
        seed: of everything drawn.
        on_small_class: where a class has fewer images than ipc: ``error``, ``fewer`` or ``repeat``.
        gradient_clip: largest norm of the gradient of all images; ``None`` does not clip.
        lr_schedule: ``constant`` or ``cosine`` (to zero at ``Trainer(max_steps)``).
        compile: ``auto``, ``off`` or ``max``, see `functional.FunctionalNetwork`.
        chunk: images that go through a network at once; ``None`` takes what cache or memory holds.

    Raises:
        ValueError: unknown names, ipc below one, data a single-label method cannot use.
        FloatingPointError: the loss is not finite; the step is named and the last checkpoint stays.
    """

    local_path_args: ClassVar[
        list[str]
    ] = []  #: Arguments that are places on this machine: never in checkpoints, logs, cards.

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
        class_ratio: Ratio = "balanced",
        gradient_clip: float | None = None,
        lr_schedule: Literal["constant", "cosine"] = "constant",
        compile: CompileMode = "auto",
        chunk: int | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(ignore=self.local_path_args)
        self.automatic_optimization = False  # global_step then counts the steps of the one optimizer, the images'
        validate_options(ipc, network)

    @abstractmethod
    def losses(self, real: RealBatch) -> Iterator[Tensor]:
        """Yield scalar losses; each is differentiated before the next is asked for, so one graph is alive at a time."""

    def after_step(self, real: RealBatch) -> None:
        """What comes after the images' step, e.g. training an online network."""

    def init_synthetic(self, datamodule: ArrayDataModule) -> SyntheticSet:
        """The set to begin with."""
        options = {key: self.hparams[key] for key in ("ipc", "init", "seed", "on_small_class", "class_ratio")}
        return SyntheticSet.from_real_data(*datamodule.train_arrays(), datamodule.spec, **options)

    def setup(self, stage: str) -> None:
        """Find shape, classes and statistics in the data, and make the set unless a checkpoint brought it."""
        datamodule = require_array_datamodule(self.trainer.datamodule)  # type: ignore[attr-defined]
        validate_data(datamodule.spec, self.trainer.precision, getattr(self, "synthetic", None))
        if not hasattr(self, "synthetic"):
            self.synthetic = self.init_synthetic(datamodule)
        if stage == "fit":
            self.configure_network(datamodule)

    def configure_network(self, datamodule: ArrayDataModule) -> None:
        """Build the surrogate network and the augmentation for this data; neither is checkpointed."""
        hp, spec, sizes = self.hparams, datamodule.spec, self.passes(datamodule)
        passes, device = max(self.trainer.max_steps, 0) * sum(sizes.values()), self.trainer.strategy.root_device
        self.network = build_functional_network(
            hp["network"], spec, passes, device, hp["compile"], sizes=[*sizes], chunk=hp["chunk"]
        )
        log_performance_hints(self.network, self.trainer)
        self.augment = SiameseAugmentation(hp["augmentation"] or spec.augmentation, spec.shape[1:])

    def passes(self, datamodule: ArrayDataModule) -> dict[int, int]:
        """Forward passes of one image in a step, by size of the batch they come in; a backward counts as two."""
        real, most, classes = datamodule.real_per_class, max(self.synthetic.counts), len(self.synthetic.counts)
        return {most: 3 * classes * most, real: classes * (real if real != most else 4 * real)}

    def training_step(self, batch: Sequence[Tensor], batch_idx: int) -> None:
        """Differentiate every loss, add up, step once."""
        images, real, step = [*self.synthetic.parameters()], RealBatch(batch[0], self.synthetic.spec), self.global_step

        def work() -> tuple[Tensor, list[Tensor]]:
            with isolated_rng(derive_seed(self.hparams["seed"], step)):
                return accumulate_gradients(self.losses(real), images)

        total, gradients = retry_with_smaller_chunk(self.network, len(batch[0]), work)
        total = cast(Tensor, self.trainer.strategy.reduce(total, reduce_op="sum"))
        optimizer = cast(Optimizer, self.optimizers())
        optimizer.zero_grad()  # one backward for all losses is one all-reduce; DDP averages, the objective is a sum
        products = [(p * g).sum() for p, g in zip(images, gradients, strict=True)]
        self.manual_backward(torch.stack(products).sum() * self.trainer.world_size)
        validate_finite(total, [p.grad for p in images], step, self.hparams["lr"])
        nn.utils.clip_grad_norm_(images, self.hparams["gradient_clip"] or math.inf)
        optimizer.step()
        cast(LRScheduler, self.lr_schedulers()).step()
        with isolated_rng(derive_seed(self.hparams["seed"], step, "after")):
            self.after_step(real)
        self.log("distill/loss", total, prog_bar=True)

    def validation_step(self, batch: Sequence[Tensor], batch_idx: int) -> None:
        """Nothing: validating is training students, which `StudentEvaluation` does."""

    test_step = validation_step

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Groups of parameters for the optimizer; each may have an ``lr`` of its own."""
        return [{"params": [self.synthetic.images]}]

    def configure_optimizers(self) -> tuple[list[Optimizer], list[LRScheduler]]:
        """SGD over the set, and its schedule."""
        steps, cosine = self.trainer.estimated_stepping_batches, self.hparams["lr_schedule"] == "cosine"
        sgd = SGD(self.parameter_groups(), lr=self.hparams["lr"], momentum=self.hparams["momentum"])
        return [sgd], [LambdaLR(sgd, lambda step: 0.5 + 0.5 * math.cos(math.pi * step / steps) if cosine else 1.0)]
