"""ConvNet of equal blocks, the standard network of dataset distillation, with the options of its ablations."""

from __future__ import annotations

from typing import Literal, cast

import torch
from torch import Tensor, nn

from lightning_distill.networks.fused_ops import norm_relu_pool

Norm = Literal["instance", "batch", "layer", "group", "none"]
Activation = Literal["relu", "leaky", "sigmoid", "swish"]
Pool = Literal["avg", "max", "none"]


class InstanceNorm(nn.GroupNorm):
    """Group norm with one group per channel, without running statistics: training equals evaluation.

    Eager mode uses the library kernel; under a compiler the same formula is written out as ``var_mean``, which fuses
    with the activation and the pooling behind it.

    Raises:
        ValueError: Feature maps are 1 x 1, which the norm would make zero.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``(B, C, H, W)`` with float32 statistics; the dtype is kept."""
        if x.shape[2:] == (1, 1):
            raise ValueError(
                "the images are too small for this network: instance norm makes its 1 x 1 feature maps zero; use "
                "larger images (size=), another network (convnet), or one with batch norm (resnet18_batch, vgg11_batch)"
            )
        if not torch.compiler.is_compiling():
            return super().forward(x)
        var, mean = torch.var_mean(x.float(), dim=(2, 3), correction=0, keepdim=True)  # (B, C, 1, 1)
        normal = (x.float() - mean) * torch.rsqrt(var + self.eps)
        return (normal * self.weight[:, None, None] + self.bias[:, None, None]).to(x.dtype)


def make_norm(norm: Norm, channels: int, height: int, width: int) -> nn.Module:
    """Return the normalisation layer of a block with output ``(B, channels, height, width)``."""
    if norm == "instance":
        return InstanceNorm(channels)
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    if norm == "layer":
        return nn.LayerNorm([channels, height, width])
    return nn.GroupNorm(4, channels) if norm == "group" else nn.Identity()


def make_activation(activation: Activation) -> nn.Module:
    """Return the activation function by its name in the papers."""
    return {"relu": nn.ReLU(), "leaky": nn.LeakyReLU(0.01), "sigmoid": nn.Sigmoid(), "swish": nn.SiLU()}[activation]


class ConvNet(nn.Module):
    """ConvNet of ``depth`` blocks of Conv 3x3 - norm - activation - pool 2x2, then one linear layer.

    28 px images are padded to 32 in the first convolution, grey or colour, so that three poolings end at 4x4.
    320,010 parameters at 3x32x32 and ten classes, 317,706 at 1x28x28.

    Args:
        in_channels: Number of image channels C.
        num_classes: Number of classes K.
        image_size: Image size ``(H, W)`` in pixels.
        width: Number of channels of every block.
        depth: Number of blocks.
        norm: Normalisation: ``instance`` (default), ``batch``, ``layer``, ``group`` or ``none``.
        activation: Activation function: ``relu`` (default), ``leaky``, ``sigmoid`` or ``swish``.
        pool: Pooling: ``avg`` (default), ``max`` or ``none``.

    Raises:
        ValueError: The image is too small for the number of poolings.

    Reference:
        Zhao, Mopuri, Bilen: Dataset Condensation with Gradient Matching, ICLR 2021, arXiv 2006.05929.
    """

    compilable = True
    #: Whether each block runs as one operation: faster when compiled, but differentiable only once.
    fused = False

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        image_size: tuple[int, int],
        width: int = 128,
        depth: int = 3,
        norm: Norm = "instance",
        activation: Activation = "relu",
        pool: Pool = "avg",
    ) -> None:
        super().__init__()
        height, width_px = (32 if side == 28 else side for side in image_size)
        plain = (norm, activation, pool) == ("instance", "relu", "avg")
        self.fusible = plain and height % 2**depth == 0 and width_px % 2**depth == 0
        padding = (3 if image_size[0] == 28 else 1, 3 if image_size[1] == 28 else 1)
        if pool != "none" and min(height, width_px) < 2**depth:
            raise ValueError(
                f"images of {image_size[0]}x{image_size[1]} px are too small for {depth} poolings; "
                f"use at least {2**depth} px or a shallower network"
            )
        layers: list[nn.Module] = []
        for block in range(depth):
            layers.append(
                nn.Conv2d(in_channels if block == 0 else width, width, 3, padding=padding if block == 0 else (1, 1))
            )
            layers.append(make_norm(norm, width, height, width_px))
            layers.append(make_activation(activation))
            if pool != "none":
                layers.append(nn.AvgPool2d(2) if pool == "avg" else nn.MaxPool2d(2))
                height, width_px = height // 2, width_px // 2
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(width * height * width_px, num_classes)

    def embed(self, x: Tensor) -> Tensor:
        """Map images ``(B, C, H, W)`` to the flattened features ``(B, width * H' * W')`` before the linear layer."""
        if not (self.fused and self.fusible):
            return cast(Tensor, self.features(x)).flatten(1)
        layers = list(self.features)
        for convolution, norm in zip(layers[::4], layers[1::4], strict=True):
            assert isinstance(norm, InstanceNorm)
            x = norm_relu_pool(convolution(x), norm.weight, norm.bias, norm.eps)
        return x.flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        """Map images ``(B, C, H, W)`` to logits ``(B, K)``."""
        return cast(Tensor, self.head(self.embed(x)))
