"""``lightning-distill filter``: write a set without its near copies of training images."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch

from lightning_distill.commands._console import plain_console
from lightning_distill.commands._options import Accelerator, resolve_device
from lightning_distill.data import ArrayDataModule
from lightning_distill.evaluation.copies.removal import remove_copies
from lightning_distill.sets.card import filtered_card
from lightning_distill.sets.names import check_other_folder
from lightning_distill.sets.picture_file import write_picture
from lightning_distill.sets.storage import check_writable, read_set, save_set


def filter(
    synthetic_set: str,
    data: ArrayDataModule,
    *,
    out: str = "filtered",
    split: Literal["val", "test"] = "val",
    seed: int = 0,
    accelerator: Accelerator = "auto",
) -> Path:
    """Remove the images of a set that are near copies of training images.

    ``lightning-distill filter --set runs/generated --data MedMNISTDataModule --data.name breastmnist --out filtered``.
    An image whose correlation with a training image, in an embedding trained on them, is above the threshold tau is a
    near copy (arXiv 2402.01054). One half of the held-out split sets tau, the other half tells how often the rule calls
    unrelated images copies. The card of the new set states both. No rule finds every copy.

    Args:
        synthetic_set: Path of ``set.safetensors`` or of its folder (``--set``). Sub-images are decoded.
        data: Real data that the set, or its generator, was made from.
        out: Folder for ``set.safetensors`` and ``card.json``.
        split: Held-out split that calibrates the rule: ``val`` or ``test``.
        seed: Seed of the embedding and of the halves of the held-out images.
        accelerator: Device: ``cpu``, ``cuda``, or ``auto`` for CUDA where it is available.

    Returns:
        Path of ``set.safetensors``.

    Raises:
        FileNotFoundError: The set does not exist.
        ValueError: The set does not fit the data, the split has too few images, or a class would be left empty.
        OSError: The folder cannot be written.
    """
    labeled_set, card = read_set(synthetic_set)
    check_other_folder(out, synthetic_set)
    check_writable(out)
    kept, record = remove_copies(labeled_set, data, split=split, seed=seed, device=resolve_device(accelerator))
    path = save_set(out, kept, filtered_card(card, record))
    write_picture(path.parent, *read_set(path))
    names, counts = kept.spec.balance_groups, torch.bincount(kept.labels, minlength=len(kept.spec.balance_groups))
    left = ", ".join(f"{name} {count}" for name, count in zip(names, counts.tolist(), strict=True))
    console = plain_console()
    console.print(
        f"{record['removed']} of {record['images']} images removed as near copies of training images ({left} left): "
        f"{path}",
        soft_wrap=True,
    )
    console.print(
        f"of {record['null_images']} {split} images, which no set was made from, the rule calls "
        f"{record['null_rate']:.1%} copies (95 % interval {record['null_low']:.1%} to {record['null_high']:.1%})",
        soft_wrap=True,
    )
    return path
