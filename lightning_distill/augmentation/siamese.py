"""Differentiable siamese augmentation (DSA): one random transformation shared by real and synthetic images.

Kornia draws the parameters, warps and crops; `ops` adds four operations.

Reference:
    Zhao, Bilen: Dataset Condensation with Differentiable Siamese Augmentation, ICML 2021, arXiv 2102.08259.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import torch
from kornia import augmentation as K
from torch import Tensor, nn

from lightning_distill.augmentation.ops import Params, RandomContrast, RandomCutout, RandomGridScale, RandomSaturation
from lightning_distill.augmentation.presets import PRESETS

#: Number of draws that are kept, at least those of the classes of a step.
KEPT_DRAWS = 1024


class SiameseAugmentation:
    """Random augmentation of normalised images by one group of a preset, zero filled and not clamped.

    The siamese form, for matching, draws one group and one set of parameters for all images of a class. The plain form,
    for training students, draws one group for a batch and parameters for each image. The class is no ``nn.Module``.

    Args:
        preset: Name of a preset in `presets.PRESETS`.
        image_size: Image size ``(H, W)`` in pixels.

    Raises:
        ValueError: The preset is unknown.

    Example:
        >>> augment = SiameseAugmentation("dsa", (8, 8))
        >>> real, synthetic = augment(torch.zeros(4, 1, 8, 8), torch.zeros(2, 1, 8, 8))
        >>> real.shape, synthetic.shape
        (torch.Size([4, 1, 8, 8]), torch.Size([2, 1, 8, 8]))
    """

    def __init__(self, preset: str, image_size: tuple[int, int]) -> None:
        if preset not in PRESETS:
            raise ValueError(f"unknown augmentation {preset!r}; use one of {', '.join(PRESETS)}")
        self.preset = preset
        self._groups = [_operations(image_size, same_on_batch=True)[group]() for group in PRESETS[preset]]
        self._drawn: dict[tuple[int, torch.Size], tuple[tuple[int, list[Params]], Tensor]] = {}
        plain = _one_for_each if preset == "dc_students" else _one_of
        self._plain = plain(PRESETS[preset], image_size, same_on_batch=False)

    def __call__(self, real: Tensor, synthetic: Tensor) -> tuple[Tensor, Tensor]:
        """Apply one random transformation to ``(B, C, H, W)`` real and ``(M, C, H, W)`` synthetic images."""
        together = self.of_classes(torch.cat([real, synthetic]), [len(real) + len(synthetic)], [None])
        return together[: len(real)].detach(), together[len(real) :]

    def of_classes(self, images: Tensor, counts: Sequence[int], seeds: Sequence[int | None]) -> Tensor:
        """Transform the images of each class by one random transformation, drawn from the seed of the class alone.

        With the same seed, real and synthetic images of a class get the same transformation. Classes with the same
        group are processed together.

        Args:
            images: Images ``(N, C, H, W)``, ordered by class.
            counts: Number of images of each class; their sum is N.
            seeds: Seed of each class; ``None`` draws from torch's current random stream.

        Returns:
            Images ``(N, C, H, W)``, float32.
        """
        if not self._groups:
            return images
        parts = list(images.float().split(list(counts)))
        drawn = [self._draw(seed, images.shape[1:]) for seed in seeds]
        for number, operations in enumerate(self._groups):
            same = [i for i, (group, _) in enumerate(drawn) if group == number]
            # Kornia cuts images of one window at once, and those of several windows one after the other
            one_by_one = any(isinstance(operation, K.RandomCrop) for operation in operations)
            for members in [[i] for i in same] if one_by_one else [same] if same else []:
                batch = torch.cat([parts[i] for i in members]) if len(members) > 1 else parts[members[0]]
                lengths = torch.tensor([counts[i] for i in members])
                with torch.autocast(images.device.type, enabled=False):  # a warp in bf16 would move pixels
                    for k, operation in enumerate(operations):
                        batch = operation(batch, params=_for_images([drawn[i][1][k] for i in members], lengths, batch))
                for i, part in zip(members, batch.split(lengths.tolist()), strict=True):
                    parts[i] = part
        return torch.cat(parts)

    def plain(self, images: Tensor) -> Tensor:
        """Transform ``(B, C, H, W)`` by one group for the batch, with parameters drawn for each image."""
        if self._plain is None:
            return images
        with torch.autocast(images.device.type, enabled=False):
            return cast(Tensor, self._plain(images.float()))

    def describe_draw(self, seed: int, shape: Sequence[int]) -> str:
        """Return the group and the rounded parameters that a seed draws for images ``(C, H, W)``, as text."""
        if not self._groups:
            return "none"
        state = torch.get_rng_state()
        group, parameters = self._draw(seed, torch.Size(shape))
        torch.set_rng_state(state)
        numbers = [
            f"{name}={[round(value, 4) for value in tensor.double().flatten().tolist()]}"
            for operation in parameters
            for name, tensor in sorted(operation.items())
        ]
        return f"{group} {numbers}"

    def _draw(self, seed: int | None, shape: torch.Size) -> tuple[int, list[Params]]:
        """Draw group and parameters; the draw of a seed is kept, for the synthetic images follow the real ones.

        Parameters are drawn on the CPU. ``torch.manual_seed`` would also seed every GPU, which takes longer than the
        draw.
        """
        if seed is None:
            return self._draw_now(shape)
        if (kept := self._drawn.get((seed, shape))) is not None:
            torch.set_rng_state(kept[1])  # later draws are those after a new draw
            return kept[0]
        torch.default_generator.manual_seed(seed)
        drawn = self._draw_now(shape)
        if len(self._drawn) >= KEPT_DRAWS:
            self._drawn.clear()
        self._drawn[seed, shape] = drawn, torch.get_rng_state()
        return drawn

    def _draw_now(self, shape: torch.Size) -> tuple[int, list[Params]]:
        group = int(torch.randint(len(self._groups), ()))
        one = torch.Size((1, *shape))
        return group, [cast(Params, operation.forward_parameters(one)) for operation in self._groups[group]]  # type: ignore[operator]


def _for_images(drawn: Sequence[Params], counts: Tensor, images: Tensor) -> Params:
    """Repeat parameters that were drawn once for each class for every image of the classes."""
    joined = {key: torch.cat([params[key] for params in drawn]) for key in drawn[0] if key != "forward_input_shape"}
    index = torch.arange(len(counts)).repeat_interleave(counts)
    repeated = {key: value.index_select(0, index.to(value.device)) for key, value in joined.items()}
    return repeated | {"forward_input_shape": torch.tensor(images.shape)}


class _OneForEach(nn.Module):
    """Apply to every image one operation, drawn for it alone; borders are filled with the mean of the batch."""

    def __init__(self, operations: Sequence[nn.Module]) -> None:
        super().__init__()
        self.operations = nn.ModuleList(operations)

    def forward(self, images: Tensor) -> Tensor:
        """Return the transformed images ``(B, C, H, W)``."""
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
