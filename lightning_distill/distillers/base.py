"""The base class of all methods: everything but the loss."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal, cast

import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from lightning_distill._renamed import RenamedArguments
from lightning_distill.augmentation.siamese import SiameseAugmentation
from lightning_distill.checkpoints.verified_io import use_verified_checkpoints
from lightning_distill.data import ArrayDataModule
from lightning_distill.distillers._latent import LatentMixin
from lightning_distill.distillers._sharding import ClassShardingMixin
from lightning_distill.distillers._validation import (
    log_performance_hints,
    validate_data,
    validate_finite,
    validate_options,
    validate_trainer,
    warn_if_few_steps,
    warn_of_exposure,
)
from lightning_distill.distillers.presets import PresetName, fitting_formation, preset_arguments
from lightning_distill.distillers.real_batch import RealBatch
from lightning_distill.functional.build import build_functional_network, estimate_image_passes
from lightning_distill.functional.chunking import retry_with_smaller_chunk
from lightning_distill.functional.compile import CompileMode
from lightning_distill.functional.gradients import accumulate_gradients
from lightning_distill.functional.network import FunctionalNetwork
from lightning_distill.networks.pretrained import model_of, weights_digests
from lightning_distill.networks.resolve import resolve_networks
from lightning_distill.sets.coresets import Ratio
from lightning_distill.sets.synthetic import SmallClass, SyntheticSet
from lightning_distill.utils.arguments import changed_settings
from lightning_distill.utils.rng import derive_seed, isolated_rng

#: Default momentum of the SGD optimizer for the synthetic images.
MOMENTUM = 0.5


class Distiller(ClassShardingMixin, LatentMixin, RenamedArguments, ABC):
    """Base class of a distillation method: a LightningModule with the synthetic images as its only parameters.

    A method implements `losses` and may override `after_step`, `init_synthetic`, `parameter_groups` and
    `configure_network`. The random numbers of step k depend on (seed, k) alone, so a resumed run equals a whole one.

    Args:
        ipc: Images per class, one number or one for each class.
        preset: Source of ``lr``, ``init`` and ``formation`` where they are ``None``: ``default`` (the best recipe that
            was measured) or ``paper`` (the settings of the method's paper), see `distillers.presets.PRESETS`.
        lr: Learning rate of the SGD optimizer for the synthetic images, in normalised units; ``None`` takes that of the
            preset.
        momentum: Momentum of the SGD optimizer for the synthetic images.
        init: Initialisation of the images: ``real``, ``noise``, ``kmeans``, ``herding`` or ``kcenter``; ``None`` takes
            that of the preset.
        formation: Number f of sub-images along each side of a stored image; f * f sub-images are trained on and cost
            the bytes of one image, see `sets.formation.decode`. ``None`` takes that of the preset, or 1 where images
            or classes are too small for it.
        network: Name of the surrogate network, from `networks.list_networks` or timm.
        weights: Path of a local weights file for a timm ``network``: ``{"resnet18": "resnet18.safetensors"}``, see
            `networks.resolve_networks`. Every step then uses the pretrained weights in place of random ones.
            Checkpoints and cards hold the sha256 of the file, not its path.
        latent: Path of a checkpoint of a `GANGenerator`, in whose middle layer the images are learned in place of
            pixels (GLaD), or ``untrained`` for one with random weights, which saw no training image. ``lr`` is then
            that of the features, by default of `_latent.RATES`. Checkpoints and cards hold the sha256 of its weights.
        augmentation: Preset of `augmentation.presets.PRESETS`; ``None`` takes the data set's.
        seed: Seed of everything that is drawn.
        on_small_class: Handling of a class with fewer training images than ipc: ``error``, ``fewer`` or ``repeat``.
        class_ratio: Distribution of the images over classes: ``balanced``, or ``natural`` for the same total in the
            ratio of the real classes.
        gradient_clip: Largest norm of the gradient of all images; ``None`` does not clip.
        lr_schedule: Schedule of ``lr``: ``constant``, or ``cosine`` (to zero at ``Trainer(max_steps)``).
        compile: Mode of compilation: ``auto``, ``off`` or ``max``, see `functional.network.FunctionalNetwork`.
        chunk: Number of images that go through the network at once; ``None`` takes what cache or memory holds.

    Raises:
        ValueError: A name is unknown, ipc is below one, or the method cannot use the data.
        FloatingPointError: The loss is not finite; the message names the step, and the last checkpoint is kept.

    Example:
        >>> class MeanDistiller(Distiller):
        ...     def losses(self, real):
        ...         for label in self.classes():
        ...             yield (real.of_class(label).mean(0) - self.synthetic.of_class(label).mean(0)).square().sum()
        >>> MeanDistiller(ipc=1, lr=0.5)
        MeanDistiller(ipc=1, lr=0.5, init='real', formation=1)
    """

    #: Names of the arguments that are local paths; they never enter checkpoints, logs or cards.
    local_path_args: ClassVar[list[str]] = []
    #: Names of arguments that the state of a method depends on, so that a resumed run keeps them.
    fixed_on_resume: ClassVar[tuple[str, ...]] = ()
    #: Names of the arguments of a base class that a subclass sets itself, so that they are none of its settings.
    fixed_args: ClassVar[list[str]] = []

    def __init__(
        self,
        ipc: int | list[int] = 10,
        *,
        preset: PresetName = "default",
        lr: float | None = None,
        momentum: float = MOMENTUM,
        init: str | None = None,
        formation: int | None = None,
        network: str = "convnet",
        weights: dict[str, str] | None = None,
        latent: str | None = None,
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
        self.save_hyperparameters(ignore=[*self.local_path_args, *self.fixed_args, "weights", "latent"])
        self.automatic_optimization = False  # global_step then counts the steps of the one optimizer, the images'
        validate_options(type(self), self.hparams, model_of(network))
        (resolved,) = resolve_networks([network], weights)
        if weights:
            self.save_hyperparameters({"weights": weights_digests([resolved], weights)})
        self.ipc, self.class_ratio, self.on_small_class = ipc, class_ratio, on_small_class
        self.augmentation, self.seed = augmentation, seed
        self.momentum, self.lr_schedule, self.gradient_clip = momentum, lr_schedule, gradient_clip
        self.network_name, self.compile_mode, self.chunk = resolved, compile, chunk
        given = {"lr": lr, "init": init, "formation": formation}
        self.preset, self.explicit = preset, {name: value for name, value in given.items() if value is not None}
        if latent is not None:
            self.use_latent(latent, seed, chunk)
        self.set_preset_arguments(preset_arguments(type(self), preset, ipc))

    def __repr__(self) -> str:
        """Return the settings that differ from the defaults, the recipe, and the set in one line."""
        shown = changed_settings(type(self), dict(self.hparams))
        recipe = {name: getattr(self, name) for name in ("lr", "init", "formation")}
        parts = [f"{name}={value!r}" for name, value in {"ipc": self.ipc, **shown, **recipe}.items()]
        made = [repr(self.synthetic)] if hasattr(self, "synthetic") else []
        return f"{type(self).__name__}({', '.join([*parts, *made])})"

    @abstractmethod
    def losses(self, real: RealBatch) -> Iterator[Tensor]:
        """Yield scalar losses. Each is differentiated before the next is requested, so one graph is alive at a time.

        After a GPU out-of-memory error the network's chunk is halved and the method is called again for the same step,
        with the same random numbers. It must give the same losses again: a state that it changes
        (``self.extra_state``) may be replaced as a whole, but not advanced from its own value. Advance it in
        `after_step`, which runs once.

        Args:
            real: Class-balanced batch of real images.
        """

    @property
    def set_passes(self) -> int:
        """Number of forward and backward passes of the whole set in a step, at least."""
        return 1

    def after_step(self, real: RealBatch) -> None:
        """Update the state of the method after the step of the images, e.g. train an online network."""

    def card_entries(self) -> dict[str, object]:
        """Return further entries of the card of the set; none by default."""
        return {}

    def resolve_preset(self, datamodule: ArrayDataModule) -> None:
        """Set the arguments that the preset makes depend on the data."""
        values = preset_arguments(type(self), self.preset, self.ipc, datamodule.spec)
        if hasattr(self, "synthetic"):
            values["formation"] = self.synthetic.formation
        elif "formation" not in self.explicit:
            values["formation"] = fitting_formation(values["formation"], self.ipc, self.class_ratio, datamodule)
        self.set_preset_arguments(values)

    def init_synthetic(self, datamodule: ArrayDataModule) -> SyntheticSet:
        """Return the initial synthetic set."""
        self.resolve_preset(datamodule)
        synthetic = SyntheticSet.from_real_data(
            *datamodule.train_arrays(),
            datamodule.spec,
            ipc=self.ipc,
            init=self.init,
            seed=self.seed,
            on_small_class=self.on_small_class,
            class_ratio=self.class_ratio,
            formation=self.formation,
        )
        return self.start_latents(synthetic)

    def setup(self, stage: str) -> None:
        """Read shape, classes and statistics from the data, and make the set unless a checkpoint brought it."""
        datamodule = self.real_data
        validate_trainer(self.trainer)
        use_verified_checkpoints(self.trainer, fall_back=stage == "fit")
        validate_data(datamodule.spec, self.trainer.precision, getattr(self, "synthetic", None))
        if hasattr(self, "synthetic"):
            self.resolve_preset(datamodule)
            self.synthetic.init = self.synthetic.init or self.init
        else:
            self.synthetic = self.init_synthetic(datamodule)
        if stage == "fit":
            self.check_latents(datamodule.spec)
            self.data_record = datamodule.describe_training_data()
            self.configure_network(datamodule)

    def configure_network(self, datamodule: ArrayDataModule, batch_sizes: Sequence[int] | None = None) -> None:
        """Build the surrogate network and the augmentation for the data; neither is checkpointed.

        Args:
            datamodule: Data of the run.
            batch_sizes: Sizes of the batches that go through the network, to which a compiled network pads; ``None``
                takes the real images of a class and the synthetic images of the largest class. They affect speed only.
        """
        self.network = self.build_network(self.network_name, datamodule, batch_sizes)
        log_performance_hints(self.network, self.trainer)
        spec = datamodule.spec
        self.augment = SiameseAugmentation(self.augmentation or spec.augmentation, spec.shape[1:])

    def build_network(
        self, name: str, datamodule: ArrayDataModule, batch_sizes: Sequence[int] | None = None
    ) -> FunctionalNetwork:
        """Build a network for the data of a run.

        Args:
            name: Name of the network, from `networks.list_networks` or timm.
            datamodule: Data of the run.
            batch_sizes: Sizes of the batches as for `configure_network`.
        """
        counts, real = self.synthetic.counts, datamodule.real_per_class
        return build_functional_network(
            name,
            datamodule.spec,
            estimate_image_passes(self.trainer.max_steps, len(counts) * real, len(counts) * max(counts)),
            self.trainer.strategy.root_device,
            self.compile_mode,
            sizes=[max(counts), *([real] if real else [])] if batch_sizes is None else batch_sizes,
            chunk=self.chunk,
        )

    def on_train_start(self) -> None:
        """Warn where the run is far too short for the method, and of what makes the set reveal training images."""
        super().on_train_start()
        self._extend_schedule()
        warn_if_few_steps(type(self), self.preset, self.ipc, self.synthetic.spec, self.trainer)
        if self.real_data.real_per_class:  # signal banks bring no real images
            warn_of_exposure(self.image_start, self.synthetic, self.real_data.train_arrays()[1], self.trainer)

    def _extend_schedule(self) -> None:
        """Set the learning rates of this step: those of a checkpoint are from a schedule that may have been shorter."""
        optimizer, scheduler = cast(Optimizer, self.optimizers()), self.lr_schedulers()
        if isinstance(scheduler, LambdaLR):
            rates = zip(optimizer.param_groups, scheduler.base_lrs, scheduler.lr_lambdas, strict=True)
            for group, base, factor in rates:
                group["lr"] = base * factor(scheduler.last_epoch)

    def training_step(self, batch: Sequence[Tensor], batch_idx: int) -> None:
        """Differentiate every loss, sum the gradients, and step the images once."""
        images, real, step = [*self.synthetic.parameters()], RealBatch(batch[0], self.synthetic.spec), self.global_step

        def sum_losses() -> tuple[Tensor, list[Tensor]]:
            with isolated_rng(derive_seed(self.seed, step)):
                return accumulate_gradients(self.losses(real), images)

        total, gradients = retry_with_smaller_chunk(self.network, len(batch[0]), sum_losses)
        total = cast(Tensor, self.trainer.strategy.reduce(total, reduce_op="sum"))
        optimizer = cast(Optimizer, self.optimizers())
        optimizer.zero_grad()  # one backward for all losses is one all-reduce; DDP averages, the objective is a sum
        products = [(p * g).sum() for p, g in zip(images, gradients, strict=True)]
        self.manual_backward(torch.stack(products).sum() * self.trainer.world_size)
        learned = self.learned_tensors()
        validate_finite(total, [p.grad for p in learned], step, self.lr)
        nn.utils.clip_grad_norm_(learned, self.gradient_clip or math.inf)
        optimizer.step()
        self.render_latents()
        cast(LRScheduler, self.lr_schedulers()).step()
        with isolated_rng(derive_seed(self.seed, step, "after")):
            self.after_step(real)
        self.log("distill/loss", total, prog_bar=True)

    def validation_step(self, batch: Sequence[Tensor], batch_idx: int) -> None:
        """Do nothing: `StudentEvaluation` trains and scores the students."""

    test_step = validation_step

    def configure_optimizers(self) -> tuple[list[Optimizer], list[LRScheduler]]:
        """Return the SGD optimizer of the set and its schedule."""
        steps, cosine = self.trainer.estimated_stepping_batches, self.lr_schedule == "cosine"
        sgd = SGD(self.parameter_groups(), lr=self.lr, momentum=self.momentum)
        return [sgd], [LambdaLR(sgd, lambda step: 0.5 + 0.5 * math.cos(math.pi * step / steps) if cosine else 1.0)]
