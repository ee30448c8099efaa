"""State of a distiller in a checkpoint, beside Lightning's own."""

from __future__ import annotations

from typing import Any

from lightning import LightningModule

from lightning_distill.functional.network import Parameters
from lightning_distill.sets.synthetic import SyntheticSet
from lightning_distill.spec import DataSpec


class CheckpointMixin(LightningModule):
    """Module with a checkpoint that suffices to restore its synthetic set and to resume the run.

    Attributes:
        synthetic: Synthetic set.
        extra_state: Tensors that a method keeps between steps, e.g. an online network; empty by default.
    """

    synthetic: SyntheticSet
    extra_state: Parameters

    def __init__(self) -> None:
        super().__init__()
        self.extra_state = {}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the description of the data and the extra state."""
        checkpoint["spec"] = self.synthetic.spec.to_dict()
        checkpoint["formation"] = self.synthetic.formation
        checkpoint["extra_state"] = {name: tensor.detach() for name, tensor in self.extra_state.items()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the extra state, and allocate the set of the checkpoint where no data module did."""
        self.extra_state = checkpoint.get("extra_state", checkpoint.get("memory", {}))  # "memory" in version 0.1.0
        weights = checkpoint["state_dict"]
        if "synthetic.soft" in weights:  # the key of version 0.1.0
            weights["synthetic.soft_label_logits"] = weights.pop("synthetic.soft")
        if not hasattr(self, "synthetic"):
            state = {name.removeprefix("synthetic."): tensor for name, tensor in checkpoint["state_dict"].items()}
            spec, formation = DataSpec.from_dict(checkpoint["spec"]), checkpoint.get("formation", 1)
            self.synthetic = SyntheticSet.empty_like_state(state, spec, formation)

    def on_train_start(self) -> None:
        """Move the extra state to the device of the images."""
        self.extra_state = {name: tensor.to(self.device) for name, tensor in self.extra_state.items()}
