"""Checkpoint plugin of Lightning: checkpoints are written atomically on their own disk and verified when read."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.utilities import rank_zero_warn

from lightning_distill.utils.atomic_files import write_files_atomically
from lightning_distill.utils.checkpoint_file import (
    SUFFIX,
    DamagedCheckpointError,
    PickledCheckpointError,
    is_remote,
    verify,
    with_digest,
)


class VerifiedCheckpointIO(TorchCheckpointIO):
    """Writer and reader of checkpoints: atomic beside the target, with a digest, verified before they are used.

    Args:
        fall_back: Whether the newest intact checkpoint of the folder is read in place of a damaged one.

    Example:
        >>> from lightning import Trainer
        >>> trainer = Trainer(plugins=[VerifiedCheckpointIO()], logger=False, accelerator="cpu")
    """

    def __init__(self, *, fall_back: bool = False) -> None:
        super().__init__()
        self.fall_back = fall_back

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any | None = None
    ) -> None:
        """Write a checkpoint; on failure an older one is kept.

        Args:
            checkpoint: Content.
            path: Path of the file. Remote paths are left to Lightning.
            storage_options: Not supported.

        Raises:
            OSError: The folder cannot be written, or the disk is full.
        """
        if is_remote(path) or storage_options is not None:
            super().save_checkpoint(checkpoint, os.fspath(path), storage_options)
            return
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        write_files_atomically({target: with_digest(buffer.getvalue())})

    def load_checkpoint(
        self,
        path: str | os.PathLike[str],
        map_location: Callable[..., Any] | None = lambda storage, loc: storage,
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        """Read a checkpoint, or the newest intact one of the folder, with a warning, where `fall_back` is set.

        Args:
            path: Path of the file. Remote paths are left to Lightning.
            map_location: Argument of ``torch.load``.
            weights_only: Argument of ``torch.load``.

        Raises:
            FileNotFoundError: The file does not exist.
            DamagedCheckpointError: The file is damaged, and there is no intact one to fall back to.
            PickledCheckpointError: The file holds Python objects.
        """
        if is_remote(path):
            return super().load_checkpoint(os.fspath(path), map_location, weights_only)
        try:
            return self._load(Path(path), map_location, weights_only)
        except DamagedCheckpointError as error:
            if not self.fall_back:
                raise
            intact: list[tuple[int, Path, dict[str, Any]]] = []
            for sibling in sorted(Path(path).parent.glob(f"[!.]*{SUFFIX}")):
                try:
                    content = self._load(sibling, map_location, weights_only)
                except DamagedCheckpointError:
                    continue
                intact.append((int(content["global_step"]), sibling, content))
            if not intact:
                raise
            step, sibling, content = max(intact, key=lambda entry: entry[0])
            rank_zero_warn(f"{error}. The run goes on from {sibling.name}, step {step}")
            return content

    def _load(self, path: Path, map_location: Callable[..., Any] | None, weights_only: bool | None) -> dict[str, Any]:
        if not path.is_file():
            raise FileNotFoundError(f"no checkpoint {path.name!r} in {path.parent}")
        data = path.read_bytes()
        verify(data, path.name)
        try:
            content: dict[str, Any] = torch.load(io.BytesIO(data), map_location=map_location, weights_only=weights_only)
        except UnpicklingError as error:
            raise PickledCheckpointError(path) from error
        return content


def step_of(path: str | os.PathLike[str]) -> int:
    """Return the step of a checkpoint, -1 where the file is damaged.

    Args:
        path: Path of a local checkpoint.
    """
    try:
        return int(VerifiedCheckpointIO().load_checkpoint(path, weights_only=True)["global_step"])
    except (DamagedCheckpointError, PickledCheckpointError, KeyError):
        return -1


def use_verified_checkpoints(trainer: Trainer, *, fall_back: bool) -> None:
    """Have a trainer write checkpoints atomically and verify them, unless it was given a plugin for checkpoints.

    Args:
        trainer: Trainer, before it restores a checkpoint.
        fall_back: Whether the newest intact checkpoint of the folder is read in place of a damaged one.
    """
    current = trainer.strategy.checkpoint_io
    if type(current) is TorchCheckpointIO or isinstance(current, VerifiedCheckpointIO):
        trainer.strategy.checkpoint_io = VerifiedCheckpointIO(fall_back=fall_back)


def is_fitting(module: LightningModule) -> bool:
    """Return True inside of ``Trainer.fit``; False also for a module without a trainer.

    It reads ``LightningModule._trainer``, checked with Lightning 2.6.
    """
    return module._trainer is not None and module.trainer.state.fn == "fit"
