"""Synthetic set: images as parameters, labels, and their export format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lightning_distill.sets import coresets
from lightning_distill.spec import FLOAT16_MAX, DataSpec

SmallClass = Literal["error", "fewer", "repeat"]
INIT_METHODS = ("real", "noise", "kmeans", "herding", "kcenter")


class SyntheticSet(nn.Module):
    """Synthetic images in normalised space as one parameter, ordered by class.

    Args:
        labels: Sorted indices ``(N,)`` int64 into `DataSpec.balance_groups`; group c has ``counts[c]`` images.
        spec: Specification of the data that the set replaces.

    Attributes:
        images: Parameter ``(N, C, H, W)`` float32, normalised.
        labels: Buffer ``(N,)`` int64.
        counts: Number of images per group.
        soft_label_logits: Parameter ``(N, K)`` float32 with logits of learned soft labels, or None.
        lr: Scalar parameter with the learned learning rate of a student, or None.

    Example:
        >>> spec = DataSpec("demo", (1, 8, 8), ("a", "b"), mean=(127.0,), std=(64.0,))
        >>> synthetic = SyntheticSet(torch.tensor([0, 0, 1, 1]), spec)
        >>> synthetic.of_class(1).shape, synthetic.pixels().dtype
        (torch.Size([2, 1, 8, 8]), torch.uint8)
    """

    labels: Tensor
    soft_label_logits: nn.Parameter | None
    lr: nn.Parameter | None

    def __init__(self, labels: Tensor, spec: DataSpec) -> None:
        super().__init__()
        self.spec = spec
        self.images = nn.Parameter(torch.zeros(len(labels), *spec.shape))
        self.register_buffer("labels", labels)
        self.register_parameter("soft_label_logits", None)
        self.register_parameter("lr", None)
        self.counts: list[int] = torch.bincount(labels, minlength=len(spec.balance_groups)).tolist()
        self._ends = np.cumsum(self.counts).tolist()

    def __len__(self) -> int:
        return len(self.labels)

    def of_class(self, label: int) -> Tensor:
        """Images of one class, ``(counts[label], C, H, W)``; gradients reach the parameter."""
        return self.images[self._ends[label] - self.counts[label] : self._ends[label]]

    def targets(self) -> Tensor:
        """Training targets: those of `DataSpec.targets`, or learned probabilities ``(N, K)``."""
        if self.soft_label_logits is None:
            return self.spec.targets(self.labels)
        return self.soft_label_logits.sigmoid() if self.spec.multi_label else self.soft_label_logits.softmax(1)

    def pixels(self) -> Tensor:
        """Export images ``(N, C, H, W)`` in pixel units, clipped to the valid range, as uint8 or float16."""
        low, high = max(self.spec.min_value, -FLOAT16_MAX), min(self.spec.max_value, FLOAT16_MAX)
        pixels = self.spec.denormalize(self.images.detach()).clamp(low, high)
        return pixels.round().to(torch.uint8) if self.spec.storage_dtype == "uint8" else pixels.half()

    def add_learnables(self, soft_label_logits: Tensor | None = None, lr: float | None = None) -> SyntheticSet:
        """Add learnable soft-label logits ``(N, K)`` and a student's learning rate; return the set itself."""
        self.soft_label_logits = (
            None if soft_label_logits is None else nn.Parameter(soft_label_logits.detach().float().clone())
        )
        self.lr = None if lr is None else nn.Parameter(torch.tensor(float(lr)))
        return self

    @classmethod
    def empty_like_state(cls, state: Mapping[str, Tensor], spec: DataSpec) -> SyntheticSet:
        """Create a set with the shapes of a ``state_dict`` to load it into."""
        room = cls(state["labels"].cpu(), spec)
        return room.add_learnables(state.get("soft_label_logits"), 0.0 if "lr" in state else None)

    def exported_images(self) -> Tensor:
        """Normalise the exported pixels: the images that students are trained on."""
        return self.spec.normalize(self.pixels())

    @classmethod
    def from_real_data(
        cls,
        images: NDArray[np.generic],
        labels: NDArray[np.int64],
        spec: DataSpec,
        ipc: int | Sequence[int],
        init: str,
        seed: int,
        on_small_class: SmallClass = "error",
        class_ratio: coresets.Ratio = "balanced",
    ) -> SyntheticSet:
        """Initialise a set with noise, or with copies of real images selected by a coreset method.

        Args:
            images: Real images ``(N, C, H, W)`` in pixel units.
            labels: Indices ``(N,)`` into `DataSpec.balance_groups`.
            spec: Specification of the data.
            ipc: Images per class: one number, or one number per class.
            init: Initialisation: ``real`` (random real images), ``noise`` (standard normal), ``kmeans``,
                ``herding`` or ``kcenter``.
            seed: Seed of the initialisation.
            on_small_class: Policy for a class with fewer images than its ipc: ``error``, ``fewer`` (use all its images)
                or ``repeat``. It does not apply to ``noise``.
            class_ratio: ``balanced`` uses ipc for every class; ``natural`` divides the same total in proportion to the
                data (`coresets.counts_for_ratio`).

        Raises:
            ValueError: ``init`` is unknown, ipc is below one or of the wrong length, or a class has too few images.
        """
        if init not in INIT_METHODS:
            raise ValueError(f"unknown init {init!r}; use one of {', '.join(INIT_METHODS)}")
        counts = images_per_class(ipc, spec)
        if class_ratio != "balanced":
            counts = coresets.counts_for_ratio(labels, sum(counts), class_ratio)
        available = counts if init == "noise" else np.bincount(labels, minlength=len(spec.balance_groups))
        counts = limit_to_available(counts, available, spec, on_small_class)
        synthetic = cls(torch.arange(len(counts)).repeat_interleave(torch.tensor(counts)), spec)
        if init == "noise":
            values = torch.randn(synthetic.images.shape, generator=torch.Generator().manual_seed(seed))
        else:
            rows = coresets.select("random" if init == "real" else init, images, labels, counts, spec, seed)
            values = spec.normalize(torch.from_numpy(np.ascontiguousarray(images[rows])))
        synthetic.images.data.copy_(values)
        return synthetic


