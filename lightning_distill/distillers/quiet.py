"""Distillations inside other work: a Trainer that logs, shows and writes nothing."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from lightning import Callback, Trainer

from lightning_distill.utils.precision import Precision


def quiet_trainer(max_steps: int, precision: Precision, device: str, callbacks: Sequence[Callback] = ()) -> Trainer:
    """Create a trainer without logging, checkpoints, validation or progress bar.

    Args:
        max_steps: Number of steps.
        precision: Precision of the forward pass.
        device: ``cpu`` or ``cuda``.
        callbacks: Callbacks of the run.
    """
    return Trainer(
        max_steps=max_steps,
        accelerator="gpu" if device == "cuda" else "cpu",
        devices=1,
        precision=precision,
        logger=False,
        callbacks=list(callbacks),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Silence Lightning's messages about each Trainer, and the warnings on steps and starts of one distillation."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\.")
            warnings.filterwarnings("ignore", message=".* steps are far fewer than")  # a round is a part of a run
            warnings.filterwarnings("ignore", message="the set may show training images")  # the card says it
            warnings.filterwarnings("ignore", message=".* has no test split")  # said when the data were read
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
