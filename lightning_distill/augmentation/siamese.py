"""Differentiable siamese augmentation (DSA): one random transformation shared by real and synthetic images.

Kornia draws the parameters, warps and crops; the four ops it has in another form (it clamps to [0, 1], keeps squares
inside the image, scales content instead of the sampling grid) are small Kornia ops of our own.

Reference:
    Zhao, Bilen: Dataset Condensation with Differentiable Siamese Augmentation, ICML 2021, arXiv 2102.08259.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import torch
from kornia import augmentation as K
from kornia.augmentation.random_generator import PlainUniformGenerator
from torch import Tensor, nn

from lightning_distill.augmentation.presets import PRESETS

Params = dict[str, Tensor]
Flags = dict[str, object]


class RandomSaturation(K.IntensityAugmentationBase2D):
    """``(x - m_c) * 2u + m_c`` with ``m_c`` the mean over channels at each pixel, u ~ U(0, 1); never clamped.

    Identity on grey images. Shape: ``(B, C, H, W)`` to the same.
    """

    def __init__(self, same_on_batch: bool = False) -> None:
        super().__init__(p=1.0, same_on_batch=same_on_batch)
        self._param_generator = PlainUniformGenerator((torch.tensor([0.0, 2.0]), "factor", None, None))

    def apply_transform(self, input: Tensor, params: Params, flags: Flags, transform: Tensor | None = None) -> Tensor:
        """Stretch each pixel's distance from its own grey value."""
        grey = input.mean(1, keepdim=True)  # (B, 1, H, W)
        return (input - grey) * _per_image(params["factor"], input) + grey


class RandomContrast(K.IntensityAugmentationBase2D):
    """``(x - m) * (u + 0.5) + m`` with ``m`` the mean of the image, u ~ U(0, 1); never clamped.

    Shape: ``(B, C, H, W)`` to the same.
    """

    def __init__(self, same_on_batch: bool = False) -> None:
        super().__init__(p=1.0, same_on_batch=same_on_batch)
        self._param_generator = PlainUniformGenerator((torch.tensor([0.5, 1.5]), "factor", None, None))

    def apply_transform(self, input: Tensor, params: Params, flags: Flags, transform: Tensor | None = None) -> Tensor:
        """Stretch each pixel's distance from the image's mean."""
        mean = input.mean((1, 2, 3), keepdim=True)  # (B, 1, 1, 1)
        return (input - mean) * _per_image(params["factor"], input) + mean


class RandomCutout(K.IntensityAugmentationBase2D):
    """Zero a square of half the side around a uniform centre, clipped at the border (mean area .186 erased).

    Shape: ``(B, C, H, W)`` to the same.
    """

    def __init__(self, same_on_batch: bool = False) -> None:
        super().__init__(p=1.0, same_on_batch=same_on_batch)
        unit = torch.tensor([0.0, 1.0])
        self._param_generator = PlainUniformGenerator((unit, "row", None, None), (unit, "column", None, None))

    def apply_transform(self, input: Tensor, params: Params, flags: Flags, transform: Tensor | None = None) -> Tensor:
        """Multiply by a mask that is zero inside the square."""
        rows = self._inside(params["row"].to(input.device), input.shape[2])  # (B, H)
        columns = self._inside(params["column"].to(input.device), input.shape[3])  # (B, W)
        hole = rows[:, None, :, None] & columns[:, None, None, :]  # (B, 1, H, W)
        return input.masked_fill(hole, 0.0)

    @staticmethod
    def _inside(unit: Tensor, side: int) -> Tensor:
        """Which of ``side`` positions lie in the interval of half the side around the drawn centre: ``(B, side)``."""
        length = int(side * 0.5 + 0.5)
        # An even square reaches one position further to the left; its centre ranges over side + 1 positions, so that
        # both borders are clipped alike.
        first = (unit * (side + 1 - length % 2)).floor() - length // 2  # (B,)
        position = torch.arange(side, device=unit.device)
        return (position >= first[:, None]) & (position < first[:, None] + length)


