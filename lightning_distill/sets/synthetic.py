"""The distilled set: images as parameters, labels, and the form in which they are shipped."""

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
    """Images in normalised space as one parameter, ordered by class; some methods learn labels or a rate beside them.

    Args:
        labels: ``(N,)`` int64, sorted; class c (of multi-label data, combination c of `DataSpec.balance_groups`) holds
            ``counts[c]`` images.
        spec: what the set stands for.

    Attributes:
        images: ``nn.Parameter`` of shape ``(N, C, H, W)``, float32, normalised.
        labels: buffer ``(N,)``, int64.
        counts: images of each class.
        soft_label_logits: logits of learned soft labels, ``nn.Parameter`` ``(N, K)`` float32, or None.
        lr: learned learning rate of a student, scalar ``nn.Parameter``, or None.
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
        """The images of one class, ``(counts[label], C, H, W)``; gradients flow to the parameter."""
        return self.images[self._ends[label] - self.counts[label] : self._ends[label]]

    def targets(self) -> Tensor:
        """What a network should say of the images: see `DataSpec.targets`, or learned probabilities ``(N, K)``."""
        if self.soft_label_logits is None:
            return self.spec.targets(self.labels)
        return self.soft_label_logits.sigmoid() if self.spec.multi_label else self.soft_label_logits.softmax(1)

    def pixels(self) -> Tensor:
        """What is shipped: ``(N, C, H, W)`` in pixel units, clipped to the data's range, uint8 or float16."""
        low, high = max(self.spec.min_value, -FLOAT16_MAX), min(self.spec.max_value, FLOAT16_MAX)
        pixels = self.spec.denormalize(self.images.detach()).clamp(low, high)
        return pixels.round().to(torch.uint8) if self.spec.storage_dtype == "uint8" else pixels.half()

    def add_learnables(self, soft: Tensor | None = None, lr: float | None = None) -> SyntheticSet:
        """Add what else is learned: logits of soft labels ``(N, K)``, a student's learning rate. Returns itself."""
        self.soft_label_logits = None if soft is None else nn.Parameter(soft.detach().float().clone())
        self.lr = None if lr is None else nn.Parameter(torch.tensor(float(lr)))
        return self

    @classmethod
    def empty_like_state(cls, state: Mapping[str, Tensor], spec: DataSpec) -> SyntheticSet:
        """A set of the shape of a ``state_dict``, to load it into."""
        room = cls(state["labels"].cpu(), spec)
        return room.add_learnables(state.get("soft_label_logits"), 0.0 if "lr" in state else None)

    def exported_images(self) -> Tensor:
        """The images as somebody who was sent them sees them: `pixels`, normalised again. What students train on."""
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
        """A new set for the data: noise, or copies of real images chosen by a coreset method.

        Args:
            images: real ``(N, C, H, W)`` in pixel units.
            labels: ``(N,)``, numbers of `DataSpec.balance_groups`.
            spec: of the data.
            ipc: images per class, one number or one for each class.
            init: ``real`` (random real images), ``noise`` (standard normal, normalised space), ``kmeans``,
                ``herding`` or ``kcenter``.
            seed: of the start.
            on_small_class: what to do where a class has fewer images than its ipc: ``error``, ``fewer`` (take what
                there is) or ``repeat``. ``noise`` needs no images and never minds.
            class_ratio: ``balanced`` takes ipc as it is, ``natural`` shares out as many images in the ratio of the data
                (`coresets.counts_for_ratio`).

        Raises:
            ValueError: unknown init, ipc below one or of the wrong length, a class with too few images.
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
    """One count for each class.

    Raises:
        ValueError: a count below one, or a list whose length is not the number of classes.
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
    """Apply the policy for classes that have fewer real images than asked.

    Raises:
        ValueError: under the policy ``error``, naming the class; or an unknown policy.
    """
    if on_small_class not in get_args(SmallClass):
        raise ValueError(f"unknown on_small_class {on_small_class!r}; use one of {', '.join(get_args(SmallClass))}")
    for name, wanted, there in zip(spec.balance_groups, counts, available, strict=True):
        if on_small_class == "error" and there < wanted:
            raise ValueError(
                f"class {name!r} has {there} training images, ipc={wanted} needs {wanted}; "
                "lower ipc or set on_small_class='repeat' or 'fewer'"
            )
    if on_small_class == "fewer":
        return [min(wanted, int(there)) for wanted, there in zip(counts, available, strict=True)]
    return list(counts)