def images_per_class(ipc: int | Sequence[int], spec: DataSpec) -> list[int]:
    """Expand ipc to one count per class.

    Raises:
        ValueError: A count is below one, or the list length differs from the number of classes.
    """
    counts = list(map(int, ipc)) if isinstance(ipc, Sequence) else [int(ipc)] * len(spec.balance_groups)
    if len(counts) != len(spec.balance_groups):
        raise ValueError(f"ipc has {len(counts)} numbers but {spec.name} has {len(spec.balance_groups)} classes")
    if min(counts) < 1:
        raise ValueError(f"ipc={ipc}; every class needs at least 1 image")
    return counts


def limit_to_available(
    counts: Sequence[int], available: Sequence[int] | NDArray[np.int64], spec: DataSpec, on_small_class: SmallClass
) -> list[int]:
    """Apply the policy for classes with fewer real images than requested.

    Raises:
        ValueError: A class has too few images under the policy ``error``, or the policy is unknown.
    """
    if on_small_class not in get_args(SmallClass):
        raise ValueError(f"unknown on_small_class {on_small_class!r}; use one of {', '.join(get_args(SmallClass))}")
    for name, wanted, count in zip(spec.balance_groups, counts, available, strict=True):
        if on_small_class == "error" and count < wanted:
            raise ValueError(
                f"class {name!r} has {count} training images, ipc={wanted} needs {wanted}; "
                "lower ipc or set on_small_class='repeat' or 'fewer'"
            )
    if on_small_class == "fewer":
        return [min(wanted, int(count)) for wanted, count in zip(counts, available, strict=True)]
    return list(counts)