class RandomGridScale(K.RandomAffine):
    """Scale the sampling grid by sx, sy ~ U(1/1.2, 1.2), drawn apart: above 1 the content shrinks.

    Kornia's own op scales the content, whose reciprocal is not uniform. Shape: ``(B, C, H, W)`` to the same.
    """

    def __init__(self, same_on_batch: bool = False) -> None:
        bounds = (1 / 1.2, 1.2, 1 / 1.2, 1.2)
        super().__init__(0.0, scale=bounds, p=1.0, same_on_batch=same_on_batch, align_corners=False)

    def generate_parameters(self, batch_shape: tuple[int, ...]) -> Params:
        """Kornia's draw, read as the scale of the grid."""
        params = super().generate_parameters(batch_shape)
        return {**params, "scale": 1 / params["scale"]}


class SiameseAugmentation:
    """One group of a preset is drawn for a class or a batch; normalised images, zero filled, never clamped.

    Siamese, for matching: one draw of parameters for all images of a class. Plain, for students: parameters for each
    image. Not an ``nn.Module``: it has no state.

    Args:
        preset: a name of `presets.PRESETS`.
        image_size: ``(H, W)`` in pixels.

    Raises:
        ValueError: the preset is unknown.
    """

    def __init__(self, preset: str, image_size: tuple[int, int]) -> None:
        if preset not in PRESETS:
            raise ValueError(f"unknown augmentation {preset!r}; use one of {', '.join(PRESETS)}")
        self.preset = preset
        self._groups = [_operations(image_size, same_on_batch=True)[group]() for group in PRESETS[preset]]
        plain = _one_for_each if preset == "dc_students" else _one_of
        self._plain = plain(PRESETS[preset], image_size, same_on_batch=False)

    def __call__(self, real: Tensor, synthetic: Tensor) -> tuple[Tensor, Tensor]:
        """The same random transformation of ``(B, C, H, W)`` real and ``(M, C, H, W)`` synthetic images."""
        together = self.of_classes(torch.cat([real, synthetic]), [len(real) + len(synthetic)], [None])
        return together[: len(real)].detach(), together[len(real) :]

    def of_classes(self, images: Tensor, counts: Sequence[int], seeds: Sequence[int | None]) -> Tensor:
        """Each class's images by one random transformation of its own, drawn from its seed alone.

        Real and synthetic images of a class see the same transformation where they are given the same seed. Classes
        that drew the same group go through it together.

        Args:
            images: ``(N, C, H, W)``, ordered by class.
            counts: images of each class; their sum is N.
            seeds: one for each class; None goes on with torch's current stream.

        Returns:
            ``(N, C, H, W)``, float32.
        """
        if not self._groups:
            return images
        parts = list(images.float().split(list(counts)))
        drawn = [self._draw(seed, images.shape[1:]) for seed in seeds]
        for number, operations in enumerate(self._groups):
            members = [i for i, (group, _) in enumerate(drawn) if group == number]
            if members:
                batch = torch.cat([parts[i] for i in members]) if len(members) > 1 else parts[members[0]]
                lengths = torch.tensor([counts[i] for i in members])
                with torch.autocast(images.device.type, enabled=False):  # a warp in bf16 would move pixels
                    for k, operation in enumerate(operations):
                        batch = operation(batch, params=_for_images([drawn[i][1][k] for i in members], lengths, batch))
                for i, part in zip(members, batch.split(lengths.tolist()), strict=True):
                    parts[i] = part
        return torch.cat(parts)

    def plain(self, images: Tensor) -> Tensor:
        """One group for the batch, its parameters drawn for each image: ``(B, C, H, W)`` to the same."""
        if self._plain is None:
            return images
        with torch.autocast(images.device.type, enabled=False):
            return cast(Tensor, self._plain(images.float()))

    def _draw(self, seed: int | None, shape: torch.Size) -> tuple[int, list[Params]]:
        if seed is not None:
            torch.manual_seed(seed)
        group = int(torch.randint(len(self._groups), ()))
        one = torch.Size((1, *shape))
        return group, [cast(Params, operation.forward_parameters(one)) for operation in self._groups[group]]  # type: ignore[operator]


