"""What a checkpoint keeps of a distiller beside Lightning's own."""

from __future__ import annotations

from typing import Any

from lightning import LightningModule

from lightning_distill.functional.network import Parameters
from lightning_distill.sets.synthetic import SyntheticSet
from lightning_distill.spec import DataSpec


class CheckpointMixin(LightningModule):
    """A module whose checkpoint alone makes its synthetic set again, and which goes on where it stopped.

    Attributes:
        synthetic: the set.
        memory: what a method keeps from one step to the next, e.g. an online network; empty unless the method fills it.
    """

    synthetic: SyntheticSet
    extra_state: Parameters

    def __init__(self) -> None:
        super().__init__()
        self.extra_state = {}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what the set stands for, and the memory."""
        checkpoint["spec"] = self.synthetic.spec.to_dict()
        checkpoint["extra_state"] = {name: tensor.detach() for name, tensor in self.extra_state.items()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Make room for the checkpoint's set when no data module has, and remember."""
        self.extra_state = checkpoint.get("extra_state", checkpoint.get("memory", {}))  # "memory" before 0.2
        if not hasattr(self, "synthetic"):
            state = {name.removeprefix("synthetic."): tensor for name, tensor in checkpoint["state_dict"].items()}
            self.synthetic = SyntheticSet.empty_like_state(state, DataSpec.from_dict(checkpoint["spec"]))

    def on_train_start(self) -> None:
        """Have the memory where the images are."""
        self.extra_state = {name: tensor.to(self.device) for name, tensor in self.extra_state.items()}
