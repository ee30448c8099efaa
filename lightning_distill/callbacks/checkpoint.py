"""``DistillCheckpoint``: the checkpoint with the best score, and the one of the last step."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities.exceptions import SIGTERMException

from lightning_distill.callbacks._lightning_private import validation_follows
from lightning_distill.checkpoints.verified_io import step_of, use_verified_checkpoints
from lightning_distill.sets.storage import check_writable
from lightning_distill.utils.atomic_files import remove_stale_temporaries, temporary_beside, write_files_atomically
from lightning_distill.utils.checkpoint_file import SUFFIX
from lightning_distill.utils.errors import TERMINATED
from lightning_distill.utils.locks import claim_folder, release_folder


class DistillCheckpoint(ModelCheckpoint):
    """Keep the checkpoint with the best validation score, and ``last.ckpt``, the one of the last step.

    ``ckpt_path="best"`` and ``"last"`` work as with Lightning's ModelCheckpoint, whose ``save_last`` keeps the state of
    the last *best* score. ``last.ckpt`` is written after every validation and epoch, at the end, and between them when
    ``every_seconds`` have passed; never between a step and its validation, so a resumed run repeats no validation and
    skips none. ``previous.ckpt`` is the one before it. Files are written beside their targets, renamed, and verified by
    a digest when they are read; a run goes on from the newest intact one of the folder where the named one is damaged.

    ``ckpt_path="last"`` is ``last.ckpt``, whatever the times of the files say. One run at a time owns the folder.

    On SIGTERM ``last.ckpt`` is written after the current step, and the process ends with exit status 143.

    Args:
        dirpath: Folder of the checkpoints, checked before the run. Default: that of ModelCheckpoint.
        monitor: Logged score that selects the best checkpoint. ``None`` keeps ``last.ckpt`` alone.
        mode: Whether the best score is the highest (``max``) or the lowest (``min``).
        filename: Name of the best checkpoint with placeholders, see ModelCheckpoint.
        every_n_train_steps: Steps between two writes of ``last.ckpt``; ``None`` goes by ``every_seconds``.
        every_seconds: Seconds between two writes of ``last.ckpt``.

    Raises:
        OSError: The folder cannot be written, or belongs to a run that is still going; checked before the run.
        ValueError: A number is not positive.

    Example:
        >>> callback = DistillCheckpoint("runs/digits/checkpoints", monitor="val/balanced_acc")
    """

    PREVIOUS = "previous"

    def __init__(
        self,
        dirpath: str | os.PathLike[str] | None = None,
        *,
        monitor: str | None = "val/acc",
        mode: str = "max",
        filename: str | None = None,
        every_n_train_steps: int | None = None,
        every_seconds: float = 30.0,
    ) -> None:
        for name, value in (("every_n_train_steps", every_n_train_steps), ("every_seconds", every_seconds)):
            if value is not None and not value > 0:
                raise ValueError(f"{name}={value}; it must be positive")
        super().__init__(
            None if dirpath is None else os.fspath(dirpath),
            filename,
            monitor=monitor,
            mode=mode,
            save_top_k=0 if monitor is None else 1,
            enable_version_counter=False,
        )
        self.last_every_n_steps, self.every_seconds = every_n_train_steps, every_seconds
        self._written_step = -1
        self._written_at = 0.0
        self._owned: Path | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Own the folder, check that it can be written, and have checkpoints written atomically and verified."""
        super().setup(trainer, pl_module, stage)
        use_verified_checkpoints(trainer, fall_back=stage == "fit")
        if stage == "fit" and trainer.is_global_zero and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            check_writable(self._folder)
            claim_folder(self._folder)
            self._owned = self._folder

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Release the folder."""
        super().teardown(trainer, pl_module, stage)
        self._release()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        super().on_train_start(trainer, pl_module)
        self._written_at, self._written_step = time.monotonic(), -1

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write ``last.ckpt`` if it is due or the process was told to end, unless a validation follows."""
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        if self.last_every_n_steps is not None:
            due = trainer.global_step % self.last_every_n_steps == 0
        else:
            due = time.monotonic() - self._written_at >= self.every_seconds
        due = due or trainer.received_sigterm
        if trainer.world_size > 1:
            due = trainer.strategy.broadcast(due)
        if due and not validation_follows(trainer):
            self._write_last(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the best checkpoint, and write ``last.ckpt`` after a validation within an epoch."""
        super().on_validation_end(trainer, pl_module)
        if not self._should_save_on_train_epoch_end(trainer):
            self._write_last(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the best checkpoint, and write ``last.ckpt``."""
        super().on_train_epoch_end(trainer, pl_module)
        self._write_last(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write ``last.ckpt`` of the last step."""
        super().on_train_end(trainer, pl_module)
        self._write_last(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Give an exit caused by SIGTERM the exit status of a terminated process."""
        super().on_exception(trainer, pl_module, exception)
        self._release()
        if isinstance(exception, SIGTERMException):
            exception.code = TERMINATED

    def _release(self) -> None:
        if self._owned is not None:
            release_folder(self._owned)
            self._owned = None

    def _find_last_checkpoints(self, trainer: Trainer) -> set[str]:
        """Return the newest checkpoint by step; Lightning compares the times of files, which a copy changes."""
        found = super()._find_last_checkpoints(trainer)
        if len(found) < 2:
            return found
        return {max(sorted(found, reverse=True), key=step_of)}  # last.ckpt, then last-v1.ckpt, where steps are equal

    @property
    def _folder(self) -> Path:
        assert self.dirpath is not None
        return Path(self.dirpath)

    def _write_last(self, trainer: Trainer) -> None:
        """Write ``last.ckpt`` unless it holds this step; every rank calls it."""
        idle = trainer.sanity_checking or trainer.state.fn != "fit" or trainer.fast_dev_run  # type: ignore[attr-defined]
        if idle or self._written_step == trainer.global_step:
            return
        last = self._folder / f"{self.CHECKPOINT_NAME_LAST}{SUFFIX}"
        self.last_model_path = str(last)
        if trainer.is_global_zero and last.is_file():
            _keep_copy(last, self._folder / f"{self.PREVIOUS}{SUFFIX}")
        trainer.save_checkpoint(last)
        self._written_step, self._written_at = trainer.global_step, time.monotonic()


def _keep_copy(source: Path, target: Path) -> None:
    """Make a second name for a file, or a copy where the disk has no hard links; the source is never missing."""
    temporary = temporary_beside(target)
    try:
        remove_stale_temporaries(target)
        os.link(source, temporary)
        os.replace(temporary, target)
    except OSError:
        write_files_atomically({target: source.read_bytes()})
    finally:
        temporary.unlink(missing_ok=True)
