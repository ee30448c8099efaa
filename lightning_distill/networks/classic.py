"""Further networks for evaluation, adapted to any number of channels and any image size.

VGG11 and ResNet18 have instance norm as in the field's tables, AlexNet none; each comes with batch norm too.
"""

from __future__ import annotations

from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_distill.networks.convnet import InstanceNorm

Norm = Literal["instance", "batch", "none"]


def _norm(norm: Norm, channels: int) -> nn.Module:
    if norm == "none":
        return nn.Identity()
    return InstanceNorm(channels) if norm == "instance" else nn.BatchNorm2d(channels)


class Classic(nn.Module):
    """Base class of feature layers with one linear layer. Subclasses set ``features`` and ``head``."""

    compilable = True
    features: nn.Module
    head: nn.Linear

    def embed(self, x: Tensor) -> Tensor:
        """Map images ``(B, C, H, W)`` to the features ``(B, F)`` before the last linear layer."""
        return cast(Tensor, self.features(x)).flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        """Map images ``(B, C, H, W)`` to logits ``(B, K)``."""
        return cast(Tensor, self.head(self.embed(x)))

    def _add_head(self, in_channels: int, num_classes: int, image_size: tuple[int, int]) -> None:
        self.eval()  # the zeros must not enter running statistics
        with torch.no_grad():
            width = self.embed(torch.zeros(1, in_channels, *image_size)).shape[1]
        self.train()
        self.head = nn.Linear(width, num_classes)


class MLP(Classic):
    """Multi-layer perceptron with two hidden layers of 128 units."""

    def __init__(self, in_channels: int, num_classes: int, image_size: tuple[int, int]) -> None:
        super().__init__()
        pixels = in_channels * image_size[0] * image_size[1]
        self.features = nn.Sequential(nn.Flatten(), nn.Linear(pixels, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU())
        self.head = nn.Linear(128, num_classes)


class LeNet(Classic):
    """LeNet: 5x5 convolutions with 6 and 16 channels and max pooling, then 120 and 84 units; the first is padded."""

    def __init__(self, in_channels: int, num_classes: int, image_size: tuple[int, int]) -> None:
        super().__init__()
        convolutions = nn.Sequential(
            nn.Conv2d(in_channels, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5, padding=2 if min(image_size) < 16 else 0), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        )  # fmt: skip
        with torch.no_grad():
            width = convolutions(torch.zeros(1, in_channels, *image_size)).shape[1]
        self.features = nn.Sequential(convolutions, nn.Linear(width, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU())
        self.head = nn.Linear(84, num_classes)


class AlexNet(Classic):
    """AlexNet with five convolutions (128, 192, 256, 192, 192), max pooling after 1, 2 and 5; no norm."""

    def __init__(self, in_channels: int, num_classes: int, image_size: tuple[int, int], norm: Norm = "none") -> None:
        super().__init__()
        plan = [(128, 5, True), (192, 5, True), (256, 3, False), (192, 3, False), (192, 3, True)]
        self.features = _convolutions(in_channels, plan, norm, image_size)
        self._add_head(in_channels, num_classes, image_size)


class VGG11(Classic):
    """VGG11 with eight 3x3 convolutions (64, 128, 256, 256, 512, 512, 512, 512), pooling down to 1x1 at most."""

    def __init__(
        self, in_channels: int, num_classes: int, image_size: tuple[int, int], norm: Norm = "instance"
    ) -> None:
        super().__init__()
        widths = [(64, True), (128, True), (256, False), (256, True), (512, False), (512, True), (512, False)]
        plan = [(width, 3, pool) for width, pool in widths] + [(512, 3, True)]
        self.features = _convolutions(in_channels, plan, norm, image_size)
        self._add_head(in_channels, num_classes, image_size)


class ResNet18(Classic):
    """ResNet18 for CIFAR: 3x3 stem without pooling, four stages of two basic blocks, global average pooling."""

    def __init__(
        self, in_channels: int, num_classes: int, image_size: tuple[int, int], norm: Norm = "instance"
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(in_channels, 64, 3, padding=1, bias=False), _norm(norm, 64), nn.ReLU()]
        width = 64
        for stage, out in enumerate((64, 128, 256, 512)):
            layers += [_BasicBlock(width, out, 1 if stage == 0 else 2, norm), _BasicBlock(out, out, 1, norm)]
            width = out
        self.features = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1))
        self.head = nn.Linear(512, num_classes)


class _BasicBlock(nn.Module):
    def __init__(self, width: int, out: int, stride: int, norm: Norm) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, out, 3, stride, 1, bias=False), _norm(norm, out), nn.ReLU(),
            nn.Conv2d(out, out, 3, 1, 1, bias=False), _norm(norm, out),
        )  # fmt: skip
        same = stride == 1 and width == out
        self.skip = (
            nn.Identity() if same else nn.Sequential(nn.Conv2d(width, out, 1, stride, bias=False), _norm(norm, out))
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.skip(x))


def _convolutions(
    in_channels: int, plan: list[tuple[int, int, bool]], norm: Norm, image_size: tuple[int, int]
) -> nn.Sequential:
    """Build convolution blocks from (width, kernel, pooling), each with norm and ReLU.

    A pooling that would leave one pixel is left out unless it is the last layer: a norm over one pixel is a constant.
    """
    layers: list[nn.Module] = []
    side = min(image_size)
    for block, (width, kernel, pool) in enumerate(plan, start=1):
        layers += [nn.Conv2d(in_channels, width, kernel, padding=kernel // 2), _norm(norm, width), nn.ReLU()]
        if pool and (side > 2 or block == len(plan)):
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
            side = -(-side // 2)
        in_channels = width
    return nn.Sequential(*layers)
