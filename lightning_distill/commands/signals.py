"""``lightning-distill signals``: write the signal bank of a data set, or its pixel sums."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning_distill.commands._console import plain_console
from lightning_distill.commands._options import Accelerator, Precision, progress_bar, resolve_device
from lightning_distill.data import ArrayDataModule
from lightning_distill.functional.compile import CompileMode
from lightning_distill.sets.storage import check_file_writable
from lightning_distill.signals import SignalBank, read_bank, write_bank
from lightning_distill.signals.guarantee import Guarantee, compute_noisy_bank
from lightning_distill.signals.guarantee.statement import Counts, Unit
from lightning_distill.signals.pixel_sums import PixelSums


def signals(
    data: ArrayDataModule,
    *,
    out: str = "signals.safetensors",
    draws: int = 100,
    network: str = "convnet",
    augmentation: str | None = None,
    objective: str = "mean",
    seed: int = 0,
    mean: list[float] | None = None,
    std: list[float] | None = None,
    statistics: list[str] | None = None,
    pixel_sums: bool = False,
    train_steps: int = 0,
    epsilon: float | None = None,
    delta: float = 1e-5,
    clip: float = 1.0,
    unit: Unit = "image",
    sample_size: int = 1000,
    class_counts: Counts = "public",
    earlier: list[str] | None = None,
    precision: Precision = "32-true",
    accelerator: Accelerator = "auto",
    compile: CompileMode = "auto",
) -> Path:
    """Write the class statistics of the training images in many random networks, which a set can be distilled from.

    Args:
        data: Real data: ``--data MedMNISTDataModule --data.name breastmnist``.
        out: File to write.
        draws: Number of random networks, each with one augmentation of each class.
        network: Name of the networks, without batch norm.
        augmentation: Augmentation preset; ``null`` takes the data set's.
        objective: Statistic of the embeddings: ``mean``, ``moments``, ``characteristic`` or ``mmd``.
        seed: Seed of networks and augmentations; banks that are to be merged need the same.
        mean: Mean of each channel in pixel units, agreed on by all sites; ``null`` takes that of the data.
        std: Standard deviation of each channel in pixel units, agreed on by all sites; ``null`` takes that of the data.
        statistics: Files of pixel sums of all sites, whose common mean and std are used.
        pixel_sums: Whether to write the pixel sums of this site instead of a bank: the first round.
        train_steps: SGD steps on the real images for each network; 0 keeps the networks random.
        epsilon: Epsilon of a differential privacy guarantee; ``null`` gives none. Needs the extra ``dp``.
        delta: Delta of the guarantee.
        clip: Largest L2 norm that a unit adds to the sums of a draw.
        unit: Unit of the guarantee: ``image`` or ``patient``.
        sample_size: Expected units of a class in a sample of the guarantee; smaller classes are taken whole.
        class_counts: ``public``, or ``noisy`` for counts with noise that is charged.
        earlier: Noisy banks of the same data that were released before; their epsilon is added.
        precision: Precision of the networks' forward pass: ``32-true`` or ``bf16-mixed``.
        accelerator: Device: ``cpu``, ``cuda``, or ``auto`` for CUDA where it is available.
        compile: Mode of ``torch.compile``: ``auto``, ``off`` or ``max``.

    Returns:
        Path of the file.

    Raises:
        ValueError: An option is out of range, or contradicts another one.
        OSError: The file cannot be written.
    """
    check_file_writable(out)
    console = plain_console()
    if pixel_sums:
        path = PixelSums.compute(data).write(out)
        console.print(f"pixel sums of {data.spec.name}: {path}; send them to all sites", soft_wrap=True)
        return path
    if statistics and (mean or std):
        raise ValueError("--statistics and --mean, --std exclude each other; use one of them")
    if statistics and epsilon is not None:
        raise ValueError("--statistics come from the data, which epsilon does not cover; give constants: --mean, --std")
    if statistics:
        first, *others = map(PixelSums.read, statistics)
        total = sum(others, first)
        mean, std = list(total.mean), list(total.std)
    shared: dict[str, Any] = {
        "draws": draws, "network": network, "augmentation": augmentation, "objective": objective, "seed": seed,
        "mean": mean, "std": std, "device": resolve_device(accelerator), "bf16": precision == "bf16-mixed",
        "compile": compile,
    }  # fmt: skip
    with progress_bar() as bar:
        task = bar.add_task(f"signals of {draws} networks", total=None)

        def on_progress(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        if epsilon is None:
            if earlier:
                raise ValueError("--earlier belongs to --epsilon; a bank without noise has no guarantee to add to")
            (bank,) = SignalBank.compute(data, train_steps=train_steps, on_progress=on_progress, **shared)
        else:
            if train_steps:
                raise ValueError("no guarantee covers networks that were trained on the data; leave --train_steps out")
            bank = compute_noisy_bank(
                data, epsilon=epsilon, delta=delta, clip=clip, unit=unit, sample_size=sample_size,
                class_counts=class_counts, earlier=[guarantee_of(path) for path in earlier or []],
                on_progress=on_progress, **shared,
            )  # fmt: skip
    path = write_bank(out, bank)
    size = f"{bank.nbytes / 1e6:.1f} MB"
    console.print(f"signals of {int(bank.counts[0].sum())} images of {bank.spec.name}, {size}: {path}", soft_wrap=True)
    if epsilon is not None:
        console.print(bank.about["guarantee"]["words"], soft_wrap=True)
    else:
        console.print(
            "a bank without noise tells those who have the images which of them are in it: lightning-distill "
            "signals-audit measures that, --epsilon 8 bounds it",
            soft_wrap=True,
        )
    return path


def guarantee_of(path: str) -> Guarantee:
    """Return the guarantee of a bank that was released before.

    Raises:
        ValueError: The bank has none.
    """
    about = read_bank(path).about
    if "guarantee" not in about:
        raise ValueError(f"{Path(path).name} was released without noise, so that no epsilon covers its data any more")
    return Guarantee.from_dict(about["guarantee"])
