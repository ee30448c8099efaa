"""``GANGenerator``: a small residual GAN with the relativistic regularised loss of R3GAN."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from lightning_distill.augmentation.presets import PRESETS
from lightning_distill.augmentation.siamese import SiameseAugmentation
from lightning_distill.generators.average import Decay, relative_decay
from lightning_distill.generators.base import Generator
from lightning_distill.generators.checks import as_rows, with_indicator
from lightning_distill.generators.residual_gan import Conditioning, Critic, Synthesis
from lightning_distill.objectives import critic_loss, generator_loss, gradient_penalty
from lightning_distill.spec import DataSpec
from lightning_distill.utils.arguments import check_number
from lightning_distill.utils.rng import derive_seed, isolated_rng

#: Penalty weight up to 32 pixels and above, and the factor that it has fallen by at the end of a run.
GAMMA, GAMMA_LARGE, GAMMA_DECAY = 0.5, 2.0, 0.1


class GANGenerator(Generator):
    r"""Residual GAN with the relativistic loss and two gradient penalties of R3GAN; an image takes one pass.

    .. math::
        L_D = \mathbb{E} \log(1 + e^{D(G(z)) - D(x)}) + \frac{\gamma}{2} (\|\nabla D(x)\|^2 + \|\nabla D(G(z))\|^2),
        \quad L_G = \mathbb{E} \log(1 + e^{D(x) - D(G(z))})

    Real and drawn images of a pair have the same labels and, with probability ``augment_probability``, the same random
    transformation of the data's siamese augmentation, without mirroring. Each batch makes one step of the critic and
    one of the synthesis, and counts as one step of the Trainer.

    Args:
        widths: Channels of the stages from 4 pixels on; further stages halve the last number.
        latent: Number of entries of the noise z.
        conditioning: ``embedding`` joins an embedding of the labels to the noise, and the critic compares its features
            with another one; ``modulated`` lets noise and labels scale and shift every layer, and the critic sums one
            logit a label (cpD-GAN).
        batch_size: Number of real images in a step.
        lr: Learning rate of both Adam optimizers.
        gamma: Weight of the penalties at the start, which falls tenfold within the run; ``None`` takes 0.5 up to 32
            pixels and 2 above.
        augment_probability: Probability that a pair of images is transformed before the critic sees it.
        ema_half_life: Half-life of the moving average of the weights, as a share of the steps so far.
        seed: Seed of weights, noise and transformations.

    Raises:
        ValueError: A number is out of range.
        FloatingPointError: A loss is not finite; the last checkpoint is kept.

    Example:
        >>> GANGenerator(widths=[16], latent=8, conditioning="modulated")
        GANGenerator(widths=[16], latent=8, conditioning='modulated')

    Reference:
        Huang et al.: The GAN is dead; long live the GAN!, NeurIPS 2024, arXiv 2501.05441. Han et al.: Breaking medical
        data sharing boundaries by using synthesized radiographs, arXiv 2012.03769 (``modulated``).
    """

    sampling_args: ClassVar[Sequence[str]] = ()
    network: Synthesis

    def __init__(
        self,
        *,
        widths: Sequence[int] = (128, 128, 64, 32),
        latent: int = 64,
        conditioning: Conditioning = "embedding",
        batch_size: int = 64,
        lr: float = 2e-4,
        gamma: float | None = None,
        augment_probability: float = 0.3,
        ema_half_life: float = 0.1,
        seed: int = 0,
    ) -> None:
        widths = list(widths)
        super().__init__(batch_size=batch_size, lr=lr, seed=seed)
        self.automatic_optimization = False
        if not widths or any(not isinstance(width, int) or width < 1 for width in widths):
            raise ValueError(f"widths={widths}; every stage needs at least one channel")
        check_number("latent", latent, 1, integer=True)
        if gamma is not None:
            check_number("gamma", gamma, 0)
        check_number("ema_half_life", ema_half_life, 0, 1, open_low=True)
        if not 0 <= augment_probability <= 1:
            raise ValueError(f"augment_probability={augment_probability}; it must be from 0 to 1")
        self.widths, self.latent, self.conditioning, self.gamma = widths, latent, conditioning, gamma
        self.augment_probability, self.ema_half_life = augment_probability, ema_half_life

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """Shape of the noise z."""
        return (self.latent,)

    def build_networks(self, spec: DataSpec) -> None:
        """Make synthesis and critic. One more label column marks images without any label."""
        labels = spec.num_classes + 1
        self.network = Synthesis(spec.shape, labels, self.latent, self.widths, self.conditioning)
        self.critic = Critic(spec.shape, labels, self.widths, self.conditioning)
        self.augment = SiameseAugmentation(one_sided(spec.augmentation), spec.shape[1:])

    def decay(self) -> Decay:
        """Return the decay whose half-life is a share of the steps so far."""
        return relative_decay(self.ema_half_life)

    def training_step(self, batch: Sequence[Tensor], batch_idx: int) -> None:
        """Step the critic, then the synthesis, then the average."""
        pixels, labels = batch
        real, rows = self.spec.normalize(pixels), marked(as_rows(labels, self.spec))
        # Lightning counts the steps of its own wrapper: the critic's optimizer is stepped without it.
        critic_optimizer, optimizer = cast(Optimizer, self.optimizers()[0].optimizer), self.optimizers()[1]  # type: ignore[index]
        step = self.global_step
        with isolated_rng(derive_seed(self.seed, step)):
            loss, penalty = self._critic_losses(real, rows)
            critic_optimizer.zero_grad()
            self.manual_backward(loss + self.current_gamma(step) / 2 * penalty)
            norm = nn.utils.clip_grad_norm_(self.critic.parameters(), math.inf)
            self.require_finite("generate/critic", loss.detach(), norm)
            critic_optimizer.step()
            own = self._synthesis_loss(real, rows)
            optimizer.zero_grad()
            self.manual_backward(own)
            norm = nn.utils.clip_grad_norm_(self.network.parameters(), math.inf)
            self.require_finite("generate/loss", own.detach(), norm)
            optimizer.step()
        self.update_average()
        self.log_dict({"generate/loss": own, "generate/critic": loss, "generate/penalty": penalty}, prog_bar=True)

    def _critic_losses(self, real: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss of the critic, and the sum of its penalties at the images that it sees.

        The penalties are not differentiated through the transformations, which torch cannot do twice.
        """
        with torch.no_grad():
            fake = self.network(torch.randn(len(real), self.latent, device=real.device), rows)
        seen = [images.detach().float().requires_grad_() for images in self._transform_pairs(real, fake)]
        scores = [self.critic(images, rows) for images in seen]
        penalties = [gradient_penalty(*pair) for pair in zip(scores, seen, strict=True)]
        return critic_loss(*scores), torch.stack(penalties).sum()

    def _synthesis_loss(self, real: Tensor, rows: Tensor) -> Tensor:
        fake = self.network(torch.randn(len(real), self.latent, device=real.device), rows)
        self.critic.requires_grad_(False)
        scores = [self.critic(images, rows) for images in self._transform_pairs(real, fake)]
        self.critic.requires_grad_(True)
        return generator_loss(*scores)

    def _transform_pairs(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        """Apply one transformation to both images of a random share of the pairs."""
        chosen = (torch.rand(len(real)) < self.augment_probability).to(real.device).view(-1, 1, 1, 1)
        other_real, other_fake = self.augment(real, fake)
        return torch.where(chosen, other_real, real), torch.where(chosen, other_fake, fake)

    def current_gamma(self, step: int) -> float:
        """Return the weight of the penalties at a step of a run by ``max_steps``; without it the first one."""
        total = self.trainer.estimated_stepping_batches if self.trainer.max_steps > 0 else math.inf
        first = self.gamma
        if first is None:
            first = GAMMA if max(self.spec.shape[1:]) <= 32 else GAMMA_LARGE
        return first * math.pow(GAMMA_DECAY, step / total)

    def configure_optimizers(self) -> list[Optimizer]:
        """Return one Adam for the critic and one for the synthesis."""
        return [Adam(part.parameters(), lr=self.lr, betas=(0.0, 0.99)) for part in (self.critic, self.network)]

    def render(self, noise: Tensor, rows: Tensor) -> Tensor:
        """Return normalised images in one pass."""
        return cast(Tensor, self.average(noise, marked(rows)))

    def middle(self, z: Tensor, targets: Tensor) -> Tensor:
        """Return the features after the second stage, of 8 pixels, of the averaged weights; differentiable.

        Args:
            z: Noise ``(N, latent)``.
            targets: One- or multi-hot rows ``(N, K)``, or class numbers ``(N,)``.

        Raises:
            ValueError: The labels enter later stages too (``conditioning="modulated"``).
        """
        network = self.require_middle()
        style = network.style(z, marked(as_rows(targets, self.spec)).to(z.device))
        return network.stages(style, 0, 2, network.begin(style))

    def from_middle(self, features: Tensor) -> Tensor:
        """Return normalised images ``(N, C, H, W)`` from features of `middle`, not clipped; differentiable.

        ``spec.denormalize`` brings them to pixel units.

        Args:
            features: Features ``(N, F, h, w)``.
        """
        return self.require_middle().finish(features)

    def require_middle(self) -> Synthesis:
        """Return the averaged network, if its labels enter before the middle layer alone.

        Raises:
            ValueError: The labels enter later stages too (``conditioning="modulated"``).
        """
        if self.conditioning == "modulated":
            raise ValueError("a GANGenerator with conditioning='modulated' has no middle layer; use 'embedding'")
        return cast(Synthesis, self.average.module)


def marked(rows: Tensor) -> Tensor:
    """Append a column that marks rows without any label, such as healthy images of multi-label data.

    Args:
        rows: Label rows ``(N, K)``.

    Returns:
        Rows ``(N, K + 1)``, none of them zero.
    """
    return with_indicator(rows, rows.sum(1) == 0)


def one_sided(preset: str) -> str:
    """Return an augmentation preset without mirroring: a GAN would learn mirrored images from it.

    Args:
        preset: Name of a preset in `augmentation.presets.PRESETS`.

    Example:
        >>> one_sided("dsa"), one_sided("crop_scale_rotate")
        ('dsa_noflip', 'crop_scale_rotate')
    """
    if "flip" not in PRESETS[preset]:
        return preset
    groups = tuple(group for group in PRESETS[preset] if group != "flip")
    return next((name for name, known in PRESETS.items() if known == groups), "crop_scale_rotate")
