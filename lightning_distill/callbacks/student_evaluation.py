"""``StudentEvaluation``: train students on a set and score them on real data in Lightning's own loops."""

from __future__ import annotations

import os
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor
from torchmetrics import MetricCollection

from lightning_distill._renamed import RenamedArguments
from lightning_distill.callbacks._data_source import gives_pixel_units, real_spec
from lightning_distill.callbacks._image_space import batch_space, to_student_space
from lightning_distill.callbacks._lightning_private import current_evaluation_loader
from lightning_distill.callbacks._loggers import log_figures, wandb_loggers
from lightning_distill.callbacks._random_baseline import RandomBaseline
from lightning_distill.callbacks.evaluated_set import EvaluatedSet, exported_set, raise_shape, read_given_set
from lightning_distill.callbacks.progress import student_progress
from lightning_distill.data.loaders import SequentialLoader
from lightning_distill.evaluation import Scores, StudentEvaluator, TrainedStudents
from lightning_distill.functional.compile import CompileMode
from lightning_distill.sets.synthetic import SyntheticSet


class StudentEvaluation(RenamedArguments, Callback):
    """Train fresh students on a set in Lightning's validation and test loops, and log their scores.

    Logs the mean over students of every metric of `compute_metrics` (``val/acc``, ``val/auroc``, ``val/balanced_acc``,
    ``val/worst_recall``, ``val/macro_f1``, ``val/ece``, ...; ``test/...`` in a test), ``val/acc_std`` over students,
    and ``val/acc_gain_over_random``: the accuracy minus that of students of random real images, equally many per class.
    The random baseline is measured once and kept in checkpoints. ``ModelCheckpoint(monitor="val/acc")``,
    ``EarlyStopping`` and ``trainer.test(ckpt_path="best")`` work unchanged.

    Batches of a data module with a ``spec``, such as `ArrayDataModule`, and uint8 batches are in pixel units; the
    callback normalises them by the statistics that the students were trained with. Float batches of any other loader
    are taken as normalised.

    On several processes, the students are divided among the ranks if the loader gives every rank all images, as those
    of `ArrayDataModule` do. For a ``DataLoader``, Lightning divides the images, and every rank trains all students.

    Args:
        protocol: Training protocol of the students: ``reference`` (1000 epochs), ``quick`` (300) or ``tiny`` (10); for
            networks with weights also ``probe`` (a linear layer on the frozen network) and ``finetune`` (all weights).
        students: Number of students of each architecture.
        architectures: Names of networks in this package or in timm; default ``["convnet"]``.
        weights: Path of a local weights file for each timm model among the architectures that is pretrained, see
            `networks.resolve_networks`.
        seed: Seed of the first student; student i has the seed ``seed + i``.
        random_baseline: Whether to measure students of random real images too.
        synthetic_set: Set to evaluate. Default: the set of the `Distiller` that is trained. Else the path of a set file
            or of its folder, or a tuple of images ``(N, C, H, W)`` and labels ``(N,)`` or 0/1 targets ``(N, L)``. In a
            tuple, uint8 images are in pixel units and float images are normalised, as ``load_set`` returns them.
        metrics: Additional torchmetrics metrics, logged as means over students. Each student updates its own copy with
            logits ``(B, K)`` and labels ``(B,)`` or 0/1 targets ``(B, L)``; each metric must return a single number.
        compile: When to compile the networks, see `functional.FunctionalNetwork`.
        figures: Whether to log the confusion matrix, the reliability diagram and the recall of each class to W&B.

    Raises:
        ValueError: Unknown protocol or architecture; no set; images of another shape or unit than the loader's; a set
            file with other classes than the data module's;
            ``metrics`` that share a name with the metrics that are always logged, or return more than one number.
        FileNotFoundError: No set file at the path.

    Example:
        >>> import torch
        >>> images, labels = torch.zeros(4, 1, 8, 8), torch.tensor([0, 0, 1, 1])
        >>> callback = StudentEvaluation("tiny", students=2, synthetic_set=(images, labels))
    """

    def __init__(
        self,
        protocol: str = "quick",
        students: int = 3,
        *,
        architectures: list[str] | None = None,
        weights: dict[str, str] | None = None,
        seed: int = 0,
        random_baseline: bool = True,
        synthetic_set: str | os.PathLike[str] | tuple[Tensor, Tensor] | None = None,
        metrics: MetricCollection | None = None,
        compile: CompileMode = "auto",
        figures: bool = True,
    ) -> None:
        self.evaluator = StudentEvaluator(
            protocol,
            students=students,
            architectures=["convnet"] if architectures is None else architectures,
            seed=seed,
            compile=compile,
            weights=weights,
        )
        self.random_baseline, self.figures, self.metrics = random_baseline, figures, metrics
        self.scores: dict[str, Scores] = {}
        self._given = None if synthetic_set is None else read_given_set(synthetic_set)
        self._evaluated: EvaluatedSet | None = None
        self._trained: TrainedStudents | None = None
        self._baseline = RandomBaseline()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Train the students, except before Lightning's sanity check."""
        if not trainer.sanity_checking:
            self._train(trainer, pl_module, "val")

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Train the students."""
        self._train(trainer, pl_module, "test")

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *_: int, **__: int
    ) -> None:
        """Score the students on a real batch."""
        self._update(trainer, batch)

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *_: int, **__: int
    ) -> None:
        """Score the students on a real batch."""
        self._update(trainer, batch)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the scores."""
        if self._trained is not None:
            self._log(trainer, pl_module, "val")

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the scores."""
        self._log(trainer, pl_module, "test")

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Free the students."""
        self._trained = self._baseline.trained = None

    def state_dict(self) -> dict[str, Any]:
        """Return the accuracy of the random baselines, so that a resumed run does not measure them again."""
        return {"random_acc": self._baseline.accs}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the accuracy of the random baselines."""
        self._baseline.accs = dict(state_dict["random_acc"])

    def describe(self, stage: str) -> dict[str, object]:
        """Return the last scores of a stage and their protocol as plain data for a card; empty before the first.

        Args:
            stage: ``val`` or ``test``.
        """
        if stage not in self.scores:
            return {}
        scores = self.scores[stage]
        metrics = {name: scores.mean(name) for name in ("acc", "balanced_acc", "auroc")}
        return {
            **metrics,
            "acc_std": scores.std("acc"),
            "protocol": self.evaluator.protocol.name,
            "architectures": self.evaluator.architectures,
            "seeds": self.evaluator.seeds,
        }

    def _train(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._evaluated = evaluated = self._resolve_set(trainer, pl_module)
        device, bf16 = pl_module.device, "bf16" in str(trainer.precision)
        sharded = isinstance(current_evaluation_loader(trainer), SequentialLoader)  # all ranks see all images
        epochs = self.evaluator.epochs_on_this_rank(sharded)
        with student_progress(trainer, epochs, f"{len(self.evaluator.seeds)} students") as on_epoch:
            self._trained = self.evaluator.train(
                lambda _: evaluated.data, device=device, bf16=bf16, on_epoch=on_epoch, sharded=sharded
            )
        if self.metrics is not None:
            self._trained.add_metrics(self.metrics)
        self._baseline.select(stage, evaluated, self.evaluator)
        if self.random_baseline:
            self._baseline.train(trainer, evaluated, self.evaluator, device, bf16, sharded)

    def _resolve_set(self, trainer: Trainer, pl_module: LightningModule) -> EvaluatedSet:
        synthetic = getattr(pl_module, "synthetic", None)
        if self._given is not None:
            return self._given.for_data(real_spec(trainer, synthetic))
        if not isinstance(synthetic, SyntheticSet):
            name = type(pl_module).__name__
            raise ValueError(f"{name} has no synthetic set; use StudentEvaluation(synthetic_set=...)")
        data = exported_set(synthetic)
        return EvaluatedSet(data, data.spec)

    def _update(self, trainer: Trainer, batch: Any) -> None:
        if self._trained is None or self._evaluated is None:
            return
        x, y = batch
        train_spec = self._evaluated.train_spec
        if tuple(x.shape[1:]) != train_spec.shape:
            raise_shape(train_spec, tuple(x.shape[1:]))
        space = batch_space(x, gives_pixel_units(trainer))
        if space == "normalized" and not self._evaluated.units_known:
            raise ValueError(
                "synthetic_set holds uint8 images, the loader gives float images: their units may differ; "
                "give the set as floats in the space of the loader"
            )
        images = to_student_space(x, space, train_spec)
        for trained in (self._trained, self._baseline.trained):
            if trained is not None:
                trained.update(images, y)

    def _log(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        assert self._trained is not None
        self.scores[stage] = scores = self._trained.scores()
        if self.figures and (loggers := wandb_loggers(trainer.loggers)):
            log_figures(loggers, stage, self._trained.predictions(stage), trainer.global_step)
        added = self._trained.added_scores()
        self._trained = None
        self._baseline.finish()
        values = self._values_to_log(scores)
        if taken := sorted(values.keys() & added.keys()):
            raise ValueError(f"metrics: {taken} are logged already; use MetricCollection(..., prefix='my_')")
        values.update(added)
        pl_module.log_dict({f"{stage}/{name}": value for name, value in values.items()}, prog_bar=False)
        gain = f", {values['acc_gain_over_random']:+.4f} over random" if "acc_gain_over_random" in values else ""
        cost = f"{len(scores.students)} students, {scores.seconds:.0f} s"
        rank_zero_info(f"{stage}/acc {values['acc']:.4f}{gain} ({cost})")

    def _values_to_log(self, scores: Scores) -> dict[str, float]:
        """Return means over students, their spread, the gain over random images, and the accuracy by architecture."""
        values = {name: scores.mean(name) for name in scores.students[0]}
        if len(scores.students) > 1:
            values["acc_std"] = scores.std("acc")
        if self._baseline.acc is not None:
            values["acc_gain_over_random"] = values["acc"] - self._baseline.acc
        if len(self.evaluator.architectures) > 1:
            values.update({f"acc/{name}": scores.mean("acc", name) for name in self.evaluator.architectures})
        return values
