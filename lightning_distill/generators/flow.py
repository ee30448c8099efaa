"""``FlowGenerator``: rectified flow with a small UNet, the generator for a CPU."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from lightning_distill.generators.average import Decay, constant_decay
from lightning_distill.generators.base import Generator
from lightning_distill.generators.checks import as_rows
from lightning_distill.generators.velocity_network import GROUPS, VelocityNetwork, integrate, require_diffusers
from lightning_distill.objectives import flow_point, logit_normal_times, rectified_flow_loss
from lightning_distill.spec import DataSpec
from lightning_distill.utils.arguments import check_number
from lightning_distill.utils.rng import derive_seed, isolated_rng


class FlowGenerator(Generator):
    r"""Rectified flow: a UNet learns the velocity from images x to noise e at points between them.

    .. math:: \min_v \; \mathbb{E} \| v((1 - s) x + s e, s, y) - (e - x) \|^2, \quad s = \sigma(n), n \sim N(0, 1)

    The row y of an image, one- or multi-hot, is left out with probability ``null_probability``, so that images can be
    drawn with guidance. The defaults are for a CPU and images of 28 to 32 pixels.

    Args:
        widths: Channels of each level of the UNet, multiples of 16. Each further level halves the side.
        layers: Residual blocks of a level.
        patch: Side of a patch of pixels that the UNet treats as one position.
        batch_size: Number of real images in a step.
        lr: Learning rate of AdamW.
        warmup: Number of steps in which the rate rises to ``lr``.
        null_probability: Probability that the label row of an image is left out.
        ema_decay: Decay of the moving average of the weights.
        sampling_steps: Number of Euler steps from noise to an image.
        guidance: Guidance g of the drawing; above 1 images are more typical of their class and less diverse.
        seed: Seed of weights, times and noise.

    Raises:
        MissingExtraError: diffusers, of the extra ``generate``, is not installed.
        ValueError: A number is out of range.
        FloatingPointError: The loss is not finite; the last checkpoint is kept.

    Example:
        >>> FlowGenerator(widths=[16, 16], batch_size=8)
        FlowGenerator(widths=[16, 16], batch_size=8)

    Reference:
        Liu, Gong, Liu: Flow Straight and Fast, ICLR 2023, arXiv 2209.03003. Esser et al.: Scaling Rectified Flow
        Transformers, ICML 2024, arXiv 2403.03206 (times). Ho, Salimans, arXiv 2207.12598 (guidance).
    """

    sampling_args: ClassVar[Sequence[str]] = ("sampling_steps", "guidance")
    network: VelocityNetwork

    def __init__(
        self,
        *,
        widths: Sequence[int] = (48, 96, 96),
        layers: int = 1,
        patch: int = 2,
        batch_size: int = 128,
        lr: float = 2e-4,
        warmup: int = 100,
        null_probability: float = 0.1,
        ema_decay: float = 0.999,
        sampling_steps: int = 50,
        guidance: float = 1.0,
        seed: int = 0,
    ) -> None:
        require_diffusers()
        widths = list(widths)
        super().__init__(batch_size=batch_size, lr=lr, seed=seed)
        if not widths or any(not isinstance(width, int) or width < 1 or width % GROUPS for width in widths):
            raise ValueError(f"widths={widths}; every level needs a positive multiple of {GROUPS} channels")
        for name, value in {
            "layers": layers,
            "patch": patch,
            "warmup": warmup,
            "sampling_steps": sampling_steps,
        }.items():
            check_number(name, value, 1, integer=True)
        check_number("null_probability", null_probability, 0, 1)
        check_number("ema_decay", ema_decay, 0, 1)
        check_number("guidance", guidance, 0)
        self.widths, self.layers, self.patch, self.warmup = widths, layers, patch, warmup
        self.null_probability, self.ema_decay = null_probability, ema_decay
        self.sampling_steps, self.guidance = sampling_steps, guidance

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """Shape of the padded images."""
        return (self.spec.shape[0], *self.network.padded)

    def build_networks(self, spec: DataSpec) -> None:
        """Make the velocity network."""
        self.network = VelocityNetwork(spec.shape, spec.num_classes, self.widths, self.layers, self.patch)

    def decay(self) -> Decay:
        """Return ``ema_decay``, less in the first steps."""
        return constant_decay(self.ema_decay)

    def training_step(self, batch: Sequence[Tensor], batch_idx: int) -> Tensor:
        """Return the loss of a batch at random times, with random noise."""
        pixels, labels = batch
        images, rows = self.network.pad(self.spec.normalize(pixels)), as_rows(labels, self.spec)
        part = batch_idx % self.trainer.accumulate_grad_batches
        with isolated_rng(derive_seed(self.seed, self.global_step, part)):
            times = logit_normal_times(len(images), images.device)
            noise = torch.randn_like(images)
            unlabelled = torch.rand(len(images), device=images.device) < self.null_probability
        velocity = self.network(flow_point(images, noise, times), times, rows, unlabelled)
        loss = rectified_flow_loss(velocity, images, noise)
        self.require_finite("generate/loss", loss.detach())
        self.log("generate/loss", loss, prog_bar=True)
        return loss

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Stop before a gradient that is not finite reaches the weights."""
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), math.inf)
        self.require_finite("generate/loss", norm)

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: Any,
        optimizer_closure: Callable[[], Any] | None = None,
    ) -> None:
        """Step the optimizer and update the average, before a callback can write a checkpoint."""
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        self.update_average()

    def configure_optimizers(self) -> Any:
        """Return AdamW with a linear warm-up."""
        optimizer = AdamW(self.network.parameters(), lr=self.lr)
        schedule = LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / self.warmup))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def render(self, noise: Tensor, rows: Tensor) -> Tensor:
        """Return normalised images from noise by ``sampling_steps`` Euler steps."""
        network = cast(VelocityNetwork, self.average.module)
        return network.crop(integrate(network, noise, rows, self.sampling_steps, self.guidance))
