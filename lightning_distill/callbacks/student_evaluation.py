"""``StudentEvaluation``: train students on a set and score them on real data in Lightning's own loops."""

from __future__ import annotations

import os
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor
from torchmetrics import MetricCollection

from lightning_distill._renamed import RenamedArguments
from lightning_distill.callbacks._data_source import real_spec
from lightning_distill.callbacks._evaluation_run import EvaluationRun
from lightning_distill.callbacks._lightning_private import current_datamodule, logged_names, step_fetches_batches
from lightning_distill.callbacks._log_names import log_key, log_prefixes, refuse_mixed_values, refuse_names
from lightning_distill.callbacks._loggers import log_figures, wandb_loggers
from lightning_distill.callbacks._random_baseline import RandomBaseline
from lightning_distill.callbacks.evaluated_set import EvaluatedSet, exported_set, read_given_set
from lightning_distill.data.batches import BatchFormat, BatchKeys, BatchTransform
from lightning_distill.distillers import Distiller
from lightning_distill.evaluation import Scores, StudentEvaluator
from lightning_distill.evaluation.overlap import check_overlap
from lightning_distill.functional.compile import CompileMode
from lightning_distill.sets.synthetic import SyntheticSet

#: Key of the accuracy of random baselines in checkpoints, shared by all `StudentEvaluation` callbacks.
CHECKPOINT_KEY = "student_evaluation_random_acc"


