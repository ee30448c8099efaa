"""Kernel ridge regression and distribution matching on the features of networks that learn from the set."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from lightning_distill.data import ArrayDataModule
from lightning_distill.distillers._options import KRROptions, Unpack
from lightning_distill.distillers.base import MOMENTUM, Distiller
from lightning_distill.distillers.network_pool import AGES, BATCH_SIZE, NetworkPool
from lightning_distill.distillers.presets import find_preset
from lightning_distill.distillers.real_batch import RealBatch
from lightning_distill.functional.network import Parameters
from lightning_distill.functional.unroll import scalar_with_gradient
from lightning_distill.networks import resolve_networks
from lightning_distill.objectives import class_means, relative_mean_distance, ridge_loss, ridge_weights
from lightning_distill.sets.synthetic import SyntheticSet
from lightning_distill.spec import DataSpec
from lightning_distill.utils.rng import derive_seed

ImageOptimizer = Literal["adam", "sgd"]
REPLACED = (
    "network {index} of the pool gave features that are not finite at step {step} and was replaced by a new one; if it "
    "happens again, lower network_lr={rate}"
)
RAISED = (
    "the kernel of the set is singular at step {step}: ridge={ridge} was raised to {raised:.3g}, and wherever it is "
    "singular later; this is said once"
)
#: Share of the true label in initial soft labels; the rest is divided over all labels.
INITIAL_CONFIDENCE = 0.9


def validate_pool(options: Mapping[str, Any]) -> None:
    """Raise a ValueError for an invalid ridge, weight or pool of networks."""
    for name, usual in (("ridge", 0.1), ("dm_weight", 1)):
        if not 0 <= options[name] < math.inf:
            raise ValueError(f"{name}={options[name]}; it must be finite and at least 0, e.g. {usual}")
    for name, least in (("pool_size", 1), ("max_age", 1), ("network_steps", 0)):
        if options[name] < least:
            raise ValueError(f"{name}={options[name]}; it must be at least {least}")
    if options["optimizer"] == "adam" and options["momentum"] != MOMENTUM:
        raise ValueError(f"momentum={options['momentum']} is that of sgd; give optimizer=sgd too, or leave it out")
    names = [options["network"], *(options["pool_networks"] or [])]
    if len(names) > options["pool_size"]:
        raise ValueError(f"pool_size={options['pool_size']} for {len(names)} networks; use at least {len(names)}")


def regression_targets(targets: Tensor, spec: DataSpec) -> Tensor:
    """Return the targets of a regression: centred so that their mean over the balance groups is 0.

    Multi-class and binary: one-hot rows minus 1/K. Multi-label: 0/1 rows minus the mean over the combinations. Ordinal:
    K - 1 columns "the label is above k", so that an error of two levels costs more than one of one level.

    Args:
        targets: Labels ``(N,)``, or probabilities or 0/1 rows ``(N, K)``.
        spec: Description of the data.

    Returns:
        Targets ``(N, K)``, for ordinal labels ``(N, K - 1)``, float32.

    >>> spec = DataSpec("toy", (1, 8, 8), ("a", "b", "c"), (0.0,), (1.0,), task="ordinal")
    >>> (3 * regression_targets(torch.tensor([0, 2]), spec)).round().tolist()
    [[-2.0, -1.0], [1.0, 2.0]]
    """

    def rows(values: Tensor) -> Tensor:
        return values.float() if values.ndim == 2 else F.one_hot(values, spec.num_classes).float()

    groups = rows(spec.targets(torch.arange(len(spec.balance_groups), device=targets.device)))  # (K, K)
    centred = rows(targets) - groups.mean(0)
    return centred.flip(1).cumsum(1).flip(1)[:, 1:] if spec.task == "ordinal" else centred


class KRRDistiller(Distiller):
    """KRR: predict the labels of real images by kernel ridge regression from the synthetic images.

    The kernel is linear in the features of a network. The networks come from a pool; the one that was used takes
    ``network_steps`` SGD steps on the set and is replaced after ``max_age`` uses (FRePo). With ``network_steps=0`` they
    keep their random initial weights, as in kernel inducing points (KIP) with a kernel of finite width. With
    ``dm_weight`` the mean features of each class are matched in the same networks, as in distribution matching; this
    combination is ours. Images and labels are learned without second-order gradients. One random
    transformation of ``augmentation`` is shared by all real and synthetic images of a step.

    Args:
        ipc: Images per class, one number or one for each class.
        lr: Learning rate of the optimizer for the synthetic images, in normalised units; ``None`` takes the preset's
            0.03.
        init: Initialisation of the images: ``herding``, ``kmeans``, ``kcenter``, ``real`` or ``noise``; ``None`` takes
            the preset's ``herding``.
        optimizer: Optimizer of images and labels: ``adam``, or ``sgd`` with ``momentum``.
        lr_schedule: Schedule of ``lr``: ``cosine`` (to zero at ``Trainer(max_steps)``) or ``constant``.
        ridge: Regularisation of the regression relative to the mean diagonal of the kernel; it is raised, with a
            warning, where the kernel is singular.
        dm_weight: Weight of distribution matching beside the regression: the squared distance of the mean features of
            real and synthetic images of each class, summed over classes and divided by the scatter of the class means.
            0 leaves the regression of the papers. ``None`` takes the preset's: 0 below 5 images per class, then 1.
        pool_size: Number of networks in the pool.
        pool_networks: Further architectures, such as ``["lenet", "resnet10t"]``: pool members take ``network`` and
            these in turn. Use them if receivers train other networks. ``None`` takes ``network`` alone.
        max_age: Number of uses after which a network is replaced.
        network_steps: SGD steps of a network on the set after each use (momentum 0.9, weight decay 5e-4).
        network_lr: Learning rate of these steps.
        soft_labels: Whether to learn the labels too.
        soft_lr: Learning rate of the logits of the learned labels.
        options: Other arguments of `Distiller`, except ``weights``.

    Raises:
        ValueError: ``ridge``, ``dm_weight`` or a number of the pool is out of range, the pool is smaller than its
            number of architectures, or a checkpoint has another pool.

    Example:
        >>> KRRDistiller(ipc=1, network="convnet_w16", network_steps=0).optimizer_name
        'adam'

    Reference:
        Zhou, Nezhadarya, Ba: Dataset Distillation using Neural Feature Regression, NeurIPS 2022, arXiv 2206.00719.
        Nguyen, Novak, Xiao, Lee: Dataset Distillation with Infinitely Wide Convolutional Networks, NeurIPS 2021,
        arXiv 2107.13034.
    """

    fixed_on_resume: ClassVar[tuple[str, ...]] = ("network", "optimizer", "pool_networks", "pool_size")

    def __init__(
        self,
        ipc: int | list[int] = 10,
        *,
        lr: float | None = None,
        init: str | None = None,
        optimizer: ImageOptimizer = "adam",
        lr_schedule: Literal["constant", "cosine"] = "cosine",
        ridge: float = 0.1,
        dm_weight: float | None = None,
        pool_size: int = 6,
        pool_networks: list[str] | None = None,
        max_age: int = 100,
        network_steps: int = 1,
        network_lr: float = 0.01,
        soft_labels: bool = False,
        soft_lr: float = 0.01,
        **options: Unpack[KRROptions],
    ) -> None:
        super().__init__(ipc=ipc, lr=lr, init=init, lr_schedule=lr_schedule, **options)
        if dm_weight is None:
            row = find_preset(type(self), self.preset, ipc)
            dm_weight = 0.0 if row is None else row.dm_weight
            self.save_hyperparameters({"dm_weight": dm_weight})
        validate_pool(self.hparams)
        self.optimizer_name, self.ridge, self.dm_weight = optimizer, ridge, dm_weight
        self.pool_networks = resolve_networks(pool_networks or [])
        self.pool_size, self.max_age = pool_size, max_age
        self.network_steps, self.network_lr = network_steps, network_lr
        self.soft_labels, self.soft_lr = soft_labels, soft_lr
        self._warned = False

    def init_synthetic(self, datamodule: ArrayDataModule) -> SyntheticSet:
        """Return the initial set, with soft labels near the hard ones where they are learned."""
        synthetic = super().init_synthetic(datamodule)
        if not self.soft_labels:
            return synthetic
        hard, spec = synthetic.targets(), synthetic.spec
        rows = hard if spec.multi_label else F.one_hot(hard, spec.num_classes).float()
        probabilities = INITIAL_CONFIDENCE * rows + (1 - INITIAL_CONFIDENCE) / (
            2 if spec.multi_label else rows.shape[1]
        )
        return synthetic.add_learnables(probabilities.logit() if spec.multi_label else probabilities.log())

    def configure_network(self, datamodule: ArrayDataModule, batch_sizes: Sequence[int] | None = None) -> None:
        """Build the networks, padded to the real batch, the set and batches of their training, and the empty pool."""
        images = sum(self.synthetic.counts)
        real = datamodule.real_per_class * len(self.synthetic.counts)
        sizes = batch_sizes or [real, images, min(images, BATCH_SIZE)]
        super().configure_network(datamodule, sizes)
        others = [self.build_network(name, datamodule, sizes) for name in self.pool_networks]
        self.pool = NetworkPool(
            [self.network, *others], self.augment, size=self.pool_size, max_age=self.max_age, steps=self.network_steps,
            lr=self.network_lr, seed=self.seed,
        )  # fmt: skip

    def on_train_start(self) -> None:
        """Move the pool to the device of the images, and refuse a checkpoint with a pool of other networks."""
        super().on_train_start()
        if self.extra_state and (size := len(self.extra_state[AGES])) != self.pool_size:
            raise ValueError(
                f"the checkpoint has a pool of {size} networks; use pool_size={size}, not {self.pool_size}"
            )
        if self.extra_state and not self.pool.fits(self.extra_state):
            names = [self.network_name, *self.pool_networks]
            raise ValueError(f"the checkpoint has a pool of other networks than {', '.join(names)}; use those it has")

    def on_train_batch_start(self, batch: object, batch_idx: int) -> None:
        """Take the architecture of the member that this step uses."""
        self.network = self.pool.network_of(self.pool.index_at(self.global_step))

    def losses(self, real: RealBatch) -> Iterator[Tensor]:
        """Yield error and distance of means of the classes of this rank; each rank solves the regression of the set."""
        if not self.extra_state:
            self.extra_state = self.pool.start(*self._detached_set())
        parameters, synthetic, weights = self._regression()
        images, leaf = real.per_class * len(real.spec.balance_groups), weights.detach().requires_grad_()
        value, gradient = torch.zeros_like(weights[0, 0]).detach(), torch.zeros_like(leaf)
        own, means = class_means(synthetic.to(weights.dtype), self.synthetic.counts), []
        for labels in self.class_groups([real.per_class] * len(real.spec.balance_groups)):
            parts = [real.of_classes(labels)] if self.network.batch_norm else real.iter_chunks(labels)
            targets, sums = self._targets_of(labels), torch.zeros_like(own[labels]).detach()
            for x in parts:
                with torch.no_grad():
                    features = self.network.embed(parameters, self._transform(x))
                loss = ridge_loss(leaf, features, targets.repeat_interleave(len(x) // len(labels), 0)) / images
                value += loss.detach()
                gradient += torch.autograd.grad(loss, leaf)[0]
                sums += features.unflatten(0, (len(labels), -1)).to(sums.dtype).sum(1)
            means.append(relative_mean_distance(sums / real.per_class, own[labels], own))
        regression = scalar_with_gradient(value, [weights], [gradient])
        yield regression + self.dm_weight * torch.stack(means).sum() if means and self.dm_weight else regression

    def _regression(self) -> tuple[Parameters, Tensor, Tensor]:
        """Return the network of this step, the features of the set, and the weights of the regression."""
        index, x = self.pool.index_at(self.global_step), self._transform(self.synthetic.decoded())
        self.network.train()
        parameters = self.pool.member(self.extra_state, index)
        features = self.network.embed(parameters, x)
        if not features.isfinite().all():
            rank_zero_warn(REPLACED.format(index=index, step=self.global_step, rate=self.network_lr))
            self.pool.replace(self.extra_state, index, f"{self.global_step} again")
            parameters = self.pool.member(self.extra_state, index)
            features = self.network.embed(parameters, x)
        targets = regression_targets(self.synthetic.targets(), self.synthetic.spec)
        weights, ridge = ridge_weights(features, targets, self.ridge)
        if ridge > self.ridge and not self._warned:
            rank_zero_warn(RAISED.format(step=self.global_step, ridge=self.ridge, raised=ridge))
            self._warned = True
        return parameters, features, weights

    def _transform(self, images: Tensor) -> Tensor:
        """Apply the random transformation of this step to images ``(B, C, H, W)``."""
        return self.augment.of_classes(images, [len(images)], [derive_seed(self.seed, self.global_step, "siamese")])

    def _targets_of(self, labels: Sequence[int]) -> Tensor:
        spec = self.synthetic.spec
        return regression_targets(spec.targets(torch.tensor(labels, device=self.device)), spec)

    def _detached_set(self) -> tuple[Tensor, Tensor]:
        return self.synthetic.decoded().detach(), self.synthetic.targets().detach()

    def after_step(self, real: RealBatch) -> None:
        """Train the network of this step on the set, or replace it where it is old."""
        step = self.global_step - 1  # global_step includes this step
        self.pool.step(self.extra_state, self.pool.index_at(step), step, *self._detached_set())

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the images, and the soft labels if there are any."""
        logits, groups = self.synthetic.soft_label_logits, super().parameter_groups()
        return groups if logits is None else [*groups, {"params": [logits], "lr": self.soft_lr}]

    def configure_optimizers(self) -> tuple[list[Optimizer], list[LRScheduler]]:
        """Return the optimizer of images and labels and its schedule."""
        if self.optimizer_name == "sgd":
            return super().configure_optimizers()
        steps, cosine = self.trainer.estimated_stepping_batches, self.lr_schedule == "cosine"
        adam = Adam(self.parameter_groups(), lr=self.lr)
        return [adam], [LambdaLR(adam, lambda step: 0.5 + 0.5 * math.cos(math.pi * step / steps) if cosine else 1.0)]
