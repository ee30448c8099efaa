"""``SyntheticImageLogger``: the set as a picture, wherever the run is looked at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only
from PIL import Image

from lightning_distill._renamed import RenamedArguments
from lightning_distill.distillers import Distiller
from lightning_distill.sets.storage import check_writable
from lightning_distill.visualization.image_grid import image_grid


class SyntheticImageLogger(RenamedArguments, Callback):
    """After every validation and at the end, draws one row of images for each class as they would be shipped.

    Goes to W&B and TensorBoard as ``synthetic/images``, and to ``dirpath`` as ``step-N.png`` if one is given.

    Args:
        dirpath: folder for PNG files; ``None`` writes none.
        columns: most images in a row.
    """

    def __init__(self, dirpath: str | None = None, columns: int = 10) -> None:
        self.dirpath, self.columns = dirpath, columns
        self._drawn = -1

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse a folder that cannot be written, before the run."""
        if self.dirpath is not None and stage == "fit":
            check_writable(self.dirpath)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw."""
        if not trainer.sanity_checking and trainer.state.fn == "fit":
            self._draw(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the last images unless the last validation has."""
        self._draw(trainer, pl_module)

    @rank_zero_only
    def _draw(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not isinstance(pl_module, Distiller) or self._drawn == trainer.global_step:
            return
        self._drawn = trainer.global_step
        synthetic = pl_module.synthetic
        grid = image_grid(synthetic.pixels().cpu(), synthetic.labels.cpu(), synthetic.spec, self.columns)
        if self.dirpath is not None:
            Image.fromarray(grid).save(Path(self.dirpath) / f"step-{trainer.global_step}.png")
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_image("synthetic/images", [grid], step=trainer.global_step)
            elif isinstance(logger, TensorBoardLogger):
                picture: Any = torch.from_numpy(grid.copy())
                logger.experiment.add_image("synthetic/images", picture, trainer.global_step, dataformats="HWC")
