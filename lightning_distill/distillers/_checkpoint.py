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
        explicit: Arguments that were given, or come from a checkpoint, among those that a preset sets.
        lr: Learning rate of the images; None before `setup` where it depends on the data.
        init: Initialisation of the images.
        formation: Number of sub-images along each side of a stored image.
        extra_state: Tensors that a method keeps between steps, e.g. an online network; empty by default.
    """

    synthetic: SyntheticSet
    explicit: dict[str, Any]
    lr: float
    init: str
    formation: int
    extra_state: Parameters

    def __init__(self) -> None:
        super().__init__()
        self.extra_state = {}

    def set_preset_arguments(self, values: dict[str, Any]) -> None:
        """Set attributes and hyperparameters to a preset's values, except those that were given."""
        values = values | self.explicit
        self.lr, self.init, self.formation = values["lr"], values["init"], values["formation"]
        self.save_hyperparameters(values)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the description of the data and the extra state."""
        checkpoint["spec"] = self.synthetic.spec.to_dict()
        checkpoint["formation"] = self.synthetic.formation
        checkpoint["extra_state"] = {name: tensor.detach() for name, tensor in self.extra_state.items()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the extra state, and allocate the set of the checkpoint where no data module did."""
        self.extra_state = checkpoint.get("extra_state", checkpoint.get("memory", {}))  # "memory" in version 0.1.0
        formation = checkpoint.get("formation", 1)
        if self.explicit.get("formation", formation) != formation:
            raise ValueError(
                f"the checkpoint has formation={formation}, the distiller formation={self.formation}; "
                f"make the distiller with formation={formation}"
            )
        saved = checkpoint.get(self.CHECKPOINT_HYPER_PARAMS_KEY, {})
        saved = {name: saved[name] for name in ("lr", "init") if saved.get(name) is not None}
        self.explicit = saved | self.explicit | {"formation": formation}  # a run goes on as it was begun
        self.set_preset_arguments({})
        weights = checkpoint["state_dict"]
        if "synthetic.soft" in weights:  # the key of version 0.1.0
            weights["synthetic.soft_label_logits"] = weights.pop("synthetic.soft")
        if getattr(self, "synthetic", None) is None or self.synthetic.formation != formation:
            state = {name.removeprefix("synthetic."): tensor for name, tensor in checkpoint["state_dict"].items()}
            self.synthetic = SyntheticSet.empty_like_state(state, DataSpec.from_dict(checkpoint["spec"]), formation)

    def on_train_start(self) -> None:
        """Move the extra state to the device of the images."""
        self.extra_state = {name: tensor.to(self.device) for name, tensor in self.extra_state.items()}
