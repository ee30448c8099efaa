"""``SyntheticImageLogger``: log the synthetic images as a grid, and their course over the steps of a run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only
from PIL import Image

from lightning_distill._renamed import RenamedArguments
from lightning_distill.callbacks._loggers import log_image
from lightning_distill.distillers import Distiller
from lightning_distill.sets.image_grid import image_grid, png_bytes
from lightning_distill.sets.storage import check_writable
from lightning_distill.utils.arguments import check_number
from lightning_distill.utils.atomic_files import write_files_atomically
from lightning_distill.visualization.steps import animation, strip


class SyntheticImageLogger(RenamedArguments, Callback):
    """Log a grid of the images as they are exported, one row per class, after every validation and at the end.

    W&B and TensorBoard get it as ``synthetic/images``. At the end of a run with a ``dirpath``, ``steps.png`` shows the
    first image of each class at up to ten steps, and ``steps.gif`` is an animation of the grids; loggers get the strip
    as ``synthetic/steps``. Checkpoints hold the numbers of the steps, so that a resumed run shows all of them.

    Args:
        dirpath: Folder for PNG files ``step-N.png`` and for ``steps.png`` and ``steps.gif``; default: no files.
        columns: Maximum number of images in a row.

    Raises:
        OSError: The folder cannot be written; checked before the run.
        ValueError: ``columns`` is below one.

    Example:
        >>> callback = SyntheticImageLogger("runs/images", columns=5)
    """

    def __init__(self, dirpath: str | os.PathLike[str] | None = None, *, columns: int = 10) -> None:
        self.dirpath, self.columns = None if dirpath is None else Path(dirpath), columns
        check_number("columns", columns, 1, integer=True)
        self._logged_step = -1
        #: Steps of this run with a file in the folder.
        self.steps: list[int] = []

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
        self._log_steps(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        """Return the steps with a file in the folder."""
        return {"steps": list(self.steps)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the steps with a file in the folder."""
        self.steps = list(state_dict.get("steps", []))

    @rank_zero_only
    def _log(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not isinstance(pl_module, Distiller) or self._logged_step == trainer.global_step:
            return
        self._logged_step = trainer.global_step
        synthetic = pl_module.synthetic
        grid = image_grid(synthetic.pixels().cpu(), synthetic.labels.cpu(), synthetic.spec, self.columns)
        if self.dirpath is not None:
            write_files_atomically({self._file(trainer.global_step): png_bytes(grid)})
            self.steps = sorted({*self.steps, trainer.global_step})
        log_image(trainer.loggers, "synthetic/images", grid, trainer.global_step)

    @rank_zero_only
    def _log_steps(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the course of the images from the files of this run; files that were removed are left out."""
        steps = [step for step in self.steps if self._file(step).is_file()] if self.dirpath is not None else []
        if self.dirpath is None or len(steps) < 2 or not isinstance(pl_module, Distiller):
            return
        pictures = [np.asarray(Image.open(self._file(step)).convert("RGB")) for step in steps]
        same = [number for number, picture in enumerate(pictures) if picture.shape == pictures[-1].shape]
        pictures, steps = [pictures[number] for number in same], [steps[number] for number in same]
        synthetic = pl_module.synthetic
        course = strip(pictures, steps, synthetic.spec, min(self.columns, int(synthetic.labels.bincount().max())))
        files = {"steps.png": png_bytes(course), "steps.gif": animation(pictures, steps)}
        write_files_atomically({self.dirpath / name: content for name, content in files.items()})
        log_image(trainer.loggers, "synthetic/steps", course, trainer.global_step)

    def _file(self, step: int) -> Path:
        assert self.dirpath is not None
        return self.dirpath / f"step-{step}.png"
