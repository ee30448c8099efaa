"""Sums of the class statistics of real images: one pass over the data for all draws and all subsets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_distill.augmentation.siamese import SiameseAugmentation
from lightning_distill.data.checks.arrays import Array
from lightning_distill.functional.network import FunctionalNetwork, Parameters
from lightning_distill.objectives.class_statistics import ClassStatistic
from lightning_distill.signals.draws import SignalDraws
from lightning_distill.spec import DataSpec
from lightning_distill.utils.lazy_arrays import take

#: Bytes of normalised images that are held at once: 21,000 of 28 px in grey, 440 of 224 px in colour.
CHUNK_BYTES = 2**26
#: Reports the finished and the total number of images times draws.
OnProgress = Callable[[int, int], None]


@dataclass(frozen=True)
class ClassChunk:
    """Images of a data set, ordered by class.

    Args:
        images: Normalised images ``(B, C, H, W)``.
        counts: Number of images of each of the K classes.
        rows: Their row numbers in the data set, ``(B,)``.
    """

    images: Tensor
    counts: list[int]
    rows: NDArray[np.int64]


def class_chunks(
    images: Array,
    labels: NDArray[np.int64],
    spec: DataSpec,
    device: torch.device | str = "cpu",
    *,
    rows: NDArray[np.int64] | None = None,
) -> Iterator[ClassChunk]:
    """Yield images of a data set, each once, in chunks of at most `CHUNK_BYTES`, ordered by class within each chunk.

    Args:
        images: Images ``(N, C, H, W)`` in pixel units.
        labels: Class of each image, ``(N,)``.
        spec: Description of the data: classes, mean and std.
        device: Device of the chunks.
        rows: Row numbers to yield, ``(n,)`` in ascending order; ``None`` yields all.
    """
    rows = np.arange(len(labels)) if rows is None else rows
    size = max(1, CHUNK_BYTES // (4 * int(np.prod(spec.shape))))
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        part = part[np.argsort(labels[part], kind="stable")]
        read = np.sort(part)  # files are read forwards
        pixels = torch.from_numpy(np.ascontiguousarray(take(images, read)))[np.searchsorted(read, part)]
        counts = np.bincount(labels[part], minlength=len(spec.balance_groups)).tolist()
        yield ClassChunk(spec.normalize(pixels.to(device)), counts, part)


@torch.no_grad()
def chunk_sums(
    chunk: ClassChunk,
    network: FunctionalNetwork,
    parameters: Parameters,
    statistic: ClassStatistic,
    augment: SiameseAugmentation,
    seeds: Sequence[int],
    masks: Tensor | None = None,
) -> Tensor:
    """Return the sums ``(S, K, D)`` float32 of a chunk in one draw, of all its images or of S subsets.

    Args:
        chunk: Images ordered by class.
        network: Network of the draw.
        parameters: Parameters of the draw.
        statistic: Statistic of the draw.
        augment: Augmentation.
        seeds: Seed of the augmentation of each class.
        masks: Members of S subsets, ``(S, N)`` bool over the rows of the data set; ``None`` takes one of all images.
    """
    images = augment.of_classes(chunk.images, chunk.counts, seeds)
    features = statistic.features(network.embed(parameters, images))  # (B, D)
    if masks is None:
        return torch.stack([part.sum(0) for part in features.split(chunk.counts)])[None]
    member = masks[:, torch.from_numpy(chunk.rows)].to(features)  # (S, B)
    parts = zip(member.split(chunk.counts, 1), features.split(chunk.counts), strict=True)
    return torch.stack([chosen @ part for chosen, part in parts], 1)


def sum_statistics(
    images: Array,
    labels: NDArray[np.int64],
    spec: DataSpec,
    draws: SignalDraws,
    network: FunctionalNetwork,
    *,
    weights: Parameters | None = None,
    masks: Tensor | None = None,
    device: torch.device | str = "cpu",
    bf16: bool = False,
    on_progress: OnProgress | None = None,
) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """Return the sums ``(S, P, K, D)`` of S subsets in P draws, their counts ``(S, K)``, and the draws' fingerprints.

    Every image is read once; a chunk of images goes through the networks of all draws.

    Args:
        images: Images ``(N, C, H, W)`` in pixel units.
        labels: Class of each image, ``(N,)``.
        spec: Description of the data: classes, mean and std.
        draws: Networks and augmentations.
        network: Network of the draws.
        weights: Trained weights by name, ``(P, ...)``; ``None`` takes those of the seeds.
        masks: Members of S subsets, ``(S, N)`` bool; ``None`` takes one of all images.
        device: Device to compute on.
        bf16: Whether the forward pass is in bf16.
        on_progress: Function that is told the progress.

    Raises:
        ValueError: The masks do not fit the data, or the network has batch norm.
    """
    validate_network(network, draws.network)
    if masks is not None and (masks.dtype != torch.bool or masks.ndim != 2 or masks.shape[1] != len(labels)):
        raise ValueError(f"masks of {len(labels)} images must be bool (S, {len(labels)}), not {tuple(masks.shape)}")
    augment = SiameseAugmentation(draws.augmentation, spec.shape[1:])
    fingerprints = ["" for _ in range(draws.count)]
    sums: Tensor | None = None
    device, done = torch.device(device), 0
    on_device = None if masks is None else masks.to(device)
    for number, chunk in enumerate(class_chunks(images, labels, spec, device)):
        for draw in range(draws.count):
            parameters = draws.parameters(draw, network, device)
            if number == 0:
                fingerprints[draw] = draws.fingerprint(draw, parameters, augment, spec)
            parameters = parameters | {name: rows[draw].to(device) for name, rows in (weights or {}).items()}
            seeds = draws.class_seeds(draw, range(len(chunk.counts)))
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                statistic = draws.statistic(draw, network, parameters, spec)
                part = chunk_sums(chunk, network, parameters, statistic, augment, seeds, on_device).cpu()
            if sums is None:
                sums = torch.zeros(len(part), draws.count, *part.shape[1:])
            sums[:, draw] += part
            done += len(chunk.rows)
            if on_progress is not None:
                on_progress(done, len(labels) * draws.count)
    assert sums is not None
    one_hot = torch.zeros(len(labels), len(spec.balance_groups))
    one_hot[torch.arange(len(labels)), torch.from_numpy(np.asarray(labels, np.int64))] = 1
    counts = one_hot.sum(0)[None] if masks is None else masks.float() @ one_hot
    return sums, counts, tuple(fingerprints)


def validate_network(network: FunctionalNetwork, name: str) -> None:
    """Raise a ValueError for a network whose embedding of an image depends on the others of its batch."""
    if network.batch_norm:
        raise ValueError(
            f"{name} has batch norm: the embedding of an image depends on its batch, so that sums of images mean "
            "nothing; use a network with instance norm, e.g. network='convnet'"
        )
