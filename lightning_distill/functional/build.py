"""Construction of a functional network by name, for the images of a data set."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import cast

import torch
import torch.nn.functional as F
from torch import nn

from lightning_distill.functional.chunking import auto_chunk_size
from lightning_distill.functional.compile import CompileMode, PerSampleLoss
from lightning_distill.functional.network import FunctionalNetwork, count_flops
from lightning_distill.networks.factory import create_network
from lightning_distill.networks.pretrained import PixelStatistics, create_pretrained, is_pretrained
from lightning_distill.objectives.multi_label import label_entropy
from lightning_distill.spec import DataSpec, Task


def loss_for_task(task: Task) -> PerSampleLoss:
    """Return `label_entropy` for multi-label data, otherwise cross-entropy."""
    return label_entropy if task == "multi-label" else cast(PerSampleLoss, F.cross_entropy)


def estimate_image_passes(steps: int, real_images: int, synthetic_images: int) -> int:
    """Return the forward passes of single images that a distillation run takes at least; a backward counts as two.

    Every method looks at the real batch once (forward) and at the synthetic set forward and backward. The estimate
    depends on the options alone and not on a first step, so that a resumed run compiles where the whole run does.

    Args:
        steps: Number of image steps; below 0 it is unknown and counts as 0.
        real_images: Number of real images in a step.
        synthetic_images: Number of synthetic images.

    >>> estimate_image_passes(100, 2560, 100)
    286000
    """
    return max(steps, 0) * (real_images + 3 * synthetic_images)


def create_for_data(name: str, spec: DataSpec) -> nn.Module:
    """Build the network of a name for images that are normalised by the statistics of a data set.

    Args:
        name: Name of the network, see `networks.create_network`.
        spec: Description of the data: channels, image size, classes, statistics and pixel range.

    Raises:
        ValueError: The name is unknown, or the network does not take the images.
    """
    if is_pretrained(name):
        statistics = PixelStatistics(spec.mean, spec.std, spec.min_value, spec.max_value)
        return create_pretrained(name, spec.shape[0], spec.num_classes, statistics)
    return create_network(name, spec.shape[0], spec.num_classes, spec.shape[1:])


def build_functional_network(
    name: str,
    spec: DataSpec,
    image_passes: float,
    device: torch.device,
    compile: CompileMode,
    sizes: Sequence[int],
    chunk: int | None = None,
) -> FunctionalNetwork:
    """Return a `FunctionalNetwork` that is compiled where that pays, and cut into chunks that fit.

    Args:
        name: Name of the network, from `networks.list_networks` or timm.
        spec: Description of the data: channels, image size, classes and task.
        image_passes: Forward passes of single images in the whole run; a backward pass counts as two.
        device: Device of the run.
        compile: Mode of compilation, ``auto``, ``off`` or ``max``, see `FunctionalNetwork`.
        sizes: Batch sizes to pad to in compiled functions.
        chunk: Number of images per chunk; ``None`` takes `functional.chunking.auto_chunk_size`.

    Raises:
        ValueError: The name is unknown, or the images are too small for the network.
    """
    build = partial(create_for_data, name, spec)
    chunk = chunk or auto_chunk_size(build, spec.shape, device)
    flops = image_passes * count_flops(build, spec.shape)
    return FunctionalNetwork(build, loss_for_task(spec.task), flops=flops, compile=compile, sizes=sizes, chunk=chunk)
