"""``lightning-distill experts``: train expert networks for trajectory matching and store every epoch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning_distill.commands._console import plain_console
from lightning_distill.commands._options import progress_bar, report_to
from lightning_distill.data import ArrayDataModule
from lightning_distill.distillers.mtt.train_experts import train_experts


def experts(data: ArrayDataModule, out: str = "experts", **options: Any) -> list[Path]:
    """Train networks on all real training images and write their parameters after every epoch.

    Complete experts in the folder are kept; an incomplete one is trained again from its seed. The paper uses 100
    experts of 50 epochs, trained with plain SGD.

    Args:
        data: Real data: ``--data MedMNISTDataModule --data.name breastmnist``.
        out: Folder of all experts; expert n is written to ``out/00n``.
        **options: Options of `distillers.mtt.train_experts.train_experts`.

    Returns:
        Folder of each expert.

    Raises:
        ValueError: A number is out of range, a name is unknown, or the folder holds experts of other settings.
        OSError: The folder cannot be written.
    """
    with progress_bar() as bar:

        def show(folder: Path, accuracy: float) -> None:
            bar.console.print(f"expert {folder.name}: val accuracy {100 * accuracy:.1f} %")

        folders = train_experts(data, out, on_progress=report_to(bar), on_expert=show, **options)
    plain_console().print(f"{len(folders)} experts in {out}: MTTDistiller(experts={out!r})")
    return folders
