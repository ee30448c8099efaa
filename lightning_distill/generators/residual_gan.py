"""Small residual networks of a GAN: synthesis from noise and labels, and a critic conditioned on labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Way the labels enter: an embedding beside the noise, or a modulation of every layer and a label-summed critic.
Conditioning = Literal["embedding", "modulated"]
#: Slope of the leaky ReLU, and the smallest number of channels of a stage that is added for larger images.
SLOPE, LEAST_WIDTH = 0.2, 16
#: Stages up to the middle features: 4 and 8 pixels for images of 28, 32, 64 and 128 pixels.
MIDDLE = 2


def start_size(shape: tuple[int, int, int]) -> tuple[tuple[int, int], int]:
    """Return height and width of the first stage, about 4 pixels, and the number of doublings to the image size.

    Args:
        shape: Shape ``(C, H, W)`` of an image.

    Example:
        >>> start_size((1, 28, 28)), start_size((3, 64, 64)), start_size((1, 96, 96))
        (((4, 4), 3), ((4, 4), 4), ((3, 3), 5))
    """
    doublings = max(1, round(math.log2(max(shape[1:]) / 4)))
    height, width = (-(-side // 2**doublings) for side in shape[1:])
    return (height, width), doublings


def stage_widths(widths: Sequence[int], stages: int) -> list[int]:
    """Return the channels of each stage: those given, then half as many for each further stage.

    Example:
        >>> stage_widths([128, 128, 64, 32], 5)
        [128, 128, 64, 32, 16]
    """
    found = list(widths[:stages])
    while len(found) < stages:
        found.append(max(LEAST_WIDTH, found[-1] // 2))
    return found


def pixel_norm(x: Tensor) -> Tensor:
    """Divide by the root mean square over channels, axis 1."""
    return x * x.square().mean(1, keepdim=True).add(1e-8).rsqrt()


class Modulation(nn.Module):
    r"""Normalisation over channels and an affine map from noise and label: :math:`\gamma(z, y) x / rms + \beta(z, y)`.

    Args:
        width: Channels C of the features.
        style: Number of entries of the style vector, which holds noise and label row.

    Reference:
        Han et al.: Breaking medical data sharing boundaries by using synthesized radiographs, arXiv 2012.03769.
    """

    def __init__(self, width: int, style: int) -> None:
        super().__init__()
        self.affine = nn.Linear(style, 2 * width)
        with torch.no_grad():
            self.affine.bias[:width] = 1.0
            self.affine.bias[width:] = 0.0

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """Return modulated features ``(B, C, H, W)``."""
        scale, shift = self.affine(style)[:, :, None, None].chunk(2, 1)  # (B, C, 1, 1)
        modulated: Tensor = pixel_norm(x) * scale + shift
        return modulated


class Residual(nn.Module):
    """Residual block of two convolutions; the last one starts at zero, so that the block starts as the identity.

    Args:
        width: Channels.
        style: Entries of the style vector that modulates both layers; None for none.
    """

    def __init__(self, width: int, style: int | None = None) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.last = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        self.modulations = nn.ModuleList(() if style is None else [Modulation(width, style) for _ in range(2)])

    def forward(self, x: Tensor, style: Tensor | None = None) -> Tensor:
        """Return features ``(B, C, H, W)``."""
        y = self.modulations[0](x, style) if self.modulations else x
        y = self.first(F.leaky_relu(y, SLOPE))
        y = self.modulations[1](y, style) if self.modulations else y
        y = self.last(F.leaky_relu(y, SLOPE))
        return x.add(y)


class Synthesis(nn.Module):
    """Network from noise and label rows to normalised images.

    Args:
        shape: Shape ``(C, H, W)`` of an image.
        num_labels: Number of columns of a label row.
        latent: Number of entries of the noise.
        widths: Channels of the stages from the smallest size on.
        conditioning: Way the labels enter.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        num_labels: int,
        latent: int,
        widths: Sequence[int],
        conditioning: Conditioning,
    ) -> None:
        super().__init__()
        self.start, doublings = start_size(shape)
        self.size, self.modulated = shape[1:], conditioning == "modulated"
        widths = stage_widths(widths, doublings + 1)
        self.embed = None if self.modulated else nn.Linear(num_labels, latent, bias=False)
        inputs = latent + (num_labels if self.modulated else latent)
        self.first = nn.Linear(inputs, widths[0] * math.prod(self.start))
        self.blocks = nn.ModuleList(Residual(width, inputs if self.modulated else None) for width in widths)
        self.bridges = nn.ModuleList(nn.Conv2d(before, after, 1) for before, after in pairwise(widths))
        self.last = nn.Conv2d(widths[-1], shape[0], 1)

    def style(self, noise: Tensor, rows: Tensor) -> Tensor:
        """Return noise and label as one vector."""
        if self.embed is None:
            return pixel_norm(torch.cat([noise, rows], 1))
        return torch.cat([noise, self.embed(rows)], 1)

    def forward(self, noise: Tensor, rows: Tensor) -> Tensor:
        """Return images ``(B, C, H, W)`` from noise ``(B, latent)`` and label rows ``(B, num_labels)``."""
        style = self.style(noise, rows)
        return self.finish(self.stages(style, 0, MIDDLE, self.begin(style)), style)

    def begin(self, style: Tensor) -> Tensor:
        """Return the input of the first stage."""
        start: Tensor = self.first(style)
        return start.view(len(style), -1, *self.start)  # (B, widths[0], h, w)

    def stages(self, style: Tensor | None, start: int, end: int, x: Tensor) -> Tensor:
        """Return the features after stages ``start`` to ``end - 1``; each but the first doubles the size."""
        for number, block in list(enumerate(self.blocks))[start:end]:
            if number:
                x = F.interpolate(self.bridges[number - 1](x), scale_factor=2, mode="bilinear", align_corners=False)
            x = block(x, style)
        return x

    def finish(self, features: Tensor, style: Tensor | None = None) -> Tensor:
        """Return images ``(B, C, H, W)`` from the features after the first two stages."""
        images: Tensor = self.last(F.leaky_relu(self.stages(style, MIDDLE, len(self.blocks), features), SLOPE))
        top, left = (have - want for have, want in zip(images.shape[2:], self.size, strict=True))
        top, left = top // 2, left // 2
        return images[:, :, top : top + self.size[0], left : left + self.size[1]]


