"""Kornia operations of DSA that Kornia has in another form.

Kornia's own ones clamp to [0, 1], keep cutout squares inside the image, and scale the content instead of the grid.
"""

from __future__ import annotations

import torch
from kornia import augmentation as K
from kornia.augmentation.random_generator import PlainUniformGenerator
from torch import Tensor

Params = dict[str, Tensor]
Flags = dict[str, object]


class RandomSaturation(K.IntensityAugmentationBase2D):
    """Saturation: ``(x - m_c) * 2u + m_c`` with ``m_c`` the mean over channels at each pixel, u ~ U(0, 1), not clamped.

    It is the identity on grey images. Shape: ``(B, C, H, W)`` to ``(B, C, H, W)``.

    Args:
        same_on_batch: Whether all images of a batch share one factor.
    """

    def __init__(self, same_on_batch: bool = False) -> None:
        super().__init__(p=1.0, same_on_batch=same_on_batch)
        self._param_generator = PlainUniformGenerator((torch.tensor([0.0, 2.0]), "factor", None, None))

    def apply_transform(self, input: Tensor, params: Params, flags: Flags, transform: Tensor | None = None) -> Tensor:
        """Scale the difference of each pixel from its own grey value."""
        grey = input.mean(1, keepdim=True)  # (B, 1, H, W)
        return (input - grey) * _per_image(params["factor"], input) + grey


class RandomContrast(K.IntensityAugmentationBase2D):
    """Contrast: ``(x - m) * (u + 0.5) + m`` with ``m`` the mean of the image, u ~ U(0, 1), not clamped.

    Shape: ``(B, C, H, W)`` to ``(B, C, H, W)``.

    Args:
        same_on_batch: Whether all images of a batch share one factor.
    """

    def __init__(self, same_on_batch: bool = False) -> None:
        super().__init__(p=1.0, same_on_batch=same_on_batch)
        self._param_generator = PlainUniformGenerator((torch.tensor([0.5, 1.5]), "factor", None, None))

    def apply_transform(self, input: Tensor, params: Params, flags: Flags, transform: Tensor | None = None) -> Tensor:
        """Scale the difference of each pixel from the mean of its image."""
        mean = input.mean((1, 2, 3), keepdim=True)  # (B, 1, 1, 1)
        return (input - mean) * _per_image(params["factor"], input) + mean


class RandomCutout(K.IntensityAugmentationBase2D):
    """Cutout: zero a square of half the side around a uniform centre, clipped at the border (mean erased area 0.186).

    Shape: ``(B, C, H, W)`` to ``(B, C, H, W)``.

    Args:
        same_on_batch: Whether all images of a batch share one square.
    """

    def __init__(self, same_on_batch: bool = False) -> None:
        super().__init__(p=1.0, same_on_batch=same_on_batch)
        unit = torch.tensor([0.0, 1.0])
        self._param_generator = PlainUniformGenerator((unit, "row", None, None), (unit, "column", None, None))

    def apply_transform(self, input: Tensor, params: Params, flags: Flags, transform: Tensor | None = None) -> Tensor:
        """Multiply by a mask that is zero inside the square."""
        rows = self._inside(params["row"].to(input.device, non_blocking=True), input.shape[2])  # (B, H)
        columns = self._inside(params["column"].to(input.device, non_blocking=True), input.shape[3])  # (B, W)
        hole = rows[:, None, :, None] & columns[:, None, None, :]  # (B, 1, H, W)
        return input.masked_fill(hole, 0.0)

    @staticmethod
    def _inside(unit: Tensor, side: int) -> Tensor:
        """Return a mask ``(B, side)`` of the positions within half the side around the drawn centre."""
        length = int(side * 0.5 + 0.5)
        # An even square reaches one position further to the left; its centre ranges over side + 1 positions, so that
        # both borders are clipped alike.
        first = (unit * (side + 1 - length % 2)).floor() - length // 2  # (B,)
        position = torch.arange(side, device=unit.device)
        return (position >= first[:, None]) & (position < first[:, None] + length)


class RandomGridScale(K.RandomAffine):
    """Scaling of the sampling grid by independent sx, sy ~ U(1/1.2, 1.2); above 1 the content shrinks.

    Kornia's own op scales the content, and the reciprocal of its factor is not uniform. Shape: ``(B, C, H, W)`` to
    ``(B, C, H, W)``.

    Args:
        same_on_batch: Whether all images of a batch share one pair of factors.
    """

    def __init__(self, same_on_batch: bool = False) -> None:
        bounds = (1 / 1.2, 1.2, 1 / 1.2, 1.2)
        super().__init__(0.0, scale=bounds, p=1.0, same_on_batch=same_on_batch, align_corners=False)

    def generate_parameters(self, batch_shape: tuple[int, ...]) -> Params:
        """Return Kornia's parameters with the scale inverted, as the scale of the grid."""
        params = super().generate_parameters(batch_shape)
        return {**params, "scale": 1 / params["scale"]}


def _per_image(factor: Tensor, images: Tensor) -> Tensor:
    return factor.to(images, non_blocking=True).view(-1, 1, 1, 1)
