"""One candidate of a portfolio: a recipe that is distilled further in every round."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer

from lightning_distill.callbacks.checkpoint import DistillCheckpoint
from lightning_distill.callbacks.evaluated_set import exported_set
from lightning_distill.data import ArrayDataModule
from lightning_distill.distillers import Distiller
from lightning_distill.distillers.quiet import quiet
from lightning_distill.portfolio.recipes import Recipe
from lightning_distill.sets.labeled_set import LabeledSet

#: Name of the checkpoint in a candidate's folder, without its ending.
LAST = "last"


class StepTimes(Callback):
    """Measure the seconds of every step, and call a function after it.

    Args:
        on_step: Function that is called with the number of steps so far.

    Attributes:
        seconds: Seconds of each step of this fit.
    """

    def __init__(self, on_step: Callable[[int], object] = lambda step: None) -> None:
        self.on_step = on_step
        self.seconds: list[float] = []
        self._began = 0.0

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Start the clock."""
        self._began = time.perf_counter()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any) -> None:
        """Stop the clock."""
        self.seconds.append(time.perf_counter() - self._began)
        self.on_step(trainer.global_step)


class CandidateRun:
    """A recipe on its data, distilled to more and more steps.

    A step depends on seed, step number and learning rate alone, so that interruptions do not change the images. The
    learning rate of a recipe with a schedule falls to zero at the end of every round.

    Args:
        recipe: Method and options.
        data: Data module.
        folder: Folder of the candidate's checkpoint.
        options: Keyword arguments of the distiller that hold for every recipe.
        trainer: Keyword arguments of the Trainer, such as accelerator and precision.
        other_networks: Networks of students beside the network of the distiller, see `Recipe.build`.
    """

    def __init__(
        self,
        recipe: Recipe,
        data: ArrayDataModule,
        folder: Path,
        options: dict[str, object],
        trainer: dict[str, Any],
        other_networks: Sequence[str] | None = None,
    ) -> None:
        self.recipe, self.data, self.folder = recipe, data, folder
        self.options, self.trainer_options, self.other_networks = options, trainer, other_networks

    def distil(self, steps: int, on_step: Callable[[int], object] = lambda step: None) -> tuple[Distiller, list[float]]:
        """Distil to a number of steps, from the checkpoint if there is one.

        Args:
            steps: Steps from the start.
            on_step: Function that is called with the number of steps so far.

        Returns:
            The distiller, and the seconds of each step that was made now.
        """
        checkpoint = self.folder / f"{LAST}.ckpt"
        distiller, times = self.build(), StepTimes(on_step)
        saver = DistillCheckpoint(self.folder, monitor=None)
        with quiet():
            trainer = Trainer(
                max_steps=steps,
                devices=1,
                logger=False,
                enable_model_summary=False,
                enable_progress_bar=False,
                limit_val_batches=0,
                num_sanity_val_steps=0,
                callbacks=[times, saver],
                **self.trainer_options,
            )
            trainer.fit(
                distiller,
                datamodule=self.data,
                ckpt_path=str(checkpoint) if checkpoint.is_file() else None,
                weights_only=True,
            )
        return distiller, times.seconds

    def restart(self) -> None:
        """Remove the checkpoints, where the run that made them is not known."""
        for checkpoint in self.folder.glob("*.ckpt"):
            checkpoint.unlink()

    def start(self) -> LabeledSet:
        """Return the set before the first step, as it would be exported."""
        return exported_set(self.build().init_synthetic(self.data))

    def build(self) -> Distiller:
        """Return a new distiller."""
        return self.recipe.build(self.other_networks, **self.options)


def median(seconds: list[float]) -> float:
    """Return the median, without the first value: it contains the warm-up."""
    return float(torch.tensor(seconds[1:] or seconds).median())
