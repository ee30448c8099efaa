"""Check that a Trainer's data module can serve a distiller."""

from __future__ import annotations

from lightning import LightningDataModule

from lightning_distill.data.base import ArrayDataModule


def require_array_datamodule(datamodule: LightningDataModule | None) -> ArrayDataModule:
    """Return the trainer's data module if a distiller can draw class-balanced batches from it.

    Args:
        datamodule: Data module of the trainer, or ``None``.

    Returns:
        The same object.

    Raises:
        TypeError: If it is not an `ArrayDataModule`. The message names the wrapper.
    """
    if isinstance(datamodule, ArrayDataModule):
        return datamodule
    problem = "no data module was passed" if datamodule is None else f"{type(datamodule).__name__} has none"
    raise TypeError(
        f"a distiller needs class-balanced batches; {problem}. Use fit(model, datamodule=...) with a data module of "
        "lightning_distill, or BalancedDataModule(your_datamodule)"
    )
