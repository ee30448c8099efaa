"""State of a distiller in a checkpoint, beside Lightning's own."""

from __future__ import annotations

import os
from pickle import UnpicklingError
from typing import IO, Any, ClassVar, Self, cast

from lightning import LightningModule
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from lightning_distill.checkpoints.relative_paths import restore_paths, strip_paths
from lightning_distill.checkpoints.verified_io import is_fitting
from lightning_distill.data import ArrayDataModule, require_array_datamodule
from lightning_distill.distillers._resume import find_changes, reset_rates, validate_changes
from lightning_distill.functional.network import Parameters
from lightning_distill.sets.synthetic import SyntheticSet
from lightning_distill.spec import DataSpec
from lightning_distill.utils.checkpoint_file import PickledCheckpointError, verify_file


class CheckpointMixin(LightningModule):
    """Module with a checkpoint that suffices to restore its synthetic set and to resume the run.

    Attributes:
        synthetic: Synthetic set.
        explicit: Arguments that were given, or come from a checkpoint, among those that a preset sets.
        lr: Learning rate of the images; None before `setup` where it depends on the data.
        init: Initialisation of the images.
        formation: Number of sub-images along each side of a stored image.
        extra_state: Tensors that a method keeps between steps, e.g. an online network; empty by default.
        resume_with_changes: Whether a checkpoint of another seed, rate, network or other data may be resumed. The card
            then lists what changed. ``lightning-distill fit --resume_with_changes true`` sets it.
        changes: Settings that changed at a resume: the step, and the settings before and after.
        data_record: Record of the real data, see `ArrayDataModule.describe_training_data`.
    """

    resume_with_changes: bool = False
    fixed_on_resume: ClassVar[tuple[str, ...]]
    momentum: float
    synthetic: SyntheticSet
    explicit: dict[str, Any]
    lr: float
    init: str
    formation: int
    extra_state: Parameters

    @property
    def real_data(self) -> ArrayDataModule:
        """Data module of the run.

        Raises:
            TypeError: It gives no class-balanced batches.
        """
        return require_array_datamodule(self.trainer.datamodule)  # type: ignore[attr-defined]

    def __init__(self) -> None:
        super().__init__()
        self.extra_state = {}
        self.changes: list[dict[str, Any]] = []
        self.data_record: dict[str, Any] = {}
        self._rates_changed = False

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: str | os.PathLike[str] | IO[bytes], **options: Any) -> Self:  # type: ignore[override]
        """Load a distiller, after its file was verified.

        Args:
            checkpoint_path: Path of the checkpoint, or an open file.
            **options: Options of `LightningModule.load_from_checkpoint`.

        Raises:
            DamagedCheckpointError: The file is damaged.
            PickledCheckpointError: The file holds Python objects.
        """
        if isinstance(checkpoint_path, str | os.PathLike):
            verify_file(checkpoint_path)
        try:
            return super().load_from_checkpoint(checkpoint_path, **options)  # type: ignore[arg-type]
        except UnpicklingError as error:
            name = checkpoint_path if isinstance(checkpoint_path, str | os.PathLike) else "of an open file"
            raise PickledCheckpointError(name) from error

    def set_preset_arguments(self, values: dict[str, Any]) -> None:
        """Set attributes and hyperparameters to a preset's values, except those that were given."""
        values = values | self.explicit
        self.lr, self.init, self.formation = values["lr"], values["init"], values["formation"]
        self.save_hyperparameters(values)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the method, the description of the data, the changes and the extra state; no path of this machine."""
        if "callbacks" in checkpoint:
            checkpoint["callbacks"] = strip_paths(checkpoint["callbacks"])
        checkpoint["method"], checkpoint["data"] = type(self).__name__, self.data_record
        checkpoint["changes"] = self.changes
        checkpoint["spec"] = self.synthetic.spec.to_dict()
        checkpoint["formation"] = self.synthetic.formation
        checkpoint["extra_state"] = {name: tensor.detach() for name, tensor in self.extra_state.items()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the extra state, and allocate the set of the checkpoint where no data module did.

        Raises:
            ValueError: The run resumes a checkpoint of other settings or data without `resume_with_changes`.
        """
        self.extra_state = checkpoint.get("extra_state", checkpoint.get("memory", {}))  # "memory" in version 0.1.0
        formation = checkpoint.get("formation", 1)
        if self.explicit.get("formation", formation) != formation:
            raise ValueError(
                f"the checkpoint has formation={formation}, the distiller formation={self.formation}; "
                f"make the distiller with formation={formation}"
            )
        self.changes = list(checkpoint.get("changes", []))
        if is_fitting(self):
            self._compare(checkpoint)
        if self._trainer is not None:  # `validate` and `test` restore the callbacks too
            restore_paths(checkpoint.get("callbacks", {}), self.trainer)
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

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the parameter groups of the optimizer; each may have an ``lr`` of its own."""
        return [{"params": [self.synthetic.learned]}]

    def _compare(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint of other settings, or note what changes."""
        datamodule = self.real_data
        changes = find_changes(
            checkpoint,
            method=type(self).__name__,
            hyper_parameters=self.hparams,
            explicit=self.explicit,
            spec=datamodule.spec,
            data=self.data_record,
        )
        validate_changes(changes, allowed=self.resume_with_changes, fixed_by_method=self.fixed_on_resume)
        self._rates_changed = bool(changes)
        if changes:
            before, after = ({name: pair[side] for name, pair in changes.items()} for side in (0, 1))
            self.changes.append({"step": int(checkpoint["global_step"]), "before": before, "after": after})

    def on_train_start(self) -> None:
        """Move the extra state to the device of the images; where a resumed run changes rates, set them."""
        if self._rates_changed:
            optimizer, scheduler = cast(Optimizer, self.optimizers(False)), cast(LambdaLR, self.lr_schedulers())
            reset_rates(optimizer, scheduler, self.parameter_groups(), lr=self.lr, momentum=self.momentum)
            self._rates_changed = False
        self.extra_state = {name: tensor.to(self.device) for name, tensor in self.extra_state.items()}
