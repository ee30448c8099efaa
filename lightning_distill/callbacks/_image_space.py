"""The one rule for the space of images: students see normalised images, and only `StudentEvaluation` normalises.

Images are in one of two spaces: in pixel units (the numbers of a data set, see `DataSpec`), or normalised already.
A data module with a ``spec`` gives pixel units, and integer images are pixel units everywhere. Float images of any
other source are normalised. Pixel units are normalised by the mean and std that the student was trained with.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from lightning_distill.spec import DataSpec

ImageSpace = Literal["pixels", "normalized"]


def batch_space(x: Tensor, in_pixel_units: bool = False) -> ImageSpace:
    """Return the space of images ``(B, C, H, W)``.

    Args:
        x: Images, integers or floats.
        in_pixel_units: Whether their source is known to give pixel units, as a data module with a ``spec`` does.
    """
    return "pixels" if in_pixel_units or not x.is_floating_point() else "normalized"


def to_student_space(x: Tensor, space: ImageSpace, train_spec: DataSpec) -> Tensor:
    """Return images ``(B, C, H, W)`` as float32 in the space that a student was trained in.

    Args:
        x: Images, uint8 or float.
        space: Space of ``x``.
        train_spec: Mean and std, in pixel units, that the student's training images were normalised by.
    """
    return train_spec.normalize(x) if space == "pixels" else x.float()


def identity_statistics(spec: DataSpec) -> DataSpec:
    """Return the spec with mean 0 and std 1: images that are normalised already are trained on as they are."""
    channels = spec.shape[0]
    return replace(spec, mean=(0.0,) * channels, std=(1.0,) * channels)


def statistics_for(space: ImageSpace, train_spec: DataSpec) -> DataSpec:
    """Return the spec to train with on images of this space, so that students see the space of ``train_spec``."""
    return train_spec if space == "pixels" else identity_statistics(train_spec)


def image_statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and std of each channel of images ``(N, C, H, W)``; a constant channel gets std 1."""
    std, mean = torch.std_mean(images.double(), dim=(0, 2, 3), correction=0)
    return tuple(mean.tolist()), tuple(torch.where(std > 0, std, torch.ones_like(std)).tolist())
