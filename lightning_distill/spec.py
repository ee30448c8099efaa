"""What a distilled set has to know about the data it stands for, as plain data."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

import torch
from torch import Tensor

StorageDtype = Literal["uint8", "float16"]
#: The largest number a float16 pixel can hold.
FLOAT16_MAX = 65504.0
#: Keys of `DataSpec.to_dict` that differ from the field's name: checkpoints and cards keep the keys of version 0.1.0.
FILE_KEYS = {"min_value": "low", "max_value": "high", "storage_dtype": "pixel", "intensity_scale": "scale"}
Task = Literal["binary", "multi-class", "ordinal", "multi-label"]


@dataclass(frozen=True)
class DataSpec:
    """Shape, classes and pixel scale of a data set. Plain data: it travels in checkpoints and cards.

    Images are stored in *pixel units* (uint8 0..255, or the floats the data came with) and normalised per batch:
    ``(pixel - mean) / std``.

    Args:
        name: the data set's name as it appears in cards and tables.
        shape: one image, ``(C, H, W)``.
        class_names: one name a class; their number is K.
        mean: per channel, in pixel units, of the training split.
        std: per channel, in pixel units, of the training split.
        low: smallest pixel value a shipped image may take.
        high: largest pixel value a shipped image may take.
        pixel: the type images are shipped in; ``float16`` for data that came as floats.
        task: what the labels are.
        augmentation: the siamese augmentation that is valid for these images, a preset of `presets.PRESETS`.
        license: the licence of the data.
        source: where the bytes come from ("official file", "reassembled", ...), shown in every table.
        scale: what pixel values stand for, e.g. ``CT window lung, -1350 to 150 HU as 0 to 1``; empty where unknown.
        combinations: of multi-label data the combinations of labels that have images enough, rows of K zeros and ones:
            they are to a distilled set what classes are elsewhere. Empty for all other tasks.
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

    @property
    def num_classes(self) -> int:
        """The number of classes K, which is the number of a network's outputs."""
        return len(self.class_names)

    @property
    def multi_label(self) -> bool:
        """Whether an image may have several labels, or none."""
        return self.task == "multi-label"

    @property
    def balance_groups(self) -> tuple[str, ...]:
        """What a set's images are ordered by and a batch is balanced over: classes, or combinations of labels.

        >>> DataSpec("x", (1, 8, 8), ("a", "b"), (0.0,), (1.0,), task="multi-label",
        ...          combinations=((0, 0), (1, 1))).balance_groups
        ('none', 'a + b')
        """
        if not self.multi_label:
            return self.class_names
        named = ([n for n, has in zip(self.class_names, row, strict=True) if has] for row in self.combinations)
        return tuple(" + ".join(names) or "none" for names in named)

    def targets(self, strata: Tensor) -> Tensor:
        """What a network should say of images of these strata ``(N,)``: labels ``(N,)``, or 0/1 float32 ``(N, K)``."""
        if not self.multi_label:
            return strata
        return torch.tensor(self.combinations, dtype=torch.float32, device=strata.device)[strata]

    def group_indices(self, targets: Tensor) -> Tensor:
        """Which stratum each 0/1 row of ``(N, K)`` is, ``(N,)`` int64: the inverse of `targets` for multi-label data.

        Raises:
            ValueError: a row that is none of the combinations.
        """
        known = {row: number for number, row in enumerate(self.combinations)}
        rows = [tuple(map(int, row)) for row in targets.tolist()]
        if lost := next((row for row in rows if row not in known), None):
            names = " + ".join(name for name, has in zip(self.class_names, lost, strict=True) if has) or "none"
            raise ValueError(f"the combination of labels {names!r} is none of {len(known)}; lower min_combination")
        return torch.tensor([known[row] for row in rows])

    def normalize(self, pixels: Tensor) -> Tensor:
        """Pixel units ``(B, C, H, W)``, any dtype, to normalised float32 on the same device."""
        mean, std = self._statistics(pixels)
        return pixels.to(torch.float32, copy=True).sub_(mean).div_(std)

    def denormalize(self, images: Tensor) -> Tensor:
        """Normalised ``(B, C, H, W)`` to pixel units as float32, unclipped."""
        mean, std = self._statistics(images)
        return images.float() * std + mean

    def to_dict(self) -> dict[str, object]:
        """Plain lists, strings and numbers, for JSON and for ``weights_only`` checkpoints."""
        state = {FILE_KEYS.get(key, key): _tuples_to_lists(value) for key, value in asdict(self).items()}
        return {key: value for key, value in state.items() if key != "combinations" or value}

    @classmethod
    def from_dict(cls, state: dict[str, object]) -> DataSpec:
        """The inverse of `to_dict`; what older cards lack gets its default."""
        fields = {key: field for field, key in FILE_KEYS.items()}
        return cls(**{fields.get(key, key): _lists_to_tuples(value) for key, value in state.items()})  # type: ignore[arg-type]

    def _statistics(self, like: Tensor) -> tuple[Tensor, Tensor]:
        device = like.device
        mean = torch.tensor(self.mean, device=device).view(-1, 1, 1)  # (C, 1, 1)
        return mean, torch.tensor(self.std, device=device).view(-1, 1, 1)


def _lists_to_tuples(value: object) -> object:
    return tuple(map(_lists_to_tuples, value)) if isinstance(value, list) else value


def _tuples_to_lists(value: object) -> object:
    return list(map(_tuples_to_lists, value)) if isinstance(value, tuple) else value
