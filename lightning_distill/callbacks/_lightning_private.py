"""Private attributes of Lightning that the callbacks use. Checked with Lightning 2.5 and 2.6."""

from __future__ import annotations

from typing import Any, cast

import torch
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


def validation_follows(trainer: Trainer) -> bool:
    """Return True at the end of a training batch after which the trainer validates."""
    fetcher = trainer.fit_loop._data_fetcher
    assert fetcher is not None
    return bool(trainer.enable_validation and trainer.fit_loop.epoch_loop._should_check_val_fx(fetcher))


def finish_when_done(trainer: Trainer) -> None:
    """Have a fit that resumes at its last step validate and call the hooks of the end of training.

    Lightning returns at once there, so what a killed run had not validated or exported would be lost.
    """
    loop = trainer.fit_loop
    if "run" in vars(loop):
        return

    def run() -> None:
        del vars(loop)["run"]
        loop.setup_data()
        if loop.max_batches == 0 or trainer.limit_train_batches == 0 or not loop.done:
            loop.run()
            return
        torch.set_grad_enabled(True)
        loop.on_run_start()
        if trainer.enable_validation:
            trainer.validating = True
            loop.epoch_loop.val_loop.restarting = False
            loop.epoch_loop.val_loop.run()
            trainer.training = True
        loop.on_run_end()

    vars(loop)["run"] = cast(Any, run)
