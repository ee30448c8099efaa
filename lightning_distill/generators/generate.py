"""Draw a set of images from a generator and write it as a set file, one part at a time."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lightning_distill.generators.base import CHUNK, Generator
from lightning_distill.sets.arrays import Card
from lightning_distill.sets.card import GENERATED, make_card
from lightning_distill.sets.coresets import Ratio, counts_for_ratio
from lightning_distill.sets.labeled_set import LabeledSet
from lightning_distill.sets.picture_file import write_picture
from lightning_distill.sets.storage import CARD
from lightning_distill.sets.streaming import save_set_in_parts
from lightning_distill.sets.synthetic import images_per_class
from lightning_distill.sets.training_images import ENTRY

#: Images of a class in the picture beside the set.
SHOWN = 10
#: Warning of a set whose generator was never trained.
UNTRAINED = (
    "The images were drawn by a generator with random weights, which saw no training image; mean and standard "
    "deviation of the pixels are those of the training images."
)


def generate_set(
    generator: Generator,
    out: str | os.PathLike[str],
    *,
    ipc: int | Sequence[int] = 10,
    labels: Ratio = "balanced",
    seed: int = 0,
    chunk: int = CHUNK,
    checkpoint_sha256: str | None = None,
    training_hashes: bool = True,
    on_images: Callable[[int], object] = lambda number: None,
) -> Path:
    """Draw images and write ``set.safetensors``, ``card.json`` and ``grid.png``; memory holds one part at a time.

    Args:
        generator: Generator.
        out: Folder of the set.
        ipc: Images per class or label combination, one number or one for each.
        labels: ``balanced``, or ``natural`` for the same total in the ratio of the real training images.
        seed: Seed of the images.
        chunk: Number of images at once.
        checkpoint_sha256: Digest of the generator's checkpoint, for the card.
        training_hashes: Whether the card holds hashes of the training images, see `SyntheticSetExport`.
        on_images: Function that is called with the number of images of each part.

    Returns:
        Path of ``set.safetensors``.

    Raises:
        ValueError: ``ipc`` does not fit the classes, or ``labels`` is unknown.
        OSError: The folder cannot be written, or the disk is full.
    """
    spec = generator.spec
    counts = label_counts(generator, ipc, labels)
    numbers = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    shown: list[tuple[Tensor, Tensor]] = []
    wanted = first_of_each(counts, SHOWN)

    def parts() -> Iterator[Tensor]:
        for start in range(0, len(numbers), chunk):
            part = numbers[start : start + chunk]
            images = generator.sample(spec.targets(part), seed=seed, chunk=chunk, first=start)
            picked = wanted[start : start + chunk]
            shown.append((images[picked], part[picked]))
            yield images
            on_images(len(images))

    card = generated_card(generator, ipc=ipc, labels=labels, seed=seed, checkpoint_sha256=checkpoint_sha256)
    if training_hashes and generator.trained_steps and generator.training_images:
        card[ENTRY] = generator.training_images
    path = save_set_in_parts(out, parts(), numbers, spec, card)
    pixels, classes = (torch.cat(pieces) for pieces in zip(*shown, strict=True))
    write_picture(path.parent, LabeledSet(pixels, classes, spec), json.loads((path.parent / CARD).read_text()))
    return path


def label_counts(generator: Generator, ipc: int | Sequence[int], labels: Ratio) -> list[int]:
    """Return the number of images of each balance group.

    Args:
        generator: Generator.
        ipc: Images per class or label combination.
        labels: ``balanced`` or ``natural``.
    """
    counts = images_per_class(ipc, generator.spec)
    if labels == "balanced":
        return counts
    real = np.repeat(np.arange(len(counts)), generator.group_counts)
    return counts_for_ratio(real, sum(counts), labels)


def first_of_each(counts: Sequence[int], most: int) -> Tensor:
    """Return a mask of the first images of each class in a set that is ordered by class.

    Args:
        counts: Images of each class.
        most: Largest number of a class.

    Example:
        >>> first_of_each([1, 3], 2).tolist()
        [True, True, True, False]
    """
    return torch.cat([torch.arange(count) < most for count in counts])


def generated_card(
    generator: Generator,
    *,
    ipc: int | Sequence[int],
    labels: Ratio,
    seed: int,
    checkpoint_sha256: str | None = None,
) -> Card:
    """Return the card of a generated set.

    Args:
        generator: Generator.
        ipc: Images per class or label combination.
        labels: ``balanced`` or ``natural``.
        seed: Seed of the images.
        checkpoint_sha256: Digest of the generator's checkpoint.
    """
    settings = {name: value for name, value in generator.hparams.items() if not name.startswith("_")}
    settings |= generator.sampling_record() | {"ipc": ipc if isinstance(ipc, int) else list(ipc)}
    steps = generator.trained_steps
    card = make_card(type(generator).__name__, settings, {}, GENERATED, steps)
    record: dict[str, object] = {
        "generator": type(generator).__name__,
        "training_steps": steps,
        **generator.sampling_record(),
        "seed": seed,
        "labels": labels,
        "generator_saw_real_images": steps > 0,
    }
    if checkpoint_sha256 is not None:
        record["checkpoint_sha256"] = checkpoint_sha256
    warning = card["warning"] if steps else UNTRAINED
    return {**card, "warning": warning, "generated": record}
