"""``SyntheticImageLogger``: log the synthetic images as a grid."""

from __future__ import annotations

import os
from pathlib import Path

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only
from PIL import Image

from lightning_distill._renamed import RenamedArguments
from lightning_distill.callbacks._loggers import log_image
from lightning_distill.distillers import Distiller
from lightning_distill.sets.image_grid import image_grid
from lightning_distill.sets.storage import check_writable


class SyntheticImageLogger(RenamedArguments, Callback):
    """Log a grid of the images as they are exported, one row per class, after every validation and at the end.

    W&B and TensorBoard get it as ``synthetic/images``.

    Args:
        dirpath: Folder for PNG files ``step-N.png``; default: no files.
        columns: Maximum number of images in a row.

    Raises:
        OSError: The folder cannot be written; checked before the run.

    Example:
        >>> callback = SyntheticImageLogger("runs/images", columns=5)
    """

    def __init__(self, dirpath: str | os.PathLike[str] | None = None, *, columns: int = 10) -> None:
        self.dirpath, self.columns = None if dirpath is None else Path(dirpath), columns
        self._logged_step = -1

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check that the folder can be written, before the run."""
        if self.dirpath is not None and stage == "fit":
            check_writable(self.dirpath)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the images."""
        if not trainer.sanity_checking and trainer.state.fn == "fit":
            self._log(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the last images, unless the last validation did."""
        self._log(trainer, pl_module)

    @rank_zero_only
    def _log(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not isinstance(pl_module, Distiller) or self._logged_step == trainer.global_step:
            return
        self._logged_step = trainer.global_step
        synthetic = pl_module.synthetic
        grid = image_grid(synthetic.pixels().cpu(), synthetic.labels.cpu(), synthetic.spec, self.columns)
        if self.dirpath is not None:
            Image.fromarray(grid).save(self.dirpath / f"step-{trainer.global_step}.png")
        log_image(trainer.loggers, "synthetic/images", grid, trainer.global_step)