class StudentEvaluation(RenamedArguments, Callback):
    """Train fresh students on a set in Lightning's validation and test loops, and log their scores.

    Logs the mean over students of every metric of `compute_metrics` (``acc``, ``auroc``, ``balanced_acc``,
    ``worst_recall``, ``macro_f1``, ``ece``, ...), ``acc_std`` over students, and ``acc_gain_over_random``: the accuracy
    minus that of students of random real images, equally many per class. The random baseline is measured once and kept
    in checkpoints.

    Of a `Distiller` the log keys are ``val/acc``, ``test/acc``, .... In any other project they are
    ``students/val/acc``, ..., so that its own metrics keep their names; ``prefix`` sets the first part. Of several
    loaders each is scored apart: ``students/val/acc/dataloader_idx_1``. ``ModelCheckpoint(monitor=...)``,
    ``EarlyStopping`` and ``trainer.test(ckpt_path="best")`` work unchanged.

    Steps, batches, random streams and metrics of the project are those without the callback. Its training loader is
    not iterated: the random baseline reads the data set behind it once, with transforms, on a copy, and at most 1 GiB
    of images. Memory holds a batch of 64 images and the subsets, ``students`` times the images of the set: for 4,000
    float32 images of 3x112x112 and three students of 20 images 68 MiB more than without the baseline. Where that is not
    possible (an ``IterableDataset`` without a length, several training loaders), a warning says why and the gain is not
    logged.

    A set file whose card holds hashes of its training images is compared with the scored images of an
    `ArrayDataModule`: a warning gives the number of images that the set was trained on.

    Batches of a data module with a ``spec``, such as `ArrayDataModule`, and integer batches are in pixel units; the
    callback normalises them by the statistics that the students were trained with. Float batches of any other loader
    are taken as normalised.

    On several processes, the students are divided among the ranks if the loader gives every rank all images, as those
    of `ArrayDataModule` do. For a ``DataLoader``, Lightning divides the images, and every rank trains all students.

    Args:
        protocol: Training protocol of the students: ``reference`` (1001 epochs), ``quick`` (301) or ``tiny`` (11); for
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
        prefix: First part of the log keys. Default: none for a `Distiller`, ``students`` in any other project, and
            ``students_2``, ... for further callbacks.
        batch_keys: Keys of images and labels in a batch, e.g. ``("image", "label")`` for a dict, or two field names or
            positions in a tuple. Default: batches are pairs of images and labels.
        batch_transform: Function that returns images and labels of a batch, instead of ``batch_keys``. It also sees the
            training batches.

    Raises:
        ValueError: Unknown protocol or architecture; no set; images of another shape or unit, or labels of another
            form, than the loader's; a set file with other classes than the data module's; two callbacks with one
            ``prefix``; log keys that the project logs too;
            ``metrics`` that share a name with the metrics that are always logged, or return more than one number.
        TypeError: Batches that are no pairs of tensors, without ``batch_keys`` or ``batch_transform``.
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
        prefix: str | None = None,
        batch_keys: BatchKeys | None = None,
        batch_transform: BatchTransform | None = None,
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
        self.prefix, self._format = prefix, BatchFormat(batch_keys, batch_transform)
        self.scores: dict[str, Scores] = {}
        self._given = None if synthetic_set is None else read_given_set(synthetic_set)
        self._run: EvaluationRun | None = None
        self._logged: dict[str, float] = {}
        self._baseline = RandomBaseline()
        self._checked: set[str] = set()  # stages of which the images were compared with those of the set's training

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check that there is a set, and that no other callback has the same prefix, before the run."""
        self._resolve_prefix(trainer, pl_module)
        has_set = isinstance(pl_module, Distiller) or isinstance(getattr(pl_module, "synthetic", None), SyntheticSet)
        if self._given is None and not has_set:
            name = type(pl_module).__name__
            raise ValueError(f"{name} has no synthetic set; use StudentEvaluation(synthetic_set=...)")

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the set as it is now, except before Lightning's sanity check."""
        self._run = None if trainer.sanity_checking else self._new_run(trainer, pl_module, "val")

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the set as it is now."""
        self._run = self._new_run(trainer, pl_module, "test")

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Train the students before the first real batch, and score them on each one, before a step can change it."""
        if self._run is not None and not step_fetches_batches(trainer):
            self._run.update(trainer, pl_module, batch, dataloader_idx)

    on_test_batch_start = on_validation_batch_start

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Score the students on a batch that the step took from a ``dataloader_iter``."""
        if self._run is not None and step_fetches_batches(trainer):
            self._run.update(trainer, pl_module, batch, dataloader_idx)

    on_test_batch_end = on_validation_batch_end

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the scores."""
        if self._run is not None:
            self._log(trainer, pl_module, self._run)

    on_test_epoch_end = on_validation_epoch_end

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check that the project has not logged other values under the same keys."""
        logged, self._logged = self._logged, {}
        refuse_mixed_values(trainer, logged, type(pl_module).__name__)

    on_test_end = on_validation_end

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Free the students."""
        self._run = None

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Store the accuracy of the random baselines, so that a resumed run does not measure them again."""
        checkpoint.setdefault(CHECKPOINT_KEY, {}).update(self._baseline.accs)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Restore the accuracy of the random baselines, also from checkpoints of version 0.1.0."""
        old = checkpoint.get("callbacks", {}).get(type(self).__name__, {})
        self._baseline.accs = {**old.get("random_acc", {}), **checkpoint.get(CHECKPOINT_KEY, {})}

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

    def _resolve_prefix(self, trainer: Trainer, pl_module: LightningModule) -> str:
        callbacks: list[object] = trainer.callbacks  # type: ignore[attr-defined]
        evaluations = [each for each in callbacks if isinstance(each, StudentEvaluation)]
        prefixes = log_prefixes([each.prefix for each in evaluations], isinstance(pl_module, Distiller))
        return next(prefix for each, prefix in zip(evaluations, prefixes, strict=True) if each is self)

    def _new_run(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> EvaluationRun:
        if self._given is not None and stage not in self._checked:
            self._checked.add(stage)
            check_overlap(self._given.card, current_datamodule(trainer), stage, on_overlap="warn")
        return EvaluationRun(
            trainer,
            stage,
            self._resolve_set(trainer, pl_module),
            self.evaluator,
            baseline=self._baseline,
            measure_baseline=self.random_baseline,
            metrics=self.metrics,
            batch_format=self._format,
        )

    def _resolve_set(self, trainer: Trainer, pl_module: LightningModule) -> EvaluatedSet:
        synthetic = getattr(pl_module, "synthetic", None)
        if self._given is not None:
            return self._given.for_data(real_spec(trainer, synthetic))
        assert isinstance(synthetic, SyntheticSet)
        data = exported_set(synthetic)
        return EvaluatedSet(data, data.spec)

    def _log(self, trainer: Trainer, pl_module: LightningModule, run: EvaluationRun) -> None:
        prefix, self._run = self._resolve_prefix(trainer, pl_module), None
        for number, suffix in enumerate(run.suffixes):
            trained = run.students(trainer, pl_module, number)
            scores = trained.scores()
            self.scores[f"{run.stage}/{suffix}" if suffix else run.stage] = scores
            if self.figures and (loggers := wandb_loggers(trainer.loggers)):
                name = log_key(prefix, run.stage, suffix)
                log_figures(loggers, name, trained.predictions(run.stage), trainer.global_step)
            added, values = trained.added_scores(), self._values_to_log(scores, run.random_acc(number))
            if taken := sorted(values.keys() & added.keys()):
                raise ValueError(f"metrics: {taken} are logged already; use MetricCollection(..., prefix='my_')")
            values.update(added)
            logged = {log_key(prefix, run.stage, name, suffix): value for name, value in values.items()}
            refuse_names(logged, logged_names(trainer), type(pl_module).__name__)
            pl_module.log_dict(logged, prog_bar=False, add_dataloader_idx=False)
            self._logged.update(logged)
            gain = f", {values['acc_gain_over_random']:+.4f} over random" if "acc_gain_over_random" in values else ""
            cost = f"{len(scores.students)} students, {scores.seconds:.0f} s"
            rank_zero_info(f"{log_key(prefix, run.stage, 'acc', suffix)} {values['acc']:.4f}{gain} ({cost})")

    def _values_to_log(self, scores: Scores, random_acc: float | None) -> dict[str, float]:
        """Return means over students, their spread, the gain over random images, and the accuracy by architecture."""
        values = {name: scores.mean(name) for name in scores.students[0]}
        if len(scores.students) > 1:
            values["acc_std"] = scores.std("acc")
        if random_acc is not None:
            values["acc_gain_over_random"] = values["acc"] - random_acc
        if len(self.evaluator.architectures) > 1:
            values.update({f"acc/{name}": scores.mean("acc", name) for name in self.evaluator.architectures})
        return values
