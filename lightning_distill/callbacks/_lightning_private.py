"""Private attributes of Lightning that the callbacks read. Checked with Lightning 2.5 and 2.6."""

from __future__ import annotations

from typing import Any

from lightning import LightningDataModule, Trainer


def current_evaluation_loader(trainer: Trainer) -> Any | None:
    """Return the loader or loaders of the validation or test loop that runs now, ``None`` outside of one.

    ``trainer.val_dataloaders`` may still hold the loaders of an earlier ``fit``.
    """
    loader = trainer._evaluation_loop._combined_loader
    return None if loader is None else loader.iterables


def current_datamodule(trainer: Trainer) -> LightningDataModule | None:
    """Return the data module that the loaders of the running validation or test come from.

    ``trainer.datamodule`` keeps the module of an earlier call where the running one was given ``dataloaders=``.
    """
    source = trainer._evaluation_loop._data_source.instance
    return source if isinstance(source, LightningDataModule) else None
