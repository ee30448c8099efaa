"""``DataSpec``: shape, classes, pixel statistics and origin of a data set, as plain data."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Literal, get_args

import torch
from torch import Tensor

#: Dtype of exported pixels.
StorageDtype = Literal["uint8", "float16"]
#: Largest finite value of a float16 pixel.
FLOAT16_MAX = 65504.0
#: Keys of `DataSpec.to_dict` that differ from the field name: checkpoints and cards keep the keys of version 0.1.0.
FILE_KEYS = {"min_value": "low", "max_value": "high", "storage_dtype": "pixel", "intensity_scale": "scale"}
#: Task of the labels.
Task = Literal["binary", "multi-class", "ordinal", "multi-label"]


@dataclass(frozen=True)
class DataSpec:
    """Shape, classes, pixel statistics and origin of a data set. Stored in checkpoints and in the cards of sets.

    Images are kept in *pixel units* (uint8 from 0 to 255, or floats on the scale of the data) and normalized per batch:
    ``(pixel - mean) / std``.

    Args:
        name: Name of the data set in cards and tables.
        shape: Shape ``(C, H, W)`` of an image.
        class_names: Name of each of the K classes.
        mean: Mean of each channel over the training split, in pixel units.
        std: Standard deviation of each channel over the training split, in pixel units.
        min_value: Smallest pixel value of an exported image.
        max_value: Largest pixel value of an exported image.
        storage_dtype: Dtype of exported images: ``uint8``, or ``float16`` for data with float pixels.
        task: Task of the labels: ``binary``, ``multi-class``, ``ordinal`` or ``multi-label``.
        augmentation: Name of a siamese augmentation in `presets.PRESETS` that is valid for the images.
        license: License of the data.
        source: Origin of the data ("official file", "reassembled", ...), shown in every table.
        intensity_scale: Meaning of the pixel values, e.g. ``CT window lung, -1350 to 150 HU as 0 to 1``. Empty if
            unknown.
        combinations: Frequent label combinations of multi-label data, rows of K zeros and ones. They take the role of
            classes in balanced batches and in a synthetic set. Empty for all other tasks.
        resize: Method by which images of other sizes were brought to ``shape``: ``stretch``, ``crop``, ``pad`` or
            ``none`` (files of equal size), see `sets.preparation`. Empty if unknown.

    Example:
        >>> spec = DataSpec("toy", (1, 8, 8), ("benign", "malignant"), mean=(100.0,), std=(50.0,), task="binary")
        >>> spec.num_classes, spec.normalize(torch.full((1, 1, 8, 8), 150)).unique().tolist()
        (2, [1.0])
        >>> DataSpec.from_dict(spec.to_dict()) == spec
        True
    """

    name: str
    shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    min_value: float = 0.0
    max_value: float = 255.0
    storage_dtype: StorageDtype = "uint8"
    task: Task = "multi-class"
    augmentation: str = "dsa"
    license: str = "unknown"
    source: str = "user arrays"
    intensity_scale: str = ""
    combinations: tuple[tuple[int, ...], ...] = ()
    resize: str = ""

    def __post_init__(self) -> None:
        """Raise ValueError for a description that cannot be true."""
        if self.task not in get_args(Task):
            raise ValueError(f"unknown task {self.task!r}; use one of {', '.join(get_args(Task))}")
        for text in (self.name, self.source, self.license, self.intensity_scale, self.resize, *self.class_names):
            if not text.isprintable():
                raise ValueError(f"the name {text!r} has characters that cannot be printed; rename it")
        if not self.class_names:
            raise ValueError(f"{self.name} has no class_names; at least one is needed")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if not all(map(math.isfinite, values)) or (name == "std" and min(values, default=1.0) <= 0):
                raise ValueError(f"{name}={values} of {self.name}; every channel needs a finite {name}, std above 0")

    @property
    def num_classes(self) -> int:
        """Number of classes K, equal to the number of network outputs."""
        return len(self.class_names)

    @property
    def multi_label(self) -> bool:
        """True if an image may have any number of labels, including none."""
        return self.task == "multi-label"

    @property
    def balance_groups(self) -> tuple[str, ...]:
        """Names of the groups that order a synthetic set and balance a batch: classes, or label combinations.

        Example:
            >>> DataSpec("x", (1, 8, 8), ("a", "b"), (0.0,), (1.0,), task="multi-label",
            ...          combinations=((0, 0), (1, 1))).balance_groups
            ('none', 'a + b')
        """
        if not self.multi_label:
            return self.class_names
        return tuple(self._combination_name(row) for row in self.combinations)

    def targets(self, balance_groups: Tensor) -> Tensor:
        """Training targets of images that belong to the given balance groups.

        Args:
            balance_groups: Numbers ``(N,)`` of the images' `balance_groups`, int64.

        Returns:
            The numbers themselves as class labels ``(N,)``, or for multi-label data 0/1 targets ``(N, K)`` float32.
        """
        if not self.multi_label:
            return balance_groups
        return torch.tensor(self.combinations, dtype=torch.float32, device=balance_groups.device)[balance_groups]

    def group_indices(self, targets: Tensor) -> Tensor:
        """Balance-group numbers of multi-label targets, the inverse of `targets`.

        Args:
            targets: 0/1 targets ``(N, K)``.

        Returns:
            Numbers ``(N,)`` int64 of the targets' `balance_groups`.

        Raises:
            ValueError: If a row is none of the combinations.
        """
        numbers = {row: number for number, row in enumerate(self.combinations)}
        rows = [tuple(map(int, row)) for row in targets.tolist()]
        if unknown := next((row for row in rows if row not in numbers), None):
            raise ValueError(
                f"the label combination {self._combination_name(unknown)!r} is none of the {len(numbers)} frequent "
                "ones; lower min_combination"
            )
        return torch.tensor([numbers[row] for row in rows])

    def normalize(self, pixels: Tensor) -> Tensor:
        """Normalize images in pixel units by the training mean and standard deviation.

        Args:
            pixels: Images ``(B, C, H, W)`` of any dtype in pixel units.

        Returns:
            Images ``(B, C, H, W)`` float32 on the same device.
        """
        mean, std = self._statistics(pixels)
        return pixels.to(torch.float32, copy=True).sub_(mean).div_(std)

    def denormalize(self, images: Tensor) -> Tensor:
        """Convert normalized images back to pixel units, without clipping.

        Args:
            images: Normalized images ``(B, C, H, W)``.

        Returns:
            Images ``(B, C, H, W)`` float32 in pixel units.
        """
        mean, std = self._statistics(images)
        return images.float() * std + mean

    def to_dict(self) -> dict[str, object]:
        """Convert to lists, strings and numbers, for JSON and for ``weights_only`` checkpoints."""
        state = {FILE_KEYS.get(key, key): _tuples_to_lists(value) for key, value in asdict(self).items()}
        return {key: value for key, value in state.items() if key not in ("combinations", "resize") or value}

    @classmethod
    def from_dict(cls, state: dict[str, object]) -> DataSpec:
        """Create a specification from the output of `to_dict`; fields that older cards lack get their defaults."""
        fields = {key: field for field, key in FILE_KEYS.items()}
        return cls(**{fields.get(key, key): _lists_to_tuples(value) for key, value in state.items()})  # type: ignore[arg-type]

    def _combination_name(self, row: tuple[int, ...]) -> str:
        return " + ".join(name for name, has in zip(self.class_names, row, strict=True) if has) or "none"

    def _statistics(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation ``(C, 1, 1)`` on the device of a tensor."""
        return _per_channel(tuple(self.mean), like.device), _per_channel(tuple(self.std), like.device)


@lru_cache(maxsize=256)
def _per_channel(numbers: tuple[float, ...], device: torch.device) -> Tensor:
    """Return ``(C, 1, 1)``, made once for each device: a copy to a GPU waits until all its work is done."""
    with torch.inference_mode(False):
        return torch.tensor(numbers, device=device).view(-1, 1, 1)


def _lists_to_tuples(value: object) -> object:
    return tuple(map(_lists_to_tuples, value)) if isinstance(value, list) else value


def _tuples_to_lists(value: object) -> object:
    return list(map(_tuples_to_lists, value)) if isinstance(value, tuple) else value
