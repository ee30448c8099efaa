"""What a distiller asks of a data module."""

from __future__ import annotations

from lightning import LightningDataModule

from lightning_distill.data.base import ArrayDataModule


def require_array_datamodule(datamodule: LightningDataModule | None) -> ArrayDataModule:
    """The trainer's data module, if a distiller can draw from it.

    Raises:
        TypeError: it cannot; the message says how to wrap it.
    """
    if isinstance(datamodule, ArrayDataModule):
        return datamodule
    given = "no data module was given" if datamodule is None else f"{type(datamodule).__name__} gives none"
    raise TypeError(
        f"a distiller draws class-balanced batches; {given}. "
        "Use fit(model, datamodule=...) with one of ours, or BalancedDataModule(your_datamodule)"
    )
