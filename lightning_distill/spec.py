"""What a distilled set has to know about the data it stands for, as plain data."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

import torch
from torch import Tensor

Pixel = Literal["uint8", "float16"]
#: The largest number a float16 pixel can hold.
FLOAT16_MAX = 65504.0
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
        augmentation: the siamese augmentation that is valid for these images, a preset of `augment.PRESETS`.
        license: the licence of the data.
        source: where the bytes come from ("official file", "reassembled", ...), shown in every table.
        scale: what pixel values stand for, e.g. ``CT window lung, -1350 to 150 HU as 0 to 1``; empty where unknown.
    """

    name: str
    shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    low: float = 0.0
    high: float = 255.0
    pixel: Pixel = "uint8"
    task: Task = "multi-class"
    augmentation: str = "dsa"
    license: str = "unknown"
    source: str = "user arrays"
    scale: str = ""

    @property
    def num_classes(self) -> int:
        """The number of classes K."""
        return len(self.class_names)

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
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, state: dict[str, object]) -> DataSpec:
        """The inverse of `to_dict`; what older cards lack gets its default."""
        return cls(**{key: tuple(value) if isinstance(value, list) else value for key, value in state.items()})  # type: ignore[arg-type]

    def _statistics(self, like: Tensor) -> tuple[Tensor, Tensor]:
        device = like.device
        mean = torch.tensor(self.mean, device=device).view(-1, 1, 1)  # (C, 1, 1)
        return mean, torch.tensor(self.std, device=device).view(-1, 1, 1)