def _for_images(drawn: Sequence[Params], counts: Tensor, images: Tensor) -> Params:
    """Parameters drawn once for each class, for every image of the classes."""
    joined = {key: torch.cat([params[key] for params in drawn]) for key in drawn[0] if key != "forward_input_shape"}
    repeated = {key: value.repeat_interleave(counts.to(value.device), 0) for key, value in joined.items()}
    return repeated | {"forward_input_shape": torch.tensor(images.shape)}


def _per_image(factor: Tensor, images: Tensor) -> Tensor:
    return factor.to(images).view(-1, 1, 1, 1)


class _OneForEach(nn.Module):
    """Every image goes through one of the operations, drawn for it alone; what comes in is the mean of the batch."""

    def __init__(self, operations: Sequence[nn.Module]) -> None:
        super().__init__()
        self.operations = nn.ModuleList(operations)

    def forward(self, images: Tensor) -> Tensor:
        """``(B, C, H, W)`` to the same."""
        mean = images.mean((0, 2, 3), keepdim=True)  # (1, C, 1, 1)
        results = torch.stack([operation(images - mean) for operation in self.operations])  # (ops, B, C, H, W)
        chosen = torch.randint(len(self.operations), (len(images),)).to(images.device)  # (B,)
        return results[chosen, torch.arange(len(images), device=images.device)] + mean


def _one_for_each(groups: tuple[str, ...], image_size: tuple[int, int], same_on_batch: bool) -> nn.Module:
    make = _operations(image_size, same_on_batch)
    return _OneForEach([_chain(make[group](), same_on_batch) for group in groups])


def _one_of(groups: tuple[str, ...], image_size: tuple[int, int], same_on_batch: bool) -> nn.Module | None:
    if not groups:
        return None
    make = _operations(image_size, same_on_batch)
    return K.ImageSequential(
        *(_chain(make[group](), same_on_batch) for group in groups),
        random_apply=1,
        same_on_batch=same_on_batch,
        disable_sequential_features=True,
    )


def _chain(operations: list[nn.Module], same_on_batch: bool) -> nn.Module:
    if len(operations) == 1:
        return operations[0]
    return K.ImageSequential(*operations, same_on_batch=same_on_batch, disable_sequential_features=True)


def _operations(image_size: tuple[int, int], same_on_batch: bool) -> dict[str, Callable[[], list[nn.Module]]]:
    height, width = image_size
    shift = (int(width * 0.125 + 0.5), int(height * 0.125 + 0.5))
    same = {"p": 1.0, "same_on_batch": same_on_batch}
    return {
        "color": lambda: [
            K.RandomBrightness((0.5, 1.5), clip_output=False, **same),
            RandomSaturation(same_on_batch),
            RandomContrast(same_on_batch),
        ],
        "intensity": lambda: [K.RandomBrightness((0.5, 1.5), clip_output=False, **same), RandomContrast(same_on_batch)],
        "crop": lambda: [K.RandomCrop((height, width), padding=shift, **same)],
        "cutout": lambda: [RandomCutout(same_on_batch)],
        "flip": lambda: [K.RandomHorizontalFlip(p=0.5, same_on_batch=same_on_batch)],
        "scale": lambda: [RandomGridScale(same_on_batch)],
        "rotate": lambda: [K.RandomRotation(15.0, align_corners=True, **same)],
        "stretch": lambda: [K.RandomAffine(0.0, scale=(0.8, 1.2, 0.8, 1.2), align_corners=False, **same)],
        "turn": lambda: [K.RandomRotation(45.0, align_corners=True, **same)],
    }
