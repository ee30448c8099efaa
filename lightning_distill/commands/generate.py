"""``lightning-distill generate``: draw a set from a trained generator."""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path

from lightning_distill.commands._console import plain_console
from lightning_distill.commands._options import Accelerator, progress_bar, resolve_device
from lightning_distill.generators import load_generator
from lightning_distill.generators.generate import generate_set, label_counts
from lightning_distill.sets.coresets import Ratio
from lightning_distill.sets.storage import check_writable
from lightning_distill.utils.arguments import check_number


def generate(
    ckpt: str,
    *,
    ipc: int | list[int] = 10,
    out: str = "generated",
    labels: Ratio = "balanced",
    seed: int = 0,
    guidance: float | None = None,
    steps: int | None = None,
    chunk: int = 256,
    accelerator: Accelerator = "auto",
    training_hashes: bool = True,
) -> Path:
    """Draw a set of images from a generator, a checkpoint of fit --model flow or gan.

    The set is written part by part, so it may be larger than memory. Its card says what drew it, and whether that saw
    real images.

    Args:
        ckpt: Checkpoint of the generator.
        ipc: Images per class or label combination, one number or one for each: 10, 100 or 1000.
        out: Folder for ``set.safetensors``, ``card.json`` and ``grid.png``.
        labels: ``balanced``, or ``natural`` for the same total in the ratio of the real training images.
        seed: Seed of the images.
        guidance: Guidance of a flow, 0 or more; default: that of its training, 1.
        steps: Sampling steps of a flow; default: those of its training, 50.
        chunk: Number of images that are drawn at once.
        accelerator: Device: ``cpu``, ``cuda``, or ``auto`` for CUDA where it is available.
        training_hashes: Whether the card holds hashes of the training images, see `SyntheticSetExport`.

    Returns:
        Path of ``set.safetensors``.

    Raises:
        FileNotFoundError: There is no such checkpoint.
        MissingExtraError: The generator needs a package of the extra ``generate``.
        ValueError: The checkpoint is of no generator, or an option does not fit it.
        OSError: The folder cannot be written, or the disk is full.
    """
    generator = load_generator(ckpt)
    check_number("chunk", chunk, 1, integer=True)
    check_number("seed", seed, 0, integer=True)
    for option, name, value in (("guidance", "guidance", guidance), ("steps", "sampling_steps", steps)):
        if value is None:
            continue
        if name not in generator.sampling_args:
            raise ValueError(f"--{option} {value}: {type(generator).__name__} has no {name}; leave it out")
        check_number(option, value, 0 if name == "guidance" else 1, integer=name != "guidance")
        setattr(generator, name, value)
    total = sum(label_counts(generator, ipc, labels))
    check_writable(out)
    generator.to(resolve_device(accelerator))
    with Path(ckpt).open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    with progress_bar() as bar:
        task = bar.add_task("images", total=total)
        path = generate_set(
            generator,
            out,
            ipc=ipc,
            labels=labels,
            seed=seed,
            chunk=chunk,
            checkpoint_sha256=sha256,
            training_hashes=training_hashes,
            on_images=partial(bar.advance, task),
        )
    about = f"{total:,} images of {generator.spec.name}, drawn by {type(generator).__name__}"
    plain_console().print(f"{about} after {generator.trained_steps:,} training steps: {path}", soft_wrap=True)
    return path
