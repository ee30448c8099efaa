"""``ExpertTrajectoryRecorder``: record the parameters of a network during training, for trajectory matching."""

from __future__ import annotations

import os
from operator import attrgetter
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor, nn

from lightning_distill._renamed import RenamedArguments
from lightning_distill.distillers.mtt.experts import epoch_path, write_epoch, write_expert_card
from lightning_distill.sets.storage import check_writable
from lightning_distill.spec import DataSpec
from lightning_distill.utils.locks import claim_folder, release_folder


class ExpertTrajectoryRecorder(RenamedArguments, Callback):
    """Write the parameters of a LightningModule, or of one of its networks, before training and after every epoch.

    Works in any Lightning project and does not change its training. `MTTDistiller` takes the parent folder of
    ``dirpath`` as ``experts``. Parameters are stored as float32 safetensors under the network's own names; buffers,
    such as running statistics, are not stored.

    Args:
        dirpath: Folder of this one expert, checked before the run.
        module: Attribute that holds the network, e.g. ``model`` or ``model.backbone``; default: the whole module.
        network: Name of the network in this package or in timm, for the card; default: the name of its class.

    Raises:
        OSError: The folder cannot be written, or belongs to a run that is still going.
        ValueError: The folder holds another expert, or the module has no such attribute.

    Example:
        >>> callback = ExpertTrajectoryRecorder("experts/000", module="model", network="resnet18_batch")
    """

    def __init__(
        self, dirpath: str | os.PathLike[str], module: str | None = None, *, network: str | None = None
    ) -> None:
        self.dirpath, self.module, self.network = Path(dirpath), module, network
        self._owned = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check the attribute and own the folder, before the run."""
        if stage == "fit":
            self._network(pl_module)
            check_writable(self.dirpath)
            if trainer.is_global_zero:
                claim_folder(self.dirpath)
                self._owned = True

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Release the folder."""
        if self._owned:
            release_folder(self.dirpath)
            self._owned = False

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Release the folder."""
        self.teardown(trainer, pl_module, "fit")

    @rank_zero_only
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the card and the parameters before training; a resumed run keeps its files."""
        if trainer.current_epoch > 0:
            return
        if epoch_path(self.dirpath, 0).exists():
            raise ValueError(f"{self.dirpath.name} holds an expert already; choose another dirpath, or resume its run")
        datamodule: Any = trainer.datamodule  # type: ignore[attr-defined]
        spec = getattr(datamodule, "spec", None)
        network = self._network(pl_module)
        write_expert_card(
            self.dirpath,
            self.network or type(network).__name__,
            spec if isinstance(spec, DataSpec) else None,
            {"module": type(pl_module).__name__, "max_epochs": trainer.max_epochs},
        )
        self._write(pl_module, 0)

    @rank_zero_only
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the parameters at the end of this epoch."""
        self._write(pl_module, trainer.current_epoch + 1)

    def _write(self, pl_module: LightningModule, epoch: int) -> None:
        write_epoch(self.dirpath, epoch, dict(_named_parameters(self._network(pl_module))))

    def _network(self, pl_module: LightningModule) -> nn.Module:
        try:
            network = pl_module if self.module is None else attrgetter(self.module)(pl_module)
        except AttributeError as error:
            raise ValueError(
                f"{type(pl_module).__name__} has no attribute {self.module!r} to record; set module=..."
            ) from error
        if not isinstance(network, nn.Module):
            raise ValueError(f"{self.module!r} is a {type(network).__name__}, not a network")
        return network


def _named_parameters(network: nn.Module) -> dict[str, Tensor]:
    """Return the parameters by the names of the network before `torch.compile`."""
    return {name.replace("_orig_mod.", ""): tensor for name, tensor in network.named_parameters()}
