"""``GeneratorProgress``: pictures of a generator's images, and their kernel distance to the validation split."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from lightning_distill.callbacks._loggers import log_image
from lightning_distill.data import ArrayDataModule
from lightning_distill.evaluation.fidelity.feature_network import NETWORK, FeatureNetwork
from lightning_distill.evaluation.fidelity.kid import kernel_distance
from lightning_distill.evaluation.fidelity.metric import Features
from lightning_distill.generators import Generator
from lightning_distill.generators.checks import require_real_images
from lightning_distill.sets.image_grid import image_grid, png_bytes
from lightning_distill.sets.storage import check_writable
from lightning_distill.utils.arguments import check_number
from lightning_distill.utils.atomic_files import write_files_atomically
from lightning_distill.utils.lazy_arrays import take
from lightning_distill.utils.rng import derive_seed

#: Log keys of the distance and of the picture.
KID, IMAGES = "val/kid", "generate/images"


class GeneratorProgress(Callback):
    """Draw images from a generator after every validation: log a grid of them, and ``val/kid``.

    ``val/kid`` is the kernel distance between drawn images with the labels of validation images and these images
    themselves, in features of a network that is trained on the training split when the run starts. It is near 0 for
    images that cannot be told from real ones; ``ModelCheckpoint(monitor="val/kid")`` so selects on real validation
    images alone. Validations follow ``steps_per_epoch`` of the data module and ``check_val_every_n_epoch`` of the
    Trainer. No random stream of the run is advanced.

    Args:
        dirpath: Folder for PNG files ``step-N.png``; default: no files.
        columns: Maximum number of images in a row of the grid.
        kid_images: Largest number of validation images that are compared; 0 logs no ``val/kid``.
        sampling_steps: Sampling steps of a flow for these images; default: those of the generator.
        network: Name of the network of the features.
        protocol: Training protocol of that network: ``reference``, ``quick`` or ``tiny`` (for tests).

    Raises:
        OSError: The folder cannot be written; checked before the run.
        TypeError: The model of the run is no generator.
        ValueError: A number is out of range, or the network of the features learns nothing.

    Example:
        >>> callback = GeneratorProgress("runs/flow", kid_images=500)
    """

    def __init__(
        self,
        dirpath: str | os.PathLike[str] | None = None,
        *,
        columns: int = 10,
        kid_images: int = 256,
        sampling_steps: int | None = None,
        network: str = NETWORK,
        protocol: str = "quick",
    ) -> None:
        check_number("columns", columns, 1, integer=True)
        check_number("kid_images", kid_images, 0, integer=True)
        if kid_images == 1:
            raise ValueError("kid_images=1; the kernel distance needs at least 2, or 0 for none")
        if sampling_steps is not None:
            check_number("sampling_steps", sampling_steps, 1, integer=True)
        self.dirpath, self.columns, self.kid_images = None if dirpath is None else Path(dirpath), columns, kid_images
        self.sampling_steps, self.network, self.protocol = sampling_steps, network, protocol
        self._features: FeatureNetwork | None = None
        self._real: Features | None = None
        self._targets = torch.empty(0)
        self._logged_step = -1

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check the model and that the folder can be written, before the run."""
        if not isinstance(pl_module, Generator):
            raise TypeError(
                f"GeneratorProgress needs a generator, not {type(pl_module).__name__}; leave the callback out"
            )
        if self.dirpath is not None and stage == "fit":
            check_writable(self.dirpath)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Train the network of the features and embed the validation images."""
        if not self.kid_images or not trainer.limit_val_batches:
            return
        datamodule = require_real_images(trainer.datamodule)  # type: ignore[attr-defined]
        rank_zero_info(f"training {self.network} on the training split: its features measure val/kid")
        try:
            self._features = FeatureNetwork.fit(
                datamodule, self.network, protocol=self.protocol, device=pl_module.device
            )
        except ValueError as error:
            raise ValueError(
                f"no features for val/kid: {error}; GeneratorProgress(kid_images=0) measures none"
            ) from error
        images, self._targets = validation_sample(datamodule, self.kid_images)
        self._real = self._features.embed(images)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log ``val/kid``, early enough for callbacks that monitor it."""
        if trainer.sanity_checking or self._features is None or self._real is None:
            return
        assert isinstance(pl_module, Generator)
        with self._steps_of(pl_module):
            drawn = pl_module.sample(self._targets, seed=derive_seed("kid"))
        distance = kernel_distance(self._real, self._features.embed(drawn))
        pl_module.log(KID, distance, prog_bar=True, rank_zero_only=False)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the grid of images."""
        if not trainer.sanity_checking and trainer.state.fn == "fit":
            self._log_images(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the last images, unless the last validation did."""
        self._log_images(trainer, pl_module)

    def _log_images(self, trainer: Trainer, pl_module: LightningModule) -> None:
        wanted = self.dirpath is not None or trainer.loggers
        if not isinstance(pl_module, Generator) or not wanted or self._logged_step == trainer.global_step:
            return
        self._logged_step, spec = trainer.global_step, pl_module.spec
        groups = torch.arange(len(spec.balance_groups)).repeat_interleave(self.columns)
        with self._steps_of(pl_module):
            drawn = pl_module.sample(spec.targets(groups), seed=derive_seed("progress"))
        grid = image_grid(drawn, groups, spec, self.columns)
        if self.dirpath is not None:
            write_files_atomically({self.dirpath / f"step-{trainer.global_step}.png": png_bytes(grid)})
        log_image(trainer.loggers, IMAGES, grid, trainer.global_step)

    @contextmanager
    def _steps_of(self, generator: Generator) -> Iterator[None]:
        """Draw with the sampling steps of this callback."""
        if self.sampling_steps is None or "sampling_steps" not in generator.sampling_args:
            yield
            return
        before = generator.sampling_record()["sampling_steps"]
        generator.sampling_steps = self.sampling_steps  # type: ignore[assignment]
        try:
            yield
        finally:
            generator.sampling_steps = before  # type: ignore[assignment]


def validation_sample(datamodule: ArrayDataModule, most: int) -> tuple[Tensor, Tensor]:
    """Return random validation images ``(n, C, H, W)`` and their labels or targets.

    Args:
        datamodule: Data of the run.
        most: Largest number of images.
    """
    images, labels = datamodule.splits["val"]
    rows = np.random.default_rng(0).permutation(len(labels))[:most]
    rows.sort()
    return torch.from_numpy(np.ascontiguousarray(take(images, rows))), torch.from_numpy(labels[rows])
