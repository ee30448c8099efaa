"""``SyntheticSetExport``: the best and the last set as files somebody else can train on."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_info, rank_zero_only, rank_zero_warn

from lightning_distill._renamed import RenamedArguments
from lightning_distill.callbacks.student_evaluation import StudentEvaluation, exported_set
from lightning_distill.distillers import Distiller
from lightning_distill.sets.card import make_card
from lightning_distill.sets.storage import SET, check_writable, save_set


class SyntheticSetExport(RenamedArguments, Callback):
    """Writes ``dirpath/last`` after every validation and at the end, ``dirpath/best`` where the monitored score rises.

    Each holds ``set.safetensors`` (which carries its card) and the same ``card.json``. With a `WandbLogger` the best
    set is logged as an artifact at the end. Selection uses validation scores; test scores never enter a card here.

    Args:
        dirpath: folder, checked before the run.
        monitor: the score that decides; without it (no `StudentEvaluation`) only ``last`` is written.
        mode: ``max`` or ``min``.

    Raises:
        OSError: the folder cannot be written.
        ValueError: unknown mode.
    """

    def __init__(self, dirpath: str, monitor: str = "val/acc", mode: str = "max") -> None:
        if mode not in ("max", "min"):
            raise ValueError(f"unknown mode {mode!r}; use max or min")
        self.dirpath, self.monitor, self.mode = Path(dirpath), monitor, mode
        self.best_score: float | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse a folder that cannot be written, before the run."""
        if stage == "fit":
            check_writable(self.dirpath)

    @rank_zero_only
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say that an earlier run's sets go, unless that run goes on."""
        earlier = [name for name in ("best", "last") if (self.dirpath / name / SET).is_file()]
        if earlier and trainer.ckpt_path is None:
            rank_zero_warn(
                f"{self.dirpath} holds {' and '.join(earlier)} of an earlier run, which this one replaces; "
                'another dirpath keeps them, ckpt_path="last" goes on with that run'
            )

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the set, and write it as the best if it is."""
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        self._write(trainer, pl_module, "last")
        score = trainer.callback_metrics.get(self.monitor)
        if score is not None and self._better(float(score)):
            self.best_score = float(score)
            self._write(trainer, pl_module, "best")

    @rank_zero_only
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the last set, and hand the best to W&B."""
        self._write(trainer, pl_module, "last")
        best = self.dirpath / ("best" if self.best_score is not None else "last")
        rank_zero_info(f"The set: {best / SET}")
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger) and isinstance(pl_module, Distiller):
                import wandb

                artifact = wandb.Artifact(f"distilled-{pl_module.synthetic.spec.name}", type="dataset")
                artifact.add_dir(str(best))
                logger.experiment.log_artifact(artifact)

    def state_dict(self) -> dict[str, Any]:
        """The best score so far."""
        return {"best_score": self.best_score}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from the best score so far."""
        self.best_score = state_dict["best_score"]

    def _better(self, score: float) -> bool:
        if self.best_score is None or math.isnan(self.best_score):
            return True
        return score > self.best_score if self.mode == "max" else score < self.best_score

    @rank_zero_only
    def _write(self, trainer: Trainer, pl_module: LightningModule, name: str) -> None:
        if not isinstance(pl_module, Distiller):
            raise TypeError(f"{type(pl_module).__name__} has no synthetic set to export; use a Distiller")
        synthetic, hp = pl_module.synthetic, pl_module.hparams
        scores: dict[str, object] = {}
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, StudentEvaluation):
                scores["val"] = callback.describe("val")
        hyper_parameters = {key: value for key, value in hp.items() if not key.startswith("_")}
        learned = [
            name
            for name, found in (("soft_labels", synthetic.soft_label_logits), ("lr", synthetic.lr))
            if found is not None
        ]
        method, step = type(pl_module).__name__, trainer.global_step
        card = make_card(method, hyper_parameters, scores, str(hp["init"]), step, learned)
        save_set(self.dirpath / name, exported_set(synthetic), card)
