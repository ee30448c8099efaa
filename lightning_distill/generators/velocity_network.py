"""Velocity network of rectified flow: diffusers' UNet on folded images, conditioned on label rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_distill.generators.checks import with_indicator
from lightning_distill.utils.errors import MissingExtraError

#: Channels of a group of the group norms; the scale of times in [0, 1] that the time embedding expects.
GROUPS, TIME_SCALE = 16, 1000.0


def require_diffusers() -> None:
    """Raise MissingExtraError, a line with the pip command, where diffusers is not installed."""
    try:
        import diffusers  # noqa: F401
    except ImportError:
        raise MissingExtraError("FlowGenerator needs diffusers: pip install 'lightning-distill[generate]'") from None


class VelocityNetwork(nn.Module):
    """UNet from a noisy image, its time and its label row to a velocity.

    The image is padded to a size that the levels can halve, and folded: ``patch * patch`` pixels become channels, which
    makes the network faster by that factor. The row enters by a linear layer with one more column, which marks images
    without a label row; so a row of zeros, which multi-label data have, differs from no row.

    Args:
        shape: Shape ``(C, H, W)`` of an image.
        num_classes: Number of columns K of a row.
        widths: Channels of each level; each is a multiple of 16.
        layers: Residual blocks of a level.
        patch: Side of a patch that becomes one position.
    """

    def __init__(
        self, shape: tuple[int, int, int], num_classes: int, widths: Sequence[int], layers: int, patch: int
    ) -> None:
        super().__init__()
        from diffusers.models.unets.unet_2d import UNet2DModel

        multiple, self.patch = patch * 2 ** (len(widths) - 1), patch
        self.padded = tuple(-(-side // multiple) * multiple for side in shape[1:])
        rows, columns = (side - own for side, own in zip(self.padded, shape[1:], strict=True))
        self.pads = (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2)
        channels, plain = shape[0] * patch**2, len(widths) - 1
        self.embed = nn.Linear(num_classes + 1, 4 * widths[0])
        self.unet: Any = UNet2DModel(
            sample_size=tuple(side // patch for side in self.padded),
            in_channels=channels,
            out_channels=channels,
            block_out_channels=tuple(widths),
            layers_per_block=layers,
            down_block_types=("DownBlock2D",) * plain + ("AttnDownBlock2D",),
            up_block_types=("AttnUpBlock2D",) + ("UpBlock2D",) * plain,
            norm_num_groups=GROUPS,
            class_embed_type="identity",
        )

    def pad(self, images: Tensor) -> Tensor:
        """Pad images ``(B, C, H, W)`` to a size that the levels allow, by their border pixels."""
        return F.pad(images, self.pads, mode="replicate") if any(self.pads) else images

    def crop(self, images: Tensor) -> Tensor:
        """Undo `pad`."""
        left, right, top, bottom = self.pads
        height, width = images.shape[2:]
        return images[:, :, top : height - bottom, left : width - right]

    def forward(self, points: Tensor, times: Tensor, rows: Tensor, unlabelled: Tensor) -> Tensor:
        """Return velocities ``(B, C, H', W')`` of padded images.

        Args:
            points: Padded noisy images ``(B, C, H', W')``.
            times: Times ``(B,)`` from 0 (image) to 1 (noise).
            rows: Label rows ``(B, K)``.
            unlabelled: Mask ``(B,)`` of images whose row is left out.
        """
        rows = with_indicator(rows.masked_fill(unlabelled[:, None], 0.0), unlabelled)
        folded = F.pixel_unshuffle(points, self.patch)  # (B, C p p, H'/p, W'/p)
        (velocity,) = self.unet(folded, TIME_SCALE * times, class_labels=self.embed(rows), return_dict=False)
        return F.pixel_shuffle(cast(Tensor, velocity), self.patch)


def integrate(network: VelocityNetwork, noise: Tensor, rows: Tensor, steps: int, guidance: float) -> Tensor:
    r"""Return images ``(B, C, H', W')`` from noise by Euler steps along the velocity.

    With guidance g the velocity is :math:`v_0 + g (v_y - v_0)`, where :math:`v_0` is that without the label row.

    Args:
        network: Velocity network.
        noise: Noise ``(B, C, H', W')``.
        rows: Label rows ``(B, K)``.
        steps: Number of steps.
        guidance: Guidance g; 1 takes the velocity of the label alone.
    """
    from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler

    scheduler: Any = FlowMatchEulerDiscreteScheduler()
    scheduler.set_timesteps(steps, device=noise.device)
    points, labelled = noise, torch.zeros(len(noise), dtype=torch.bool, device=noise.device)
    for timestep in scheduler.timesteps:
        times = (timestep / TIME_SCALE).expand(len(noise))
        velocity = network(points, times, rows, labelled)
        if guidance != 1:
            free = network(points, times, rows, ~labelled)
            velocity = free + guidance * (velocity - free)
        points = scheduler.step(velocity, timestep, points, return_dict=False)[0]
    return points
