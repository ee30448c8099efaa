"""Private attributes of Lightning that the callbacks use. Checked with Lightning 2.5 and 2.6."""

from __future__ import annotations

from typing import Any, cast

import torch
from lightning import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.utilities.model_helpers import is_overridden


def current_evaluation_loader(trainer: Trainer) -> Any | None:
    """Return the loader or loaders of the validation or test loop that runs now, ``None`` outside of one.

    ``trainer.val_dataloaders`` may still hold the loaders of an earlier ``fit``.
    """
    loader = trainer._evaluation_loop._combined_loader
    return None if loader is None else loader.iterables


def number_of_evaluation_loaders(trainer: Trainer) -> int:
    """Return the number of loaders that the running validation or test loop reads one after the other."""
    loop = trainer._evaluation_loop
    return loop.num_dataloaders if loop._is_sequential else 1


def current_datamodule(trainer: Trainer) -> LightningDataModule | None:
    """Return the data module that the loaders of the running validation or test come from.

    ``trainer.datamodule`` keeps the module of an earlier call where the running one was given ``dataloaders=``.
    """
    source = trainer._evaluation_loop._data_source.instance
    return source if isinstance(source, LightningDataModule) else None


def step_fetches_batches(trainer: Trainer) -> bool:
    """Return whether the steps take a ``dataloader_iter``: hooks get the batch only after the step."""
    from lightning.pytorch.loops.fetchers import _DataLoaderIterDataFetcher

    return isinstance(trainer._evaluation_loop._data_fetcher, _DataLoaderIterDataFetcher)


def logged_names(trainer: Trainer) -> set[str]:
    """Return the names that were logged so far in the running validation or test."""
    results = trainer._results
    return set() if results is None else {item.meta.name for _, item in results.valid_items()}


def as_transferred(trainer: Trainer, pl_module: LightningModule, batch: Any) -> Any:
    """Return a batch as the transfer hooks of the project change it, e.g. normalised; unchanged without such hooks."""
    hooks = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")
    owners = (pl_module, trainer.datamodule)  # type: ignore[attr-defined]
    if not any(is_overridden(hook, owner) for owner in owners if owner is not None for hook in hooks):
        return batch
    batch = pl_module._on_before_batch_transfer(batch, dataloader_idx=0)
    return trainer.strategy.batch_to_device(batch, dataloader_idx=0)


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
