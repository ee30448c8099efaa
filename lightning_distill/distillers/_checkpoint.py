"""What a checkpoint keeps of a distiller beside Lightning's own."""

from __future__ import annotations

from typing import Any

from lightning import LightningModule

from lightning_distill.functional.network import Parameters
from lightning_distill.sets.synthetic import SyntheticSet
from lightning_distill.spec import DataSpec


class Remembering(LightningModule):
    """A module whose checkpoint alone makes its synthetic set again, and which goes on where it stopped.

    Attributes:
        synthetic: the set.
        memory: what a method keeps from one step to the next, e.g. an online network; empty unless the method fills it.
    """

    synthetic: SyntheticSet
    memory: Parameters

    def __init__(self) -> None:
        super().__init__()
        self.memory = {}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what the set stands for, and the memory."""
        checkpoint["spec"] = self.synthetic.spec.to_dict()
        checkpoint["memory"] = {name: tensor.detach() for name, tensor in self.memory.items()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Make room for the checkpoint's set when no data module has, and remember."""
        self.memory = checkpoint.get("memory", {})
        if not hasattr(self, "synthetic"):
            state = {name.removeprefix("synthetic."): tensor for name, tensor in checkpoint["state_dict"].items()}
            self.synthetic = SyntheticSet.with_room_for(state, DataSpec.from_dict(checkpoint["spec"]))

    def on_train_start(self) -> None:
        """Have the memory where the images are."""
        self.memory = {name: tensor.to(self.device) for name, tensor in self.memory.items()}
