"""Synthetic set: images as parameters, labels, and their export format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lightning_distill.sets import coresets
from lightning_distill.sets.formation import decode, encode, validate_formation
from lightning_distill.sets.image_grid import image_grid, png_bytes
from lightning_distill.sets.summary import describe_set
from lightning_distill.spec import FLOAT16_MAX, DataSpec

SmallClass = Literal["error", "fewer", "repeat"]
INIT_METHODS = ("real", "noise", "kmeans", "herding", "kcenter")


class SyntheticSet(nn.Module):
    """Synthetic images in normalised space as one parameter, ordered by class.

    Args:
        labels: Sorted indices ``(N,)`` int64 of the stored images into `DataSpec.balance_groups`.
        spec: Specification of the data that the set replaces.
        formation: Number f of sub-images along each side of a stored image, see `formation.decode`.

    Attributes:
        images: Parameter ``(N, C, H, W)`` float32, the stored images, normalised.
        labels: Buffer ``(N,)`` int64, the labels of the stored images.
        counts: Number of sub-images per group: f * f for each stored image.
        soft_label_logits: Parameter ``(N * f * f, K)`` float32 with logits of learned soft labels of the sub-images, or
            None.
        latents: Buffer ``(N, F, h, w)`` float32 with the features that a generator makes the images of, or None where
            pixels are learned.
        lr: Scalar parameter with the learned learning rate of a student, or None.
        init: Initialisation of the images where it is known, see `from_real_data`.

    Example:
        >>> spec = DataSpec("demo", (1, 8, 8), ("a", "b"), mean=(127.0,), std=(64.0,))
        >>> synthetic = SyntheticSet(torch.tensor([0, 0, 1, 1]), spec)
        >>> synthetic.of_class(1).shape, synthetic.pixels().dtype
        (torch.Size([2, 1, 8, 8]), torch.uint8)
        >>> synthetic
        SyntheticSet(4 images, 2 classes x 2, 1x8x8)
    """

    labels: Tensor
    soft_label_logits: nn.Parameter | None
    lr: nn.Parameter | None
    latents: Tensor | None

    def __init__(self, labels: Tensor, spec: DataSpec, formation: int = 1) -> None:
        super().__init__()
        self.spec, self.formation = spec, formation
        self.init: str | None = None
        self.images = nn.Parameter(torch.zeros(len(labels), *spec.shape))
        self.register_buffer("labels", labels)
        self.register_parameter("soft_label_logits", None)
        self.register_parameter("lr", None)
        self.register_buffer("latents", None)
        stored = torch.bincount(labels, minlength=len(spec.balance_groups)).tolist()
        self.counts: list[int] = [formation**2 * count for count in stored]
        self._stored_ends = np.cumsum([0, *stored]).tolist()

    def __len__(self) -> int:
        """Return the number of stored images."""
        return len(self.labels)

    def __repr__(self) -> str:
        """Return number, classes, shape and start of the images in one line."""
        about = describe_set(self.labels.cpu(), self.spec, self.formation, {"start": self.init})
        soft = ", learned soft labels" if self.soft_label_logits is not None else ""
        return f"SyntheticSet({about}{soft}{', learned lr' if self.lr is not None else ''})"

    def _repr_png_(self) -> bytes:
        """Return a picture of the images as they are exported, for notebooks."""
        images = decode(self.pixels().float(), self.formation).cpu()
        return png_bytes(image_grid(images, self.decoded_labels.cpu(), self.spec))

    @property
    def decoded_labels(self) -> Tensor:
        """Labels ``(N * f * f,)`` of the sub-images."""
        return self.labels.repeat_interleave(self.formation**2) if self.formation > 1 else self.labels

    def decoded(self) -> Tensor:
        """Return all sub-images at full size, ``(N * f * f, C, H, W)``; gradients reach the parameter."""
        return decode(self.images, self.formation)

    def of_class(self, label: int) -> Tensor:
        """Sub-images of one class, ``(counts[label], C, H, W)``; gradients reach the parameter."""
        return decode(self.images[self._stored_ends[label] : self._stored_ends[label + 1]], self.formation)

    @property
    def learned(self) -> Tensor:
        """Tensor that the steps of a distillation change: the images, or the features they are made of."""
        return self.images if self.latents is None else self.latents

    def targets(self) -> Tensor:
        """Training targets of the sub-images: those of `DataSpec.targets`, or learned probabilities."""
        if self.soft_label_logits is None:
            return self.spec.targets(self.decoded_labels)
        return self.soft_label_logits.sigmoid() if self.spec.multi_label else self.soft_label_logits.softmax(1)

    def pixels(self) -> Tensor:
        """Export the stored images ``(N, C, H, W)`` in pixel units, clipped to the valid range, as uint8 or float16."""
        low, high = max(self.spec.min_value, -FLOAT16_MAX), min(self.spec.max_value, FLOAT16_MAX)
        pixels = self.spec.denormalize(self.images.detach()).clamp(low, high)
        return pixels.round().to(torch.uint8) if self.spec.storage_dtype == "uint8" else pixels.half()

    def add_learnables(self, soft_label_logits: Tensor | None = None, lr: float | None = None) -> SyntheticSet:
        """Add learnable soft-label logits ``(N * f * f, K)`` and a student's learning rate; return the set itself."""
        self.soft_label_logits = (
            None if soft_label_logits is None else nn.Parameter(soft_label_logits.detach().float().clone())
        )
        self.lr = None if lr is None else nn.Parameter(torch.tensor(float(lr)))
        return self

    @classmethod
    def empty_like_state(cls, state: Mapping[str, Tensor], spec: DataSpec, formation: int = 1) -> SyntheticSet:
        """Create a set with the shapes of a ``state_dict`` to load it into."""
        room = cls(state["labels"].cpu(), spec, formation)
        if "latents" in state:
            room.latents = torch.zeros_like(state["latents"], device="cpu")
        return room.add_learnables(state.get("soft_label_logits"), 0.0 if "lr" in state else None)

    def exported_images(self) -> Tensor:
        """Normalise the exported pixels and decode them: the images that students are trained on."""
        return decode(self.spec.normalize(self.pixels()), self.formation)

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
        formation: int = 1,
    ) -> SyntheticSet:
        """Initialise a set with noise, or with copies of real images selected by a coreset method.

        With ``formation`` f every stored image is made of f * f selected real images, reduced in size.

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
            formation: Number f of sub-images along each side of a stored image.

        Raises:
            ValueError: ``init`` is unknown, ipc is below one or of the wrong length, a class has too few images, or the
                images are too small for the formation.
        """
        if init not in INIT_METHODS:
            raise ValueError(f"unknown init {init!r}; use one of {', '.join(INIT_METHODS)}")
        validate_formation(formation, spec.shape)
        counts = images_per_class(ipc, spec)
        if class_ratio != "balanced":
            counts = coresets.counts_for_ratio(labels, sum(counts), class_ratio)
        available = np.bincount(labels, minlength=len(spec.balance_groups))
        unlimited = [count * formation**2 for count in counts]
        counts = limit_to_available(
            counts, unlimited if init == "noise" else available, spec, on_small_class, formation
        )
        synthetic = cls(torch.arange(len(counts)).repeat_interleave(torch.tensor(counts)), spec, formation)
        if init == "noise":
            values = torch.randn(synthetic.images.shape, generator=torch.Generator().manual_seed(seed))
        else:
            method = "random" if init == "real" else init
            rows = coresets.select(method, images, labels, synthetic.counts, spec, seed)
            values = encode(spec.normalize(torch.from_numpy(np.ascontiguousarray(images[rows]))), formation)
        synthetic.images.data.copy_(values)
        synthetic.init = init
        return synthetic