class Critic(nn.Module):
    r"""Network from normalised images and label rows to logits.

    With h the last features, the logit is :math:`\langle W h, E y \rangle / \sqrt F`, or for ``modulated`` the sum over
    labels :math:`\sum_k y_k (W h + b)_k`.

    Args:
        shape: Shape ``(C, H, W)`` of an image.
        num_labels: Number of columns of a label row.
        widths: Channels of the stages from the smallest size on.
        conditioning: Way the labels enter.
        features: Number F of features that are compared with the embedding of the labels.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        num_labels: int,
        widths: Sequence[int],
        conditioning: Conditioning,
        features: int = 128,
    ) -> None:
        super().__init__()
        start, doublings = start_size(shape)
        full = tuple(side * 2**doublings for side in start)
        rows, columns = (side - own for side, own in zip(full, shape[1:], strict=True))
        self.pads = (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2)
        widths = stage_widths(widths, doublings + 1)[::-1]
        self.first = nn.Conv2d(shape[0], widths[0], 1)
        self.blocks = nn.ModuleList(Residual(width) for width in widths)
        self.bridges = nn.ModuleList(nn.Conv2d(before, after, 1) for before, after in pairwise(widths))
        modulated = conditioning == "modulated"
        self.embed = None if modulated else nn.Linear(num_labels, features, bias=False)
        self.last = nn.Linear(widths[-1] * math.prod(start), num_labels if modulated else features, bias=modulated)

    def forward(self, images: Tensor, rows: Tensor) -> Tensor:
        """Return logits ``(B,)`` of images ``(B, C, H, W)`` with label rows ``(B, num_labels)``."""
        x = self.first(F.pad(images, self.pads))  # zero is the mean of normalised images
        for number, block in enumerate(self.blocks):
            if number:
                x = F.avg_pool2d(self.bridges[number - 1](x), 2)
            x = block(x)
        h: Tensor = self.last(F.leaky_relu(x, SLOPE).flatten(1))  # (B, F) or (B, num_labels)
        if self.embed is None:
            return (h * rows).sum(1)
        return h.mul(self.embed(rows)).sum(1) / math.sqrt(h.shape[1])
