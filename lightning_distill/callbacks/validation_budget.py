"""``ValidationBudget``: as many validations as a share of the distillation's work pays for."""

from __future__ import annotations

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info

from lightning_distill.callbacks.student_evaluation import StudentEvaluation
from lightning_distill.distillers import Distiller
from lightning_distill.functional.build import estimate_image_passes


class ValidationBudget(Callback):
    """Validate less often where the students cost more than the distillation.

    Each validation trains all students again, so that five of them can take longer than the run that they watch. The
    cost of both is counted in forward passes of single images, which depends on the options alone: the same command
    validates at the same steps on every machine. The last step is always validated.

    ``lightning-distill fit`` uses it where neither the configuration nor the data say how often to validate.

    Args:
        share: Largest cost of all validations, as a multiple of the cost of the distillation.

    Example:
        >>> from lightning import Trainer
        >>> trainer = Trainer(max_steps=10, callbacks=[ValidationBudget()], logger=False, accelerator="cpu")
    """

    def __init__(self, share: float = 0.5) -> None:
        if share <= 0:
            raise ValueError(f"share={share}; it must be above 0, as 0.5 is")
        self.share = share

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Set the number of epochs between two validations, and say what a validation costs."""
        callbacks: list[object] = trainer.callbacks  # type: ignore[attr-defined]
        evaluations = [each for each in callbacks if isinstance(each, StudentEvaluation)]
        batches = trainer.num_training_batches
        if not isinstance(pl_module, Distiller) or not evaluations or trainer.max_steps < batches:
            return
        counts, spec = pl_module.synthetic.counts, pl_module.synthetic.spec
        real = len(spec.balance_groups) * pl_module.real_data.real_per_class
        work = estimate_image_passes(trainer.max_steps, real, sum(counts) * pl_module.set_passes)
        students = sum(3 * sum(counts) * each.evaluator.epochs for each in evaluations)
        epochs, allowed = trainer.max_steps // int(batches), self.share * work / students
        validations = max((n for n in range(1, epochs + 1) if epochs % n == 0 and n <= allowed), default=1)
        trainer.check_val_every_n_epoch = epochs // validations
        times = "once, at the end" if validations == 1 else f"{validations} times"
        rank_zero_info(
            f"students are trained and scored {times}: each time costs {students / work:.2g} of the distillation; "
            "--data.steps_per_epoch N validates every N steps"
        )
