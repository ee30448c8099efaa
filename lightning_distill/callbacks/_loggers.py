"""Log images, figures and folders to the loggers that take them. No other module asks for a logger's class."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lightning_distill.evaluation import Predictions


def wandb_loggers(loggers: Iterable[Logger]) -> list[WandbLogger]:
    """Return the W&B loggers among these loggers."""
    return [logger for logger in loggers if isinstance(logger, WandbLogger)]


def log_image(loggers: Sequence[Logger], key: str, image: NDArray[np.uint8] | Figure, step: int) -> None:
    """Log an image to W&B and TensorBoard; other loggers are skipped.

    Args:
        loggers: Loggers of the Trainer.
        key: Name of the image, e.g. ``synthetic/images``.
        image: Array ``(H, W, C)`` uint8, or a matplotlib figure.
        step: Optimizer steps so far.
    """
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.log_image(key, [image], step=step)
        elif isinstance(logger, TensorBoardLogger):
            if isinstance(image, np.ndarray):
                tensor: Any = torch.from_numpy(image.copy())
                logger.experiment.add_image(key, tensor, step, dataformats="HWC")
            else:
                logger.experiment.add_figure(key, image, step)


def log_figures(loggers: Sequence[Logger], stage: str, predictions: Predictions, step: int) -> None:
    """Log the figures of `visualization.figures`, as ``val/confusion``, ``val/reliability`` and ``val/recall``.

    Args:
        loggers: Loggers of the Trainer.
        stage: ``val`` or ``test``.
        predictions: Logits of all students and the targets.
        step: Optimizer steps so far.
    """
    from lightning_distill.visualization.figures import figures  # imports matplotlib and scikit-learn

    for name, figure in figures(predictions).items():
        log_image(loggers, f"{stage}/{name}", figure, step)


def log_artifact(loggers: Iterable[Logger], name: str, folder: Path) -> None:
    """Log a folder to W&B as an artifact of the type ``dataset``; other loggers are skipped.

    Args:
        loggers: Loggers of the Trainer.
        name: Name of the artifact.
        folder: Folder that holds the files.
    """
    for logger in wandb_loggers(loggers):
        import wandb  # optional: installed where a WandbLogger exists

        artifact = wandb.Artifact(name, type="dataset")
        artifact.add_dir(str(folder))
        logger.experiment.log_artifact(artifact)