def images_per_class(ipc: int | Sequence[int], spec: DataSpec) -> list[int]:
    """Expand ipc to one count per class.

    Raises:
        ValueError: A count is no integer or below one, or the list length differs from the number of classes.
    """
    if any(int(count) != count for count in (ipc if isinstance(ipc, Sequence) else [ipc])):
        raise ValueError(f"ipc={ipc}; it must be an integer, or one integer for each class")
    counts = list(map(int, ipc)) if isinstance(ipc, Sequence) else [int(ipc)] * len(spec.balance_groups)
    if len(counts) != len(spec.balance_groups):
        raise ValueError(f"ipc has {len(counts)} numbers but {spec.name} has {len(spec.balance_groups)} classes")
    if min(counts) < 1:
        raise ValueError(f"ipc={ipc}; every class needs at least 1 image")
    return counts


def limit_to_available(
    counts: Sequence[int],
    available: Sequence[int] | NDArray[np.int64],
    spec: DataSpec,
    on_small_class: SmallClass,
    formation: int = 1,
) -> list[int]:
    """Apply the policy for classes with fewer real images than requested.

    Args:
        counts: Requested number of stored images per class.
        available: Number of real images per class.
        spec: Specification of the data.
        on_small_class: Policy, see `SyntheticSet.from_real_data`. ``fewer`` keeps at least one stored image per class,
            whose sub-images repeat where real images are fewer.
        formation: Number f of sub-images along each side: a stored image takes f * f real images.

    Raises:
        ValueError: A class has too few images under the policy ``error``, or the policy is unknown.
    """
    if on_small_class not in get_args(SmallClass):
        raise ValueError(f"unknown on_small_class {on_small_class!r}; use one of {', '.join(get_args(SmallClass))}")
    cells = formation**2
    for name, wanted, count in zip(spec.balance_groups, counts, available, strict=True):
        if on_small_class == "error" and count < wanted * cells:
            needed = (
                f"ipc={wanted} needs {wanted}"
                if cells == 1
                else (f"ipc={wanted} with formation={formation} needs {wanted * cells}")
            )
            lower = "ipc" if cells == 1 else "ipc or formation"
            raise ValueError(
                f"class {name!r} has {count} training images, {needed}; "
                f"lower {lower} or set on_small_class='repeat' or 'fewer'"
            )
    if on_small_class == "fewer":
        stored = [max(min(1, int(count)), int(count) // cells) for count in available]
        return [min(pair) for pair in zip(counts, stored, strict=True)]
    return list(counts)
